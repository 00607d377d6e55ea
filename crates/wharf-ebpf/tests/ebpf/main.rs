//! The plane on test hosts: real programs, real sockets, and a host that is none of the machine's.

#![cfg(feature = "programs")]

#[cfg(test)]
mod busy;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod datagram;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod leftover;
#[cfg(test)]
mod life;
#[cfg(test)]
mod release;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod source;
#[cfg(test)]
mod steering;
