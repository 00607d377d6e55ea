//! What other people's firewall rules do to our packets; pure.
//!
//! A [`Ruleset`] is what was read of the host, in one form for nftables, iptables-nft and
//! iptables-legacy. [`judge`] walks a [`Packet`] through every base chain of a hook as the kernel
//! would. [`forward_obstacle`] and [`input_obstacle`] ask the two questions a plan has: would
//! somebody's rules swallow what the kernel forwards to our bridges, and would they refuse what
//! the relay listens for.
//!
//! What is not understood counts for nobody: a rule with a match this model does not know is taken
//! as not matching, and so is one that asks for something of the packet that is not known (a
//! client's address, say). An accept that cannot be counted on is thereby not counted on, and the
//! relay serves; a drop that concerns some packets only is left to the kernel, which goes on
//! enforcing it.

mod advice;
mod field;
mod judge;
mod obstacle;
mod owners;
mod packet;
mod remedy;
mod render;
mod ruleset;
#[cfg(test)]
mod tests;

pub use self::advice::{Forwarded, Incoming, exposure, forward_obstacle, input_obstacle};
pub use self::field::{Field, Span};
pub use self::judge::{Judgement, judge};
pub use self::obstacle::{Denial, Obstacle, Owner};
pub use self::packet::{FlowState, Packet};
pub use self::ruleset::{
    Action, Backend, Base, Chain, Family, Hook, Key, MarkChange, Match, Policy, Rule, Ruleset,
    Table, TableFamily,
};
