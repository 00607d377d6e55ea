//! The steps of a rule.

use super::attributes::Attributes;

const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;

/// One step of a rule. Numbers are the kernel's (`linux/netfilter/nf_tables.h`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Loads something about the packet (`NFT_META_*`).
    Meta {
        /// What.
        key: u32,
        /// Where to.
        to: Register,
    },
    /// Changes something about the packet (`NFT_META_*`).
    SetMeta {
        /// What.
        key: u32,
        /// Where the new value is.
        from: Register,
    },
    /// Loads bytes of the packet.
    Payload {
        /// The header they are counted from (`NFT_PAYLOAD_*`).
        base: u32,
        /// The first byte.
        offset: u32,
        /// How many.
        length: u32,
        /// Where to.
        to: Register,
    },
    /// Loads something about the flow (`NFT_CT_*`).
    Conntrack {
        /// What.
        key: u32,
        /// Of which direction, where that matters: 0 the beginner's, 1 the answers'.
        direction: Option<u8>,
        /// Where to.
        to: Register,
    },
    /// Loads what routing says of an address (`NFT_FIB_RESULT_*`, `NFTA_FIB_F_*`).
    Fib {
        /// What is asked.
        result: u32,
        /// About what.
        flags: u32,
        /// Where to.
        to: Register,
    },
    /// Loads `(from & mask) ^ xor`.
    Bitwise {
        /// Where the value is.
        from: Register,
        /// Where the result goes.
        to: Register,
        /// The bits that stay.
        mask: Vec<u8>,
        /// The bits that are turned over then.
        xor: Vec<u8>,
    },
    /// Goes on only if a value compares so.
    Compare {
        /// Where the value is.
        from: Register,
        /// How.
        how: Compared,
        /// With what.
        with: Vec<u8>,
    },
    /// Goes on only if a value is in a range (or, negated, is not).
    Range {
        /// Where the value is.
        from: Register,
        /// Whether it must not be.
        negated: bool,
        /// The lowest value.
        first: Vec<u8>,
        /// The highest value.
        last: Vec<u8>,
    },
    /// Goes on only if a key is in a set (or, negated, is not); with `to`, what a map has for it
    /// is loaded, and where that is register 0, decides.
    Lookup {
        /// The set's name.
        set: String,
        /// Where the key begins.
        from: Register,
        /// Where the data goes.
        to: Option<Register>,
        /// Whether it must not be.
        negated: bool,
    },
    /// Loads a constant.
    Immediate {
        /// Where to.
        to: Register,
        /// The value.
        value: Vec<u8>,
    },
    /// Decides.
    Fall(Fall),
    /// Ends the packet with a message to its sender.
    Reject,
    /// A match of `iptables`.
    Match {
        /// Its name.
        name: String,
        /// Its revision.
        revision: u32,
        /// Its options as the kernel keeps them.
        data: Vec<u8>,
    },
    /// A target of `iptables`.
    Target {
        /// Its name.
        name: String,
        /// Its revision.
        revision: u32,
        /// Its options as the kernel keeps them.
        data: Vec<u8>,
    },
    /// Anything else, by its name.
    Other {
        /// The name.
        name: String,
        /// Where it leaves something, if it does.
        to: Option<Register>,
    },
}

/// A place among the 64 bytes a rule calculates with; the verdict has one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// What decides.
    Verdict,
    /// The byte a value begins at.
    At(usize),
}

/// How two values compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// They are equal.
    Equal,
    /// They are not.
    NotEqual,
    /// The first is less.
    Less,
    /// It is not greater.
    LessOrEqual,
    /// It is greater.
    Greater,
    /// It is not less.
    GreaterOrEqual,
}

/// What a rule decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fall {
    /// Nothing.
    Continue,
    /// The packet is through with the base chain.
    Accept,
    /// The packet ends.
    Drop,
    /// The packet is given to a program (`NFQUEUE`).
    Queue,
    /// Back to the caller.
    Return,
    /// On with a chain, then back.
    Jump(String),
    /// On with a chain, not back.
    Goto(String),
}

/// The step an attribute `NFTA_LIST_ELEM` of a rule holds.
pub(super) fn of(element: Attributes<'_>) -> Expression {
    let name = element.text(NFTA_EXPR_NAME).unwrap_or_default();
    let data = element.nested(NFTA_EXPR_DATA).unwrap_or_default();
    let known = match name.as_str() {
        "meta" => meta(data),
        "payload" => payload(data),
        "ct" => conntrack(data),
        "fib" => fib(data),
        "bitwise" => bitwise(data),
        "cmp" => compare(data),
        "range" => range(data),
        "lookup" => lookup(data),
        "immediate" => immediate(data),
        "reject" => Some(Expression::Reject),
        "objref" => Some(Expression::Other { name: object(data).to_owned(), to: None }),
        "queue" => Some(Expression::Fall(Fall::Queue)),
        "match" => {
            extension(data).map(|(name, revision, data)| Expression::Match { name, revision, data })
        }
        "target" => extension(data).map(|(name, revision, data)| Expression::Target {
            name,
            revision,
            data,
        }),
        _ => None,
    };
    known.unwrap_or_else(|| Expression::Other { to: destination(&name, data), name })
}

/// A named object: quotas and limits let some packets pass and others not, the rest only note.
fn object(data: Attributes<'_>) -> &'static str {
    const QUOTA: u32 = 2;
    const LIMIT: u32 = 4;
    const CONNLIMIT: u32 = 5;
    if matches!(data.number(1), Some(QUOTA | LIMIT | CONNLIMIT)) { "limit" } else { "objref" }
}

/// Where expressions that are not taken apart leave their result: attribute 1 or, for two of them,
/// 2 is the register, as far as they have one.
fn destination(name: &str, data: Attributes<'_>) -> Option<Register> {
    let kind = match name {
        "meta" | "exthdr" | "rt" | "numgen" | "osf" | "payload" | "fib" | "ct" | "xfrm" => 1,
        "byteorder" | "hash" | "socket" | "tunnel" | "bitwise" => 2,
        _ => return None,
    };
    register(data, kind)
}

fn register(data: Attributes<'_>, kind: u16) -> Option<Register> {
    // 1 to 4 are the registers of 16 bytes, 8 on those of 4, in the same place.
    match data.number(kind)? {
        0 => Some(Register::Verdict),
        number @ 1..=4 => Some(Register::At((usize::try_from(number).ok()? - 1) * 16)),
        number @ 8..=23 => Some(Register::At((usize::try_from(number).ok()? - 8) * 4)),
        _ => None,
    }
}

fn value(data: Attributes<'_>, kind: u16) -> Option<Vec<u8>> {
    Some(data.nested(kind)?.bytes(NFTA_DATA_VALUE)?.to_vec())
}

fn meta(data: Attributes<'_>) -> Option<Expression> {
    let key = data.number(2)?;
    match register(data, 1) {
        Some(to) => Some(Expression::Meta { key, to }),
        None => Some(Expression::SetMeta { key, from: register(data, 3)? }),
    }
}

fn payload(data: Attributes<'_>) -> Option<Expression> {
    Some(Expression::Payload {
        to: register(data, 1)?,
        base: data.number(2)?,
        offset: data.number(3)?,
        length: data.number(4)?,
    })
}

fn conntrack(data: Attributes<'_>) -> Option<Expression> {
    let direction = data.bytes(3).and_then(|bytes| bytes.first().copied());
    Some(Expression::Conntrack { to: register(data, 1)?, key: data.number(2)?, direction })
}

fn fib(data: Attributes<'_>) -> Option<Expression> {
    Some(Expression::Fib {
        to: register(data, 1)?,
        result: data.number(2)?,
        flags: data.number(3)?,
    })
}

fn bitwise(data: Attributes<'_>) -> Option<Expression> {
    // Operation 0 is mask and xor; others shift (5.6) or join two registers.
    if data.number(6).unwrap_or(0) != 0 {
        return None;
    }
    Some(Expression::Bitwise {
        from: register(data, 1)?,
        to: register(data, 2)?,
        mask: value(data, 4)?,
        xor: value(data, 5)?,
    })
}

fn compare(data: Attributes<'_>) -> Option<Expression> {
    let how = match data.number(2)? {
        0 => Compared::Equal,
        1 => Compared::NotEqual,
        2 => Compared::Less,
        3 => Compared::LessOrEqual,
        4 => Compared::Greater,
        5 => Compared::GreaterOrEqual,
        _ => return None,
    };
    Some(Expression::Compare { from: register(data, 1)?, how, with: value(data, 3)? })
}

fn range(data: Attributes<'_>) -> Option<Expression> {
    let negated = data.number(2)? == 1;
    let (first, last) = (value(data, 3)?, value(data, 4)?);
    Some(Expression::Range { from: register(data, 1)?, negated, first, last })
}

fn lookup(data: Attributes<'_>) -> Option<Expression> {
    let negated = data.number(5).unwrap_or(0) & 1 != 0;
    let (set, to) = (data.text(1)?, register(data, 3));
    Some(Expression::Lookup { set, from: register(data, 2)?, to, negated })
}

fn immediate(data: Attributes<'_>) -> Option<Expression> {
    let to = register(data, 1)?;
    if to == Register::Verdict {
        return fall(data.nested(2)?).map(Expression::Fall);
    }
    Some(Expression::Immediate { to, value: value(data, 2)? })
}

/// The verdict in data.
pub(super) fn fall(data: Attributes<'_>) -> Option<Fall> {
    let verdict = data.nested(NFTA_DATA_VERDICT)?;
    let chain = || verdict.text(NFTA_VERDICT_CHAIN);
    Some(match verdict.number(NFTA_VERDICT_CODE)?.cast_signed() {
        -1 => Fall::Continue,
        // -2 is a break, which no program writes.
        -3 => Fall::Jump(chain()?),
        -4 => Fall::Goto(chain()?),
        -5 => Fall::Return,
        0 => Fall::Drop,
        1 => Fall::Accept,
        code if code & 0xff == 3 => Fall::Queue,
        _ => return None,
    })
}

fn extension(data: Attributes<'_>) -> Option<(String, u32, Vec<u8>)> {
    Some((data.text(1)?, data.number(2)?, data.bytes(3)?.to_vec()))
}
