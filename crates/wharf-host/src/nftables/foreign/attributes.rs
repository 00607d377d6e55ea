//! Netlink attributes, walked without expecting anything.

/// The flags `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` are no part of an attribute's type.
const TYPE: u16 = 0x3fff;

/// A run of attributes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Attributes<'a> {
    bytes: &'a [u8],
}

// === impl Attributes ===

impl<'a> Attributes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The value of the first attribute of a type.
    pub(super) fn bytes(self, kind: u16) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// A number, which nftables writes in network byte order.
    pub(super) fn number(self, kind: u16) -> Option<u32> {
        let value = self.bytes(kind)?;
        Some(u32::from_be_bytes(value.try_into().ok()?))
    }

    pub(super) fn text(self, kind: u16) -> Option<String> {
        self.bytes(kind).map(text)
    }

    pub(super) fn nested(self, kind: u16) -> Option<Self> {
        self.bytes(kind).map(Self::new)
    }

    /// What every attribute of a type holds.
    pub(super) fn all(self, kind: u16) -> impl Iterator<Item = Self> {
        let of_kind = move |(found, value)| (found == kind).then_some(Self::new(value));
        self.iter().filter_map(of_kind)
    }

    fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let [l0, l1, k0, k1, ..] = *rest else { return None };
            let length = usize::from(u16::from_ne_bytes([l0, l1]));
            let value = rest.get(4..length)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some((u16::from_ne_bytes([k0, k1]) & TYPE, value))
        })
    }
}

/// Text up to its terminating zero.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_by_type() {
        let bytes = [5, 0, 1, 0, b'x', 0, 0, 0, 8, 0, 2, 0x80, 0, 0, 1, 0];
        let attributes = Attributes::new(&bytes);
        assert_eq!(attributes.text(1).as_deref(), Some("x"));
        assert_eq!(attributes.number(2), Some(256));
        assert_eq!(attributes.number(3), None);
    }

    #[test]
    fn lengths_that_lie_end_the_walk() {
        for bytes in [&[3, 0, 1, 0][..], &[200, 0, 1, 0, 7], &[0, 0, 0, 0], &[9]] {
            assert!(Attributes::new(bytes).bytes(1).is_none());
        }
    }
}
