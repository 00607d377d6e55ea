//! The bytes a rule calculates with, as what they stand for.

use wharf_host::nftables::foreign::Register;
use wharf_plan::firewall::{Field, Span};

use super::load::{Order, Piece};

/// What stands in the registers; the last entry for a place counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Registers {
    loaded: Vec<Loaded>,
}

/// A value in the registers.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    at: usize,
    length: usize,
    pub(super) content: Content,
}

/// What a value stands for.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Something of the packet, of which these bits stay, and these are turned over then.
    Pieces { pieces: Vec<Piece>, mask: Option<Vec<u8>>, xor: Option<Vec<u8>> },
    /// A constant.
    Constant(Vec<u8>),
    /// Something that is not understood.
    Unknown,
}

// === impl Registers ===

impl Registers {
    pub(super) fn load(&mut self, to: Register, pieces: Option<Vec<Piece>>) {
        let length = pieces.iter().flatten().map(|piece| piece.length).sum();
        let content = pieces.map_or(Content::Unknown, |pieces| Content::Pieces {
            pieces,
            mask: None,
            xor: None,
        });
        self.put(to, length, content);
    }

    pub(super) fn put(&mut self, to: Register, length: usize, content: Content) {
        let Register::At(at) = to else { return };
        let length = length.max(1);
        let ends = at + length;
        self.loaded.retain(|old| old.at >= ends || old.at + old.length <= at);
        self.loaded.push(Loaded { at, length, content });
    }

    /// What begins at `from`.
    pub(super) fn at(&self, from: Register) -> Option<&Loaded> {
        let Register::At(at) = from else { return None };
        self.loaded.iter().find(|loaded| loaded.at == at)
    }

    /// The fields of a key of `length` bytes that begins at `from`, each in its own registers of
    /// four bytes; `None` if one of them is not a field as it is.
    pub(super) fn key(&self, from: Register, length: usize) -> Option<Vec<Piece>> {
        let Register::At(start) = from else { return None };
        let (mut at, mut fields) = (start, Vec::new());
        while at < start + length {
            let Content::Pieces { pieces, mask: None, xor: None } =
                &self.at(Register::At(at))?.content
            else {
                return None;
            };
            let [piece] = pieces.as_slice() else { return None };
            fields.push(*piece);
            at += piece.length.next_multiple_of(4);
        }
        Some(fields)
    }
}

/// The values of a field that begin with `bytes`, of which only the bits in `mask` count.
pub(super) fn span(
    piece: &Piece,
    bytes: &[u8],
    mask: Option<&[u8]>,
    names: &[(u32, String)],
) -> Option<Span> {
    if piece.order == Order::Index {
        return mask.is_none().then(|| index(bytes, names)).flatten();
    }
    let full = vec![0xff; bytes.len()];
    let mask = mask.unwrap_or(&full);
    if mask.iter().all(|byte| *byte == 0xff) && bytes.len() == piece.width {
        return Some(Span::one(number(bytes, piece)?));
    }
    Some(Span::masked(number(bytes, piece)?, number(mask, piece)?))
}

/// The values from `first` to `last`.
pub(super) fn between(
    piece: &Piece,
    first: &[u8],
    last: &[u8],
    names: &[(u32, String)],
) -> Option<Span> {
    if first == last || piece.order == Order::Index {
        return (first == last).then(|| span(piece, first, None, names)).flatten();
    }
    if is_name(piece)
        && let Some(prefix) = prefix(first, last)
    {
        return Some(prefix);
    }
    Some(Span::range(number(first, piece)?, number(last, piece)?))
}

/// An interface by its number; one that is gone has no name.
fn index(bytes: &[u8], names: &[(u32, String)]) -> Option<Span> {
    let index = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let (_, name) = names.iter().find(|(number, _)| *number == index)?;
    Some(Span::interface(name))
}

/// A number from the first bytes of a field; those that are not there are zero.
pub(super) fn number(bytes: &[u8], piece: &Piece) -> Option<u128> {
    let mut wide = bytes.to_vec();
    if piece.order == Order::Host && cfg!(target_endian = "little") {
        wide.reverse();
    } else {
        wide.resize(piece.width.max(bytes.len()), 0);
    }
    if wide.len() > 16 {
        return None;
    }
    Some(wide.iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte)))
}

fn is_name(piece: &Piece) -> bool {
    matches!(piece.field, Field::InInterface | Field::OutInterface)
}

/// A range of names is how sets keep `eth*`.
fn prefix(first: &[u8], last: &[u8]) -> Option<Span> {
    let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    let open = first.iter().skip(common).all(|byte| *byte == 0)
        && last.iter().skip(common).all(|byte| *byte == 0xff);
    let name = String::from_utf8(first.get(..common)?.to_vec()).ok()?;
    open.then(|| Span::interfaces(&name))
}
