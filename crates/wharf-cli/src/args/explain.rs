//! The verbs that tell why.

use clap::Args;

use super::Format;

const EXPLAIN_EXAMPLES: &str = "\
Each hop is looked at on the live system: the interface a packet comes by, the address it asks for,
what is published there, the allow-list, the rules of others, the plane with its rule or socket,
rewriting, forwarding, bridge, veth, the container, the socket that listens in it, the way back, and
the source address that is seen. Nothing is changed and, unless the target is addr:IP, nothing is
sent.

Examples:
  wharf explain 8080                        from another host
  wharf explain 8080 --from 192.0.2.7       from this client: its route, its place on the allow-list
  wharf explain 8080 --from host            from a process of this host
  wharf explain 127.0.0.1:8080              the same, by the address that is asked
  wharf explain [2001:db8::1]:53/udp --format json

Exit codes: 0 when a packet gets through, 1 when some hop fails.";

const DOCTOR_NOTES: &str = "\
Nothing is changed, and nothing of other programs is touched.

Exit codes: 0 when there is no problem, 1 when there is.";

/// `wharf explain`.
#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub(crate) struct ExplainArgs {
    /// Where the client is: an IP address, or host for a process of this host (default: another
    /// host, or this one if a loopback address is asked)
    #[arg(long, value_name = "ADDR|host")]
    pub(crate) from: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// [HOST-IP:]PORT[/PROTOCOL]
    pub(crate) port: String,
}

/// `wharf doctor`.
#[derive(Debug, Args)]
#[command(after_help = DOCTOR_NOTES)]
pub(crate) struct DoctorArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}
