//! Sets, maps and their elements.

use std::fmt;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, NLA_F_NESTED};
use netlink_packet_netfilter::nftables::{SetAttribute, SetDescription, SetFlags};

use super::IpFamily;
use super::wire::{nest, put};
use crate::error::{Error, Result};

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_FIELD_LEN: u16 = 1;
const NFTA_SET_DESC_CONCAT: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;

const NFTNL_UDATA_SET_KEYBYTEORDER: u8 = 0;
const BYTEORDER_HOST_ENDIAN: u32 = 1;

/// Bits per field in the word that tells `nft` the type of a concatenation (`TYPE_BITS`).
const TYPE_BITS: u32 = 6;
/// The widest key in use is two IPv6 addresses with a protocol and a port.
const CAPACITY: usize = 40;

/// The type of one field of a key or of a map's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// An IPv4 address.
    Ipv4Addr,
    /// An IPv6 address.
    Ipv6Addr,
    /// A transport protocol's number.
    InetProto,
    /// A port.
    InetService,
    /// An interface name.
    IfName,
}

/// A set, or a map when it has data fields.
///
/// A key of one field must be an address or an interface name: the narrower types are padded to
/// four bytes, which the kernel expects in concatenations only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// The name.
    pub name: &'static str,
    /// The fields of the key; several make a concatenation.
    pub key: &'static [FieldType],
    /// The fields of the data; none for a plain set.
    pub data: &'static [FieldType],
    /// Whether elements may be ranges.
    pub interval: bool,
}

/// Up to 40 bytes of key or data, built field by field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Datum {
    bytes: [u8; CAPACITY],
    length: u8,
}

/// One element of a set or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// The key, or the first key of a range.
    pub key: Datum,
    /// The last key of a range (included); interval sets only, where `None` means `key` alone.
    pub end: Option<Datum>,
    /// What the map gives for it.
    pub data: Option<Datum>,
}

// === impl FieldType ===

impl FieldType {
    /// The number `nft` knows the type by (`enum datatypes`).
    fn number(self) -> u32 {
        match self {
            Self::Ipv4Addr => 7,
            Self::Ipv6Addr => 8,
            Self::InetProto => 12,
            Self::InetService => 13,
            Self::IfName => 41,
        }
    }

    fn width(self) -> u32 {
        match self {
            Self::InetProto => 1,
            Self::InetService => 2,
            Self::Ipv4Addr => 4,
            Self::Ipv6Addr | Self::IfName => 16,
        }
    }
}

fn type_word(fields: &[FieldType]) -> u32 {
    fields.iter().fold(0, |word, field| (word << TYPE_BITS) | field.number())
}

fn total_width(fields: &[FieldType]) -> u32 {
    fields.iter().map(|field| field.width().next_multiple_of(4)).sum()
}

// === impl Set ===

impl Set {
    /// Whether elements are ranges of a concatenation, which the kernel keeps in its `pipapo`
    /// back end with both ends in one element (5.6); ranges of one field live in a tree that
    /// takes two elements each.
    pub(super) fn ranges_in_one_element(&self) -> bool {
        self.interval && self.key.len() > 1
    }

    pub(super) fn attributes(&self, table: &str, id: u32) -> Vec<SetAttribute> {
        let mut flags = SetFlags::empty();
        flags.set(SetFlags::Interval, self.interval);
        flags.set(SetFlags::Map, !self.data.is_empty());
        flags.set(SetFlags::Concat, self.ranges_in_one_element());
        let mut attributes = vec![
            SetAttribute::Table(table.to_owned()),
            SetAttribute::Name(self.name.to_owned()),
            SetAttribute::Flags(flags),
            SetAttribute::KeyType(type_word(self.key)),
            SetAttribute::KeyLen(total_width(self.key)),
            SetAttribute::Id(id),
        ];
        if !self.data.is_empty() {
            attributes.push(SetAttribute::DataType(type_word(self.data)));
            attributes.push(SetAttribute::DataLen(total_width(self.data)));
        }
        // Names are strings in host order; `nft` takes keys for big-endian numbers unless told,
        // and prints such names as nothing.
        if self.key == [FieldType::IfName] {
            let mut order = vec![NFTNL_UDATA_SET_KEYBYTEORDER, 4];
            order.extend_from_slice(&BYTEORDER_HOST_ENDIAN.to_ne_bytes());
            attributes.push(SetAttribute::UserData(order));
        }
        // Refused without the flag, even where the key is a concatenation.
        if self.ranges_in_one_element() {
            attributes.push(SetAttribute::Description(vec![self.concatenation()]));
        }
        attributes
    }

    /// The width of each field, which `pipapo` needs to cut the key into pieces.
    fn concatenation(&self) -> SetDescription {
        let mut fields = Vec::new();
        for field in self.key {
            nest(&mut fields, NFTA_LIST_ELEM, |list| {
                put(list, NFTA_SET_FIELD_LEN, &field.width().to_be_bytes());
            });
        }
        SetDescription::Other(DefaultNla::new(NFTA_SET_DESC_CONCAT | NLA_F_NESTED, fields))
    }

    /// Appends `element` to an element list; `with_data` is false for deletions, where the
    /// kernel looks at keys only.
    pub(super) fn encode(&self, list: &mut Vec<u8>, element: &Element, with_data: bool) {
        let data = element.data.filter(|_| with_data);
        if self.interval && !self.ranges_in_one_element() {
            put_element(list, &element.key, None, data.as_ref(), 0);
            // The tree stores where a range ends as the first key after it; one that reaches the
            // last key has no end.
            if let Some(after) = element.end.unwrap_or(element.key).successor() {
                put_element(list, &after, None, None, NFT_SET_ELEM_INTERVAL_END);
            }
            return;
        }
        let end = self.ranges_in_one_element().then(|| element.end.unwrap_or(element.key));
        put_element(list, &element.key, end.as_ref(), data.as_ref(), 0);
    }
}

fn put_element(
    list: &mut Vec<u8>,
    key: &Datum,
    end: Option<&Datum>,
    data: Option<&Datum>,
    flags: u32,
) {
    nest(list, NFTA_LIST_ELEM, |element| {
        nest(element, NFTA_SET_ELEM_KEY, |value| put(value, NFTA_DATA_VALUE, key.as_slice()));
        if let Some(end) = end {
            nest(element, NFTA_SET_ELEM_KEY_END, |value| {
                put(value, NFTA_DATA_VALUE, end.as_slice());
            });
        }
        if let Some(data) = data {
            nest(element, NFTA_SET_ELEM_DATA, |value| put(value, NFTA_DATA_VALUE, data.as_slice()));
        }
        if flags != 0 {
            put(element, NFTA_SET_ELEM_FLAGS, &flags.to_be_bytes());
        }
    });
}

// === impl Datum ===

impl Datum {
    /// Nothing yet; add fields with the methods below, in the order of the set's fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes as the kernel gave them; `None` if there are more than fit.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut datum = Self { length: u8::try_from(bytes.len()).ok()?, ..Self::default() };
        datum.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(datum)
    }

    /// Adds an address.
    #[must_use]
    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.field(&v4.octets()),
            IpAddr::V6(v6) => self.field(&v6.octets()),
        }
    }

    /// Adds a transport protocol's number.
    #[must_use]
    pub fn proto(self, number: u8) -> Self {
        self.field(&[number])
    }

    /// Adds a port.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.field(&port.to_be_bytes())
    }

    /// Adds an interface name.
    ///
    /// # Errors
    /// The name is empty or longer than the 15 bytes an interface name can have.
    pub fn interface(self, name: &str) -> Result<Self> {
        let mut field = [0; 16];
        match field.get_mut(..name.len()) {
            Some(slot) if (1..16).contains(&name.len()) => slot.copy_from_slice(name.as_bytes()),
            _ => {
                let limit = "an interface name has 1 to 15 bytes";
                let refused = io::Error::new(io::ErrorKind::InvalidInput, limit);
                return Err(Error::kernel(format!("use interface {name:?}"), refused));
            }
        }
        Ok(self.field(&field))
    }

    /// The address it begins with, if it is as long as one of `family`.
    pub fn leading_address(&self, family: IpFamily) -> Option<IpAddr> {
        let bytes = self.as_slice();
        match family {
            IpFamily::V4 => bytes.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
            IpFamily::V6 => bytes.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        }
    }

    /// The bytes, each field padded to four.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    fn field(mut self, value: &[u8]) -> Self {
        let start = usize::from(self.length);
        debug_assert!(start + value.len() <= CAPACITY, "a key or data wider than {CAPACITY} bytes");
        if let Some(slot) = self.bytes.get_mut(start..start + value.len()) {
            slot.copy_from_slice(value);
            self.length = u8::try_from((start + value.len()).next_multiple_of(4)).unwrap_or(0);
        }
        self
    }

    /// The highest key of as many bytes.
    pub(super) fn last_of_its_length(mut self) -> Self {
        if let Some(used) = self.bytes.get_mut(..usize::from(self.length)) {
            used.fill(u8::MAX);
        }
        self
    }

    /// The next key in order; `None` after the last.
    pub(super) fn successor(mut self) -> Option<Self> {
        let used = self.bytes.get_mut(..usize::from(self.length))?;
        for byte in used.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                return Some(self);
            }
        }
        None
    }

    /// The key before this one; `None` before the first.
    pub(super) fn predecessor(mut self) -> Option<Self> {
        let used = self.bytes.get_mut(..usize::from(self.length))?;
        for byte in used.iter_mut().rev() {
            *byte = byte.wrapping_sub(1);
            if *byte != u8::MAX {
                return Some(self);
            }
        }
        None
    }
}

impl fmt::Debug for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Default for Datum {
    fn default() -> Self {
        Self { bytes: [0; CAPACITY], length: 0 }
    }
}

// === impl Element ===

impl Element {
    /// An element of a plain set.
    pub fn of(key: Datum) -> Self {
        Self { key, end: None, data: None }
    }

    /// A range of an interval set, both ends included.
    pub fn range(first: Datum, last: Datum) -> Self {
        Self { key: first, end: Some(last), data: None }
    }

    /// The same element with what the map gives for it.
    #[must_use]
    pub fn giving(self, data: Datum) -> Self {
        Self { data: Some(data), ..self }
    }
}
