//! The main job, shown: a container with a published port on a machine that had nothing.
//!
//! What it adds is said beforehand, and [`down`] takes all of it away again. [`isolated`] does the
//! same on a host made of network namespaces and leaves nothing.

mod addresses;
mod page;
mod program;
mod record;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use wharf_lab::{Lab, assert_same};

use self::page::Visits;
use self::program::Program;
use self::record::Record;
use crate::prerequisites;
use crate::steps::{cargo, read, run};

const IMAGE: &str = "wharf/whoami";
const NAME: &str = "web";
const PORT: u16 = 8080;

/// How long a first packet may be lost before a local address counts as unreachable.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);

const ADDITIONS: &str = "\
This demonstration adds to this machine:
  - a bridge, wharf0, with private addresses that no route of this machine uses
  - one nftables table, `inet wharf`; no other table is touched
  - a daemon process, a relay process, and one small process per container
  - IP forwarding, switched on if it is off
  - files under the state and the run directory (/var/lib/wharf and /run/wharf)
`cargo xtask demo --down` takes all of it away.
";

/// Runs the demonstration on this machine and leaves it up.
pub(crate) fn up() -> Result<()> {
    needs_root()?;
    println!("{ADDITIONS}");
    let program = Program::on_this_machine(build()?);
    let mut record = Record::begin()?;
    record.write()?;
    let name = free_name(&program)?;
    let port = free_port()?;
    record.name(&name);
    record.write()?;
    start(&program, &name, port)?;
    let first = SocketAddr::from(([127, 0, 0, 1], port));
    Visits::await_page(|| TcpStream::connect_timeout(&first, CONNECT_LIMIT));
    let mut visits = Visits::default();
    for address in addresses::own()? {
        let to = SocketAddr::new(address, port);
        visits.pay(&format!("http://{to}/"), || TcpStream::connect_timeout(&to, CONNECT_LIMIT));
    }
    show(&program)?;
    go_on(&program, &name, port);
    visits.verdict()
}

/// Takes away what [`up`] made.
pub(crate) fn down() -> Result<()> {
    needs_root()?;
    let Some(record) = Record::read()? else {
        println!("there is no demonstration on this machine; nothing to take away");
        return Ok(());
    };
    let program = Program::on_this_machine(build()?);
    println!("removing the container {}", record.container());
    program.run(&["rm", "-f", record.container()])?;
    let others = containers(&program)?;
    if !others.is_empty() {
        println!(
            "other containers are there ({}), so the daemon and its network stay",
            others.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
        );
        return record.forget();
    }
    println!("stopping the daemon and the relay, removing the table and the bridge");
    // Somebody's own Wharf keeps its networks and images.
    let everything: &[&str] = if record.is_ours() { &["--all"] } else { &[] };
    program.run(&[&["shutdown"], everything].concat())?;
    record.restore()?;
    println!("this machine is as it was before");
    Ok(())
}

/// Runs the demonstration on a host of its own, with a client on another, and leaves nothing.
pub(crate) fn isolated() -> Result<()> {
    needs_root()?;
    println!("This demonstration uses two hosts made of network namespaces, and leaves nothing.\n");
    let binary = build()?;
    let lab = Lab::new("demo")?;
    let (here, client) = (lab.host("host")?, lab.host("client")?);
    lab.link(&here, &["10.1.0.2/24", "fd01::2/64"], &client, &["10.1.0.1/24", "fd01::1/64"])?;
    client.default_route_via("10.1.0.2")?;
    client.default_route_via("fd01::2")?;
    let wharf = here.wharf(binary)?;
    let before = wharf.snapshot()?.without("run directory");
    let program = Program::on_lab_host(&wharf);
    start(&program, NAME, PORT)?;
    Visits::await_page(|| unwrapped(here.tcp(&format!("127.0.0.1:{PORT}"))));
    let mut visits = Visits::default();
    for address in ["127.0.0.1", "[::1]", "10.1.0.2", "[fd01::2]"] {
        let to = format!("{address}:{PORT}");
        visits.pay(&format!("http://{to}/"), || unwrapped(here.tcp(&to)));
    }
    for (address, source) in [("10.1.0.2", "10.1.0.1"), ("[fd01::2]", "fd01::1")] {
        let to = format!("{address}:{PORT}");
        let line = format!("http://{to}/ from another host, {source}");
        visits.pay_as(&line, source, || unwrapped(client.tcp(&to)));
    }
    show(&program)?;
    program.run(&["shutdown", "--all"])?;
    wharf.settles_to(&before, Duration::from_secs(10))?;
    assert_same(&before, &wharf.snapshot()?);
    println!("\neverything is gone again: rules, links, processes, mounts and cgroups");
    visits.verdict()
}

fn needs_root() -> Result<()> {
    let user = fs::metadata("/proc/self").context("look at /proc/self")?.uid();
    ensure!(user == 0, "this needs root: it makes a bridge and containers (try sudo)");
    Ok(())
}

fn build() -> Result<PathBuf> {
    prerequisites::compilers()?;
    println!("building Wharf (release)");
    run(cargo().args(["build", "--release", "--locked", "--package", "wharf-cli"]))?;
    let metadata = read(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let target = metadata.get("target_directory").and_then(Value::as_str);
    Ok(PathBuf::from(target.context("no target directory")?).join("release/wharf"))
}

fn start(program: &Program<'_>, name: &str, port: u16) -> Result<()> {
    let publish = format!("{port}:80");
    let line = ["run", "-d", "-p", &publish, "--name", name, IMAGE];
    println!("\n$ wharf {}", line.join(" "));
    let start = Instant::now();
    print!("{}", program.run(&line)?);
    println!("(up after {} ms)\n", start.elapsed().as_millis());
    Ok(())
}

fn show(program: &Program<'_>) -> Result<()> {
    for verb in ["ports", "ps"] {
        println!("\n$ wharf {verb}");
        print!("{}", program.run(&[verb])?);
    }
    Ok(())
}

fn go_on(program: &Program<'_>, name: &str, port: u16) {
    let wharf = program.display();
    println!(
        "\nHow to go on:
  curl http://127.0.0.1:{port}/api        what the container sees of you, as JSON
  {wharf} logs {name}
  {wharf} run -d -p 9000-9009:9000-9009 -p 127.0.0.1::80 {IMAGE}
  {wharf} --help
  {wharf} rm -f {name}
  cargo xtask demo --down                 take everything away\n"
    );
}

/// The names and images of all containers.
fn containers(program: &Program<'_>) -> Result<Vec<(String, String)>> {
    let text = program.run(&["ps", "--all", "--format", "json"])?;
    let list: Vec<Value> = serde_json::from_str(&text).context("read `wharf ps`")?;
    let field = |entry: &Value, name: &str| {
        entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    Ok(list.iter().map(|entry| (field(entry, "name"), field(entry, "image"))).collect())
}

/// `web`, unless that is somebody's; what an earlier demonstration left is replaced.
fn free_name(program: &Program<'_>) -> Result<String> {
    let known = containers(program)?;
    let image_of = |wanted: &str| known.iter().find(|(name, _)| name == wanted).map(|it| &it.1);
    let candidates = std::iter::once(NAME.to_owned()).chain((2..100).map(|n| format!("{NAME}{n}")));
    for name in candidates {
        match image_of(&name) {
            None => return Ok(name),
            Some(image) if image.starts_with(IMAGE) => {
                println!("replacing the container {name} of an earlier demonstration");
                program.run(&["rm", "-f", &name])?;
                return Ok(name);
            }
            Some(image) => println!("the name {name} is taken by a container of {image}"),
        }
    }
    bail!("no free name for the container")
}

/// The first port from 8080 on that nobody listens on.
fn free_port() -> Result<u16> {
    let is_free = |port: &u16| {
        ["0.0.0.0", "[::]"].iter().all(|it| TcpListener::bind(format!("{it}:{port}")).is_ok())
    };
    let port = (PORT..PORT + 100).find(is_free).context("no free port from 8080 to 8179")?;
    if port != PORT {
        println!("port {PORT} is in use on this machine, so this is port {port}");
    }
    Ok(port)
}

fn unwrapped<T>(outcome: Result<T>) -> std::io::Result<T> {
    outcome.map_err(|error| std::io::Error::other(format!("{error:#}")))
}
