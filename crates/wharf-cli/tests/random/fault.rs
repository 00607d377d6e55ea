//! What others do to us, and what dies.

use std::fmt;

use super::dice::Dice;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// A command of `nft`; only a flush of everything is not refused where our table has an owner.
    Nft(&'static str),
    /// Somebody makes rules of their own, which concern nobody.
    ForeignTable,
    /// The relay is killed.
    Relay,
    /// A network's bridge is deleted.
    Bridge(usize),
    /// The policy rules for clients' addresses are deleted.
    Rules,
    /// The daemon is killed, other things happen, and somebody calls it again.
    Daemon(Vec<Fault>),
}

pub(super) const FLUSH: &str = "flush ruleset";

const AGAINST_OUR_TABLE: [&str; 5] = [
    "delete element inet wharf bridges { \"wharf0\" }",
    "flush map inet wharf ports4",
    "flush chain inet wharf publish",
    "delete table inet wharf",
    "add chain inet wharf strange",
];

// === impl Fault ===

impl Fault {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        match *dice.weighted(&[(30, 0), (50, 1)]) {
            0 => {
                let count = *dice.weighted(&[(40, 0), (40, 1), (20, 2)]);
                Self::Daemon((0..count).map(|_| Self::simple(dice)).collect())
            }
            _ => Self::simple(dice),
        }
    }

    fn simple(dice: &mut Dice) -> Self {
        match *dice.weighted(&[(20, 0), (30, 1), (8, 2), (12, 3), (12, 4), (8, 5)]) {
            0 => Self::Nft(FLUSH),
            1 => Self::Nft(dice.pick::<&str>(&AGAINST_OUR_TABLE)),
            2 => Self::ForeignTable,
            3 => Self::Relay,
            4 => Self::Bridge(dice.below(super::model::NETWORKS.len())),
            _ => Self::Rules,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nft(command) => write!(f, "nft {command}"),
            Self::ForeignTable => f.write_str("nft add table inet others, with a chain"),
            Self::Relay => f.write_str("kill -9 relay"),
            Self::Bridge(place) => write!(f, "ip link del the bridge of network {place}"),
            Self::Rules => f.write_str("ip rule del the policy rules"),
            Self::Daemon(meanwhile) => {
                f.write_str("kill -9 daemon")?;
                meanwhile.iter().try_for_each(|fault| write!(f, "; meanwhile {fault}"))?;
                f.write_str("; call it again")
            }
        }
    }
}
