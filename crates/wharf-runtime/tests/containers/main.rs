//! Real containers, in namespaces of their own: needs root and, for most, a static busybox.
//!
//! Each test has its own directory and control group and checks at its end that nothing is left.

#[cfg(test)]
mod confinement;
#[cfg(test)]
mod exec;
#[cfg(test)]
mod failure;
#[cfg(test)]
mod files;
#[cfg(test)]
mod life;
#[cfg(test)]
mod support;
