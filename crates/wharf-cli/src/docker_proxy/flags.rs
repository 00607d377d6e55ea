//! Flags in the style of Go's `flag` package: one dash or two, the value after `=` or as the next
//! argument, the last of several counts.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use wharf_spec::Proto;

/// What `-help` prints.
pub(super) const USAGE: &str = "\
Usage of docker-proxy:
  -container-ip IP
    \tthe container's address; its family may be another than the host's
  -container-port N
    \tthe container's port
  -host-ip IP
    \tthe host's address
  -host-port N
    \tthe host's port
  -proto tcp|udp
    \tthe protocol (default tcp)
  -use-listen-fd
    \tserve the socket at descriptor 4, which is bound already
  -v\tprint the version and exit";

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// To serve a port.
    Serve(Order),
    /// To print something.
    Tell(String),
}

/// The port to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) proto: Proto,
    pub(super) host: SocketAddr,
    pub(super) container: SocketAddr,
    pub(super) use_listen_fd: bool,
}

/// Why a command line cannot be understood; the words are Go's where Go has some.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misuse {
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    #[error("flag needs an argument: -{0}")]
    NoValue(&'static str),
    #[error("invalid value {value:?} for flag -{name}: {wanted}")]
    Value { name: &'static str, value: String, wanted: &'static str },
    #[error("flag -{0} is missing")]
    Missing(&'static str),
    #[error("unexpected argument {0:?}: everything is given by flags")]
    Argument(String),
}

/// What was given so far.
#[derive(Debug, Default)]
struct Given {
    proto: Proto,
    host_ip: Option<IpAddr>,
    host_port: Option<NonZeroU16>,
    container_ip: Option<IpAddr>,
    container_port: Option<NonZeroU16>,
    use_listen_fd: bool,
    version: bool,
    help: bool,
}

/// Reads the arguments after the program's name.
pub(super) fn parse(args: &[OsString]) -> Result<Asked, Misuse> {
    let mut given = Given::default();
    let mut rest = args.iter().map(|arg| arg.to_string_lossy().into_owned());
    while let Some(arg) = rest.next() {
        let Some(flag) = split(&arg)? else { return Err(Misuse::Argument(arg)) };
        given.take(flag, &mut rest)?;
    }
    if given.help {
        return Ok(Asked::Tell(USAGE.to_owned()));
    }
    if given.version {
        let version = env!("CARGO_PKG_VERSION");
        return Ok(Asked::Tell(format!("docker-proxy (wharf) version {version}")));
    }
    given.order().map(Asked::Serve)
}

/// The name of a flag and the value after `=`; `None` for what is no flag.
fn split(arg: &str) -> Result<Option<(&str, Option<&str>)>, Misuse> {
    let Some(name) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
        return Ok(None);
    };
    if name.is_empty() {
        return Ok(None);
    }
    if name.starts_with(['-', '=']) {
        return Err(Misuse::Syntax(arg.to_owned()));
    }
    Ok(Some(name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)))))
}

// === impl Given ===

impl Given {
    fn take(
        &mut self,
        (name, value): (&str, Option<&str>),
        rest: &mut impl Iterator<Item = String>,
    ) -> Result<(), Misuse> {
        let mut text = |name| match value {
            Some(value) => Ok((name, value.to_owned())),
            None => rest.next().map(|value| (name, value)).ok_or(Misuse::NoValue(name)),
        };
        match name {
            "proto" => self.proto = proto(text("proto")?)?,
            "host-ip" => self.host_ip = Some(ip(text("host-ip")?)?),
            "host-port" => self.host_port = Some(port(text("host-port")?)?),
            "container-ip" => self.container_ip = Some(ip(text("container-ip")?)?),
            "container-port" => self.container_port = Some(port(text("container-port")?)?),
            "use-listen-fd" => self.use_listen_fd = truth("use-listen-fd", value)?,
            "v" => self.version = truth("v", value)?,
            "h" | "help" => self.help = true,
            _ => return Err(Misuse::Unknown(name.to_owned())),
        }
        Ok(())
    }

    fn order(self) -> Result<Order, Misuse> {
        let at = |ip: Option<IpAddr>, ip_name, port: Option<NonZeroU16>, port_name| {
            let ip = ip.ok_or(Misuse::Missing(ip_name))?;
            let port = port.ok_or(Misuse::Missing(port_name))?;
            Ok(SocketAddr::new(ip, port.get()))
        };
        let host = at(self.host_ip, "host-ip", self.host_port, "host-port")?;
        let container =
            at(self.container_ip, "container-ip", self.container_port, "container-port")?;
        let Self { proto, use_listen_fd, .. } = self;
        Ok(Order { proto, host, container, use_listen_fd })
    }
}

fn proto((name, value): (&'static str, String)) -> Result<Proto, Misuse> {
    // Exactly as dockerd writes them: `TCP` is unknown to its own proxy, too.
    let known = [Proto::Tcp, Proto::Udp, Proto::Sctp].into_iter().find(|it| it.as_str() == value);
    known.ok_or(Misuse::Value { name, value, wanted: "unsupported protocol; use tcp or udp" })
}

fn ip((name, value): (&'static str, String)) -> Result<IpAddr, Misuse> {
    // An IPv4 address in IPv6's clothes means IPv4 here, as it does to Go.
    let parsed = value.parse().map(|ip: IpAddr| ip.to_canonical());
    parsed.map_err(|_| Misuse::Value { name, value, wanted: "not an IPv4 or IPv6 address" })
}

fn port((name, value): (&'static str, String)) -> Result<NonZeroU16, Misuse> {
    let parsed = value.parse();
    parsed.map_err(|_| Misuse::Value { name, value, wanted: "a port is a number from 1 to 65535" })
}

/// Go's spellings of a truth value; a flag alone is true and never takes the next argument.
fn truth(name: &'static str, value: Option<&str>) -> Result<bool, Misuse> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => {
            Err(Misuse::Value { name, value: other.to_owned(), wanted: "use true or false" })
        }
    }
}

#[cfg(test)]
mod tests;
