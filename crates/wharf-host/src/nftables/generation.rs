//! The number of the rule set, which every transaction raises, whoever sends it.

use netlink_packet_netfilter::nftables::{GenAttribute, GenMessage, NfTablesMessage};

use super::batch::inet;
use super::read::nftables;
use crate::error::{Error, Result};
use crate::netlink::Netlink;

const ACTION: &str = "ask for the generation of the rule set";

/// How many transactions there have been in this network namespace, as far as the kernel counts.
/// The same number twice means that no table has changed in between; it costs some microseconds.
pub fn generation(netlink: &mut Netlink) -> Result<u32> {
    let request = NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() });
    let answers = netlink.query(ACTION, inet(request), 0)?;
    let number = answers.into_iter().find_map(|answer| match nftables(answer)? {
        NfTablesMessage::NewGen(message) => message.attributes.iter().find_map(id),
        _ => None,
    });
    number.ok_or_else(|| Error::answer(ACTION, "an answer without a number"))
}

/// The number after one more transaction; the kernel passes over 0.
pub fn next_generation(number: u32) -> u32 {
    number.wrapping_add(1).max(1)
}

fn id(attribute: &GenAttribute) -> Option<u32> {
    match attribute {
        GenAttribute::Id(number) => Some(*number),
        _ => None,
    }
}
