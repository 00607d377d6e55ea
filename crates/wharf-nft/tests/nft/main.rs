//! The table in real network namespaces: what it lists as, what a change costs, and what packets
//! of every path meet in it.

#[cfg(test)]
mod allow;
#[cfg(test)]
mod change;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod owner;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod table;
#[cfg(test)]
mod traffic;
#[cfg(test)]
mod watch;
#[cfg(test)]
mod way_back;
