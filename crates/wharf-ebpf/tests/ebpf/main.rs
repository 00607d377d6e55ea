//! The plane on test hosts: real programs, real sockets, and a host that is none of the machine's.

mod connect;
mod datagram;
mod guard;
mod life;
mod scene;
mod sizes;
mod source;
mod steering;
