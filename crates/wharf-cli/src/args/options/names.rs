//! Flags of `run` and `create`: how it finds others, and how others find it.

use clap::Args;
use wharf_api::options::{Names, NetworkJoin};

use crate::failure::Exit;

/// What a new container is told of how it finds others, and how others find it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Names")]
pub(crate) struct NamesOptions {
    /// Another name for the container on its network (repeatable)
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
    /// Resolver for names that are no container's, in place of the host's (repeatable)
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// Domain tried behind a name, in place of the host's; . for none (repeatable)
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Option of the resolver, as in resolv.conf (repeatable)
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Line for /etc/hosts; host-gateway for what the host is to the container (repeatable)
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// Domain behind the host name
    #[arg(long, value_name = "DOMAIN")]
    domainname: Option<String>,
    /// Refused with the way that there is
    #[arg(long, hide = true, value_name = "CONTAINER[:ALIAS]")]
    link: Vec<String>,
}

// === impl NamesOptions ===

impl NamesOptions {
    /// The same as the API takes it; `networks` are those to join besides the first.
    pub(crate) fn request(self, networks: Vec<NetworkJoin>) -> Result<Names, Exit> {
        let Self { network_alias, dns, dns_search, dns_option, add_host, domainname, link } = self;
        if let Some(link) = link.first() {
            return Err(Exit::at_run(format!(
                "--link {link} is not available: containers of one network find each other by \
                 name; use --network with the same network for both, and --network-alias for \
                 another name"
            )));
        }
        Ok(Names {
            aliases: network_alias,
            networks,
            dns,
            dns_search,
            dns_options: dns_option,
            extra_hosts: add_host,
            domainname,
        })
    }
}
