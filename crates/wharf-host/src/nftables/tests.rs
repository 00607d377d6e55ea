use std::net::IpAddr;

use super::wire::{nest, put};
use super::{Batch, Datum, Element, FieldType, Set};

const PORTS: Set = Set {
    name: "ports",
    key: &[FieldType::InetProto, FieldType::InetService],
    data: &[FieldType::Ipv4Addr, FieldType::InetService],
    interval: false,
};
const SUBNETS: Set =
    Set { name: "subnets", key: &[FieldType::Ipv4Addr], data: &[], interval: true };

fn address(text: &str) -> Datum {
    Datum::new().address(text.parse::<IpAddr>().unwrap())
}

#[test]
fn attributes_are_padded_and_counted() {
    let mut bytes = Vec::new();
    nest(&mut bytes, 1, |inner| put(inner, 2, &[7]));
    assert_eq!(bytes, [12, 0, 1, 0x80, 5, 0, 2, 0, 7, 0, 0, 0]);
}

#[test]
fn fields_start_on_four_bytes() {
    let key = Datum::new().proto(6).port(8080);
    assert_eq!(key.as_slice(), [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
}

#[test]
fn interface_names_have_a_length() {
    assert_eq!(Datum::new().interface("br0").unwrap().as_slice().len(), 16);
    assert!(Datum::new().interface("").is_err());
    let error = Datum::new().interface("a-name-of-16-byt").unwrap_err();
    assert_eq!(
        error.to_string(),
        "use interface \"a-name-of-16-byt\": an interface name has 1 to 15 bytes"
    );
}

#[test]
fn neighbouring_keys() {
    assert_eq!(address("10.0.0.255").successor(), Some(address("10.0.1.0")));
    assert_eq!(address("255.255.255.255").successor(), None);
    assert_eq!(address("10.0.1.0").predecessor(), Some(address("10.0.0.255")));
    assert_eq!(address("0.0.0.0").predecessor(), None);
}

#[test]
fn a_range_of_one_field_is_a_start_and_an_end() {
    let mut list = Vec::new();
    let range = Element::range(address("10.0.0.0"), address("10.0.0.255"));
    SUBNETS.encode(&mut list, &range, true);
    let start = [16, 0, 1, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 10, 0, 0, 0];
    let end = [24, 0, 1, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 10, 0, 1, 0, 8, 0, 3, 0, 0, 0, 0, 1];
    assert_eq!(list, [start.as_slice(), end.as_slice()].concat());
}

#[test]
fn a_deletion_carries_no_data() {
    let element = Element::of(Datum::new().proto(6).port(80)).giving(address("10.0.0.2").port(80));
    let (mut add, mut delete) = (Vec::new(), Vec::new());
    PORTS.encode(&mut add, &element, true);
    PORTS.encode(&mut delete, &element, false);
    assert_eq!((add.len(), delete.len()), (36, 20));
}

#[test]
fn long_lists_are_split() {
    let elements: Vec<Element> = (0..10_000)
        .map(|port| Element::of(Datum::new().proto(6).port(port)).giving(address("10.0.0.2")))
        .collect();
    let mut batch = Batch::new("t");
    batch.add_elements(&PORTS, &elements);
    assert_eq!(format!("{batch:?}").matches("add elements to ports").count(), 6);
}
