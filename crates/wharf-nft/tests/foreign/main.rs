//! Other people's firewalls, read and judged, beside what becomes of real packets.

#[cfg(test)]
mod engines;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod scene;
