use std::time::{Duration, Instant};

use super::*;
use crate::options::PublishOptions;
use crate::publication::{HostSide, PublicationId};
use crate::target::Target;

const DUAL: &[&str] = &["0.0.0.0", "::"];

fn range(text: &str) -> PortRange {
    PortRange::parse(text).unwrap()
}

fn publication(addresses: &[&str], host: &str, target: &str, proto: Proto) -> Publication {
    Publication {
        id: PublicationId("p".to_owned()),
        proto,
        host: HostSide {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ports: range(host),
        },
        target: Target::Container {
            id: "c".to_owned(),
            ipv4: None,
            ipv6: None,
            network: "bridge".to_owned(),
        },
        target_ports: range(target),
        options: PublishOptions::default(),
    }
}

fn tcp(addresses: &[&str], host: &str, target: &str) -> Publication {
    publication(addresses, host, target, Proto::Tcp)
}

fn exposed(texts: &[&str]) -> Vec<Expose> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn lines(publications: &[Publication]) -> Vec<String> {
    port_lines(publications).iter().map(PortLine::to_string).collect()
}

#[test]
fn nothing_published_is_an_empty_column() {
    assert_eq!(ports_column(&[], &[]), "");
    assert_eq!(port_lines(&[]), []);
}

#[test]
fn a_changed_number_is_listed_for_each_address() {
    let column = ports_column(&[tcp(DUAL, "8080", "80")], &[]);
    assert_eq!(column, "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp");
}

#[test]
fn neighbours_that_keep_their_numbers_are_one_range() {
    let singles = ["9090", "9091", "9092"].map(|port| tcp(&["0.0.0.0"], port, port));
    assert_eq!(ports_column(&singles, &[]), "0.0.0.0:9090-9092->9090-9092/tcp");
    let whole = [tcp(&["0.0.0.0"], "9090-9092", "9090-9092")];
    assert_eq!(ports_column(&whole, &[]), "0.0.0.0:9090-9092->9090-9092/tcp");
}

#[test]
fn a_shifted_range_stays_a_range() {
    let column = ports_column(&[tcp(&["127.0.0.1"], "8000-8002", "80-82")], &[]);
    assert_eq!(column, "127.0.0.1:8000-8002->80-82/tcp");
}

#[test]
fn exposed_ports_show_until_they_are_published() {
    let exposed = exposed(&["80", "443", "53/udp", "3000-3005"]);
    assert_eq!(ports_column(&[], &exposed), "80/tcp, 443/tcp, 53/udp, 3000-3005/tcp");
    let published = [tcp(&["0.0.0.0"], "8080", "80"), tcp(&["0.0.0.0"], "3002-3003", "3002-3003")];
    assert_eq!(
        ports_column(&published, &exposed),
        "443/tcp, 3000-3001/tcp, 53/udp, 3004-3005/tcp, \
         0.0.0.0:3002-3003->3002-3003/tcp, 0.0.0.0:8080->80/tcp"
    );
}

#[test]
fn the_same_number_in_another_protocol_is_still_only_exposed() {
    let column = ports_column(&[tcp(&["0.0.0.0"], "53", "53")], &exposed(&["53/udp", "53"]));
    assert_eq!(column, "53/udp, 0.0.0.0:53->53/tcp");
}

#[test]
fn the_order_is_dockers() {
    let publications = [
        tcp(DUAL, "443", "443"),
        tcp(DUAL, "80", "80"),
        tcp(DUAL, "8443", "444"),
        publication(DUAL, "80", "80", Proto::Udp),
    ];
    insta::assert_snapshot!(
        ports_column(&publications, &exposed(&["100"])).replace(", ", "\n"), @r"
        0.0.0.0:80->80/tcp
        [::]:80->80/tcp
        0.0.0.0:443->443/tcp
        0.0.0.0:80->80/udp
        [::]:443->443/tcp
        [::]:80->80/udp
        100/tcp
        0.0.0.0:8443->444/tcp
        [::]:8443->444/tcp
        ");
}

#[test]
fn port_lines_come_in_natural_order() {
    let publications = [
        tcp(&["::", "0.0.0.0"], "9876", "80"),
        publication(&["0.0.0.0"], "53", "53", Proto::Udp),
        tcp(&["127.0.0.1", "10.0.0.9"], "5353", "53"),
        tcp(&["0.0.0.0"], "10000", "443"),
        tcp(&["0.0.0.0"], "9999", "443"),
        publication(&["0.0.0.0"], "7000", "53", Proto::Sctp),
    ];
    insta::assert_snapshot!(lines(&publications).join("\n"), @r"
    53/sctp -> 0.0.0.0:7000
    53/tcp -> 10.0.0.9:5353
    53/tcp -> 127.0.0.1:5353
    53/udp -> 0.0.0.0:53
    80/tcp -> 0.0.0.0:9876
    80/tcp -> [::]:9876
    443/tcp -> 0.0.0.0:9999
    443/tcp -> 0.0.0.0:10000
    ");
}

#[test]
fn a_range_has_a_line_for_each_port() {
    let lines = lines(&[tcp(&["::"], "8000-8002", "80-82")]);
    assert_eq!(lines, ["80/tcp -> [::]:8000", "81/tcp -> [::]:8001", "82/tcp -> [::]:8002"]);
}

#[test]
fn large_ranges_cost_no_more_than_small_ones() {
    let whole = [tcp(DUAL, "20000-29999", "20000-29999"), tcp(DUAL, "30000-39999", "1-10000")];
    let began = Instant::now();
    for _ in 0..1000 {
        ports_column(&whole, &exposed(&["1-65535"]));
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn many_publications_are_no_trouble_either() {
    let singles: Vec<_> =
        (10000..20000_u16).map(|port| tcp(DUAL, &port.to_string(), &port.to_string())).collect();
    let began = Instant::now();
    let column = ports_column(&singles, &exposed(&["1-65535"]));
    assert_eq!(
        column,
        "1-9999/tcp, 20000-65535/tcp, 0.0.0.0:10000-19999->10000-19999/tcp, \
         [::]:10000-19999->10000-19999/tcp"
    );
    assert_eq!(port_lines(&singles).len(), 20000);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
