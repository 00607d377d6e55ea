//! A relay without the rest of Wharf: takes the arguments of `wharf relay`. With the argument
//! `relay-opener` it is the helper that opens sockets in other network namespaces, and with
//! `publish RUN_DIR NAMESPACE TARGET` a daemon that leads TCP port 8080 to an IPv4 socket in a
//! namespace, says who the helper is, and waits to be killed.
//!
//! The tests start it, because a process that confines itself must have one thread, which a test
//! has not.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use wharf_host::reserve::{Transport, reserve};
use wharf_relay::{Place, RelayConfig, Route, Source, ensure, run, serve_opener, start_opener};
use wharf_spec::{PortRange, Proto};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, "relay-opener"] => return told(serve_opener()),
        [_, "publish", run_dir, namespace, target] => {
            return told(publish(Path::new(run_dir), namespace, target));
        }
        _ => {}
    }
    let after = |name: &str| {
        let place = args.iter().position(|arg| arg == name)?;
        args.get(place + 1)
    };
    let Some(run_dir) = after("--run-dir").map(PathBuf::from) else {
        eprintln!("usage: relay --run-dir DIR [--take-over SECONDS]");
        return ExitCode::FAILURE;
    };
    let take_over = after("--take-over").and_then(|seconds| seconds.parse().ok());
    told(run(RelayConfig { take_over, ..RelayConfig::new(run_dir) }))
}

type Failure = Box<dyn std::error::Error>;

fn publish(run_dir: &Path, namespace: &str, target: &str) -> Result<(), Failure> {
    let target: SocketAddrV4 = target.parse()?;
    let namespace = File::open(namespace)?;
    let exe = std::env::current_exe()?;
    let opener = start_opener(run_dir, &exe)?;
    let mut client = ensure(run_dir, &exe)?;
    let held = reserve(Transport::Tcp, &[Ipv4Addr::UNSPECIFIED.into()], (8080, 8080))?;
    let place = |(address, dual)| Place { address, dual };
    let route = Route {
        id: "inside".to_owned(),
        proto: Proto::Tcp,
        listeners: held.places().into_iter().map(place).collect(),
        target_v4: Some(*target.ip()),
        target_v6: None,
        host_ports: PortRange::single(8080),
        target_ports: PortRange::single(target.port()),
        allow: Vec::new(),
        proxy_protocol: None,
        connect_timeout_ms: None,
        idle_timeout_seconds: None,
        source: Source::Gateway,
        neighbours: Vec::new(),
        inside: true,
        steered: false,
        on_host: true,
    };
    let sockets = held.sockets.iter().map(|bound| bound.socket.as_fd());
    let descriptors: Vec<_> = sockets.chain([opener.as_fd(), namespace.as_fd()]).collect();
    let ids = [route.id.clone()];
    client.add(vec![route], &descriptors)?;
    client.open(&ids)?;
    println!("{}", opener.pid().ok_or("the helper has no number")?);
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

fn told(outcome: Result<(), impl Into<Failure>>) -> ExitCode {
    match outcome.map_err(Into::into) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
