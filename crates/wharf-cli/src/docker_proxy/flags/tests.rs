use proptest::prelude::*;

use super::*;

fn read(line: &str) -> Result<Asked, Misuse> {
    parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
}

fn misuse(line: &str) -> String {
    read(line).unwrap_err().to_string()
}

fn order(proto: Proto, host: &str, container: &str) -> Order {
    let (host, container) = (host.parse().unwrap(), container.parse().unwrap());
    Order { proto, host, container, use_listen_fd: false }
}

/// What dockerd writes.
const LINE: &str =
    "-proto udp -host-ip 0.0.0.0 -host-port 5353 -container-ip 172.17.0.2 -container-port 53";

#[test]
fn the_line_of_dockerd_is_understood() {
    let wanted = order(Proto::Udp, "0.0.0.0:5353", "172.17.0.2:53");
    assert_eq!(read(LINE), Ok(Asked::Serve(wanted)));
    let wanted = Order { use_listen_fd: true, ..wanted };
    assert_eq!(read(&format!("{LINE} -use-listen-fd")), Ok(Asked::Serve(wanted)));
}

#[test]
fn families_may_differ_and_mapped_addresses_are_ipv4() {
    let wanted = order(Proto::Tcp, "[::]:80", "172.17.0.2:80");
    let line = "--host-ip=:: --host-port=80 --container-ip=::ffff:172.17.0.2 --container-port=80";
    assert_eq!(read(line), Ok(Asked::Serve(wanted)));
}

#[test]
fn the_last_of_several_counts() {
    let line = format!("{LINE} -proto=tcp -use-listen-fd -use-listen-fd=false");
    let wanted = order(Proto::Tcp, "0.0.0.0:5353", "172.17.0.2:53");
    assert_eq!(read(&line), Ok(Asked::Serve(wanted)));
}

#[test]
fn questions_are_answered_before_anything_is_missing() {
    let Ok(Asked::Tell(version)) = read("-v") else { panic!("no version") };
    assert!(version.starts_with("docker-proxy (wharf) version "), "{version}");
    for line in ["-h", "--help", "-help -v", "-v=true --h"] {
        assert_eq!(read(line), Ok(Asked::Tell(USAGE.to_owned())), "{line}");
    }
    assert_eq!(misuse("-v=false"), "flag -host-ip is missing");
}

#[test]
fn odd_lines_are_refused_with_the_reason() {
    let cases = [
        ("", "flag -host-ip is missing"),
        ("-proto", "flag needs an argument: -proto"),
        ("-host-ip 0.0.0.0 -host-port", "flag needs an argument: -host-port"),
        ("-frob 1", "flag provided but not defined: -frob"),
        ("---proto tcp", "bad flag syntax: ---proto"),
        ("-=tcp", "bad flag syntax: -=tcp"),
        ("-- -v", "unexpected argument \"--\": everything is given by flags"),
        ("-", "unexpected argument \"-\": everything is given by flags"),
        ("tcp -v", "unexpected argument \"tcp\": everything is given by flags"),
        ("-v=maybe", "invalid value \"maybe\" for flag -v: use true or false"),
        (
            "-proto=TCP",
            "invalid value \"TCP\" for flag -proto: unsupported protocol; use tcp or udp",
        ),
        ("-host-ip=", "invalid value \"\" for flag -host-ip: not an IPv4 or IPv6 address"),
        (
            "-host-ip <nil>",
            "invalid value \"<nil>\" for flag -host-ip: not an IPv4 or IPv6 address",
        ),
    ];
    for (line, wanted) in cases {
        assert_eq!(misuse(line), wanted, "{line:?}");
    }
    for port in ["0", "65536", "-1", "0x50", "80 ", "", "eighty"] {
        let args = [OsString::from("-host-port"), OsString::from(port)];
        let wanted = format!(
            "invalid value {port:?} for flag -host-port: a port is a number from 1 to 65535"
        );
        assert_eq!(parse(&args).unwrap_err().to_string(), wanted);
    }
}

#[test]
fn sctp_is_understood_and_refused_later() {
    let Ok(Asked::Serve(order)) = read(&LINE.replace("udp", "sctp")) else { panic!("refused") };
    assert_eq!(order.proto, Proto::Sctp);
}

/// One flag as a person may write it.
fn spell(name: &str, value: &str, dashes: bool, glued: bool) -> Vec<OsString> {
    let dashes = if dashes { "--" } else { "-" };
    if glued {
        return vec![format!("{dashes}{name}={value}").into()];
    }
    vec![format!("{dashes}{name}").into(), value.into()]
}

proptest! {
    #[test]
    fn every_spelling_and_order_means_the_same(
        host: IpAddr,
        container: IpAddr,
        ports in (1u16.., 1u16..),
        udp: bool,
        spelling: [(bool, bool); 5],
        order in Just([0usize, 1, 2, 3, 4]).prop_shuffle(),
    ) {
        let proto = if udp { Proto::Udp } else { Proto::Tcp };
        let flags = [
            ("proto", proto.to_string()),
            ("host-ip", host.to_string()),
            ("host-port", ports.0.to_string()),
            ("container-ip", container.to_string()),
            ("container-port", ports.1.to_string()),
        ];
        let written = order.iter().zip(spelling).flat_map(|(place, (dashes, glued))| {
            let (name, value) = &flags[*place];
            spell(name, value, dashes, glued)
        });
        let wanted = Order {
            proto,
            host: SocketAddr::new(host.to_canonical(), ports.0),
            container: SocketAddr::new(container.to_canonical(), ports.1),
            use_listen_fd: false,
        };
        prop_assert_eq!(parse(&written.collect::<Vec<_>>()), Ok(Asked::Serve(wanted)));
    }

    #[test]
    fn nothing_is_so_odd_that_it_is_not_answered(
        args in proptest::collection::vec("-{0,3}(v|h|proto|host-ip|host-port|[a-z]{0,3})=?.{0,4}", 0..6),
    ) {
        let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        // Whatever comes of it: no panic, and a refusal says something.
        if let Err(misuse) = parse(&args) {
            prop_assert!(!misuse.to_string().is_empty());
        }
    }
}
