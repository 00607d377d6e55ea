//! The verbs for publishing on what runs.

use clap::{ArgAction, Args, ValueEnum};

use super::Format;

const PUBLISH_EXAMPLES: &str = "\
Targets:
  NAME          a running container of Wharf's (name or id); the ports come back when it restarts
  netns:PATH    whatever listens in a network namespace, as netns:/run/netns/blue
  addr:IP       a machine with an address this host has a way to
  docker:NAME   a running container of Docker's, followed when it is restarted
  podman:NAME   the same of Podman's

Examples:
  wharf publish web 8080:80                          publish port 80 of container web as 8080
  wharf publish web 8080:80 --allow 192.0.2.0/24     who may connect, from now on; the rest stays
  wharf publish web 8080:80 --allow any --via auto   everybody may again, by the fastest plane
  wharf publish green 8080:80 --replace blue         lead port 8080 to green instead of blue, \
without a gap
  wharf publish netns:/run/netns/blue 2222:22 --via relay
  wharf unpublish web 8080:80 --drain 30s            open connections may go on for 30 seconds";

/// `wharf publish`.
#[derive(Debug, Args)]
#[command(after_help = PUBLISH_EXAMPLES)]
pub(crate) struct PublishArgs {
    /// What carries the traffic: auto is the fastest that can
    #[arg(long, value_name = "PLANE", value_parser = ["auto", "relay", "nft", "ebpf"])]
    pub(crate) via: Option<String>,
    /// Networks clients may come from; everyone else is turned away (repeatable; any: no limit)
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) allow: Vec<String>,
    /// Whose address the target sees: the client's wherever it can be kept, or the gateway's
    #[arg(long, value_name = "MODE", value_parser = ["auto", "client", "gateway"])]
    pub(crate) source: Option<String>,
    /// Tell the target the client's address ahead of each connection
    #[arg(long, value_name = "VERSION", value_parser = ["v1", "v2", "off"])]
    pub(crate) proxy_protocol: Option<String>,
    /// Take these host ports over from another target, without a refused connection
    #[arg(long, value_name = "TARGET")]
    pub(crate) replace: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Container, netns:PATH, addr:IP, docker:NAME or podman:NAME
    pub(crate) target: String,
    /// Port specs, as after run -p: 8080:80, 127.0.0.1:8080:80, 5353:53/udp, 8000-8010:8000-8010
    #[arg(required = true, value_name = "SPEC")]
    pub(crate) specs: Vec<String>,
}

/// `wharf unpublish`.
#[derive(Debug, Args)]
pub(crate) struct UnpublishArgs {
    /// Everything that is published for the target
    #[arg(long, conflicts_with = "specs")]
    pub(crate) all: bool,
    /// How long open connections may go on, as 30s, 5m or 1h; without it they end at once
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) drain: Option<u32>,
    /// Container, netns:PATH, addr:IP, docker:NAME or podman:NAME
    pub(crate) target: String,
    /// As they were published, or only the target's port, or the publication's id
    #[arg(required_unless_present = "all", value_name = "SPEC")]
    pub(crate) specs: Vec<String>,
}

/// `wharf ports`.
#[derive(Debug, Args)]
pub(crate) struct PortsArgs {
    /// Show them again whenever something has changed, and every second
    #[arg(short, long, action = ArgAction::SetTrue)]
    pub(crate) watch: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// `wharf events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: EventFormat,
}

/// How events are printed, a line each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventFormat {
    /// Words for people
    #[default]
    Text,
    /// A JSON object for programs
    Json,
}

/// A time with a unit, in whole seconds.
fn seconds(text: &str) -> Result<u32, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("use a number and a unit, as 30s, 5m or 1h".to_owned()),
    };
    let number: u32 = number.parse().map_err(|_| "use a number of seconds".to_owned())?;
    number.checked_mul(scale).ok_or_else(|| "that is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(seconds("30s"), Ok(30));
        assert_eq!(seconds("2m"), Ok(120));
        assert_eq!(seconds("1h"), Ok(3600));
        for text in ["", "30", "s", "-1s", "1.5s", "99999999999s", "4294967295h"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
