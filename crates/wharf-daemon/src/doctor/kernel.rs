//! What the kernel has: NAT, our table, conntrack, eBPF, confinement.

use std::fs;
use std::path::Path;

use wharf_api::Check;
use wharf_ebpf::Overflow;
use wharf_host::netlink::{Family, Netlink};
use wharf_host::nftables::{self, Ownership};
use wharf_host::sysctl;

use super::{Patient, note, ok, problem};
use crate::planes::TABLE;

/// Conntrack that is fuller than this is about to turn new flows away.
const FULL_PERCENT: u64 = 90;
const FILLING_PERCENT: u64 = 70;

pub(super) fn checks(patient: &Patient<'_>) -> Vec<Check> {
    vec![nft(patient), table(patient), conntrack(), ebpf(patient), confinement(patient)]
}

fn nft(patient: &Patient<'_>) -> Check {
    if patient.facts.nft_nat {
        return ok("nft", "nftables can rewrite addresses");
    }
    problem(
        "nft",
        "this kernel has no nftables NAT",
        "the relay serves every path, and allow-lists are held by it alone",
        &[
            "modprobe nf_tables nft_chain_nat",
            "or a kernel with CONFIG_NF_TABLES_INET and CONFIG_NFT_NAT",
        ],
    )
}

fn table(patient: &Patient<'_>) -> Check {
    let place = "table";
    let found = Netlink::open(Family::Netfilter)
        .and_then(|mut netlink| nftables::table(&mut netlink, TABLE));
    let state = match found {
        Ok(Some(state)) => state,
        Ok(None) if patient.records.is_empty() || !patient.facts.nft_nat => {
            return ok(place, "table inet wharf is made with the first network");
        }
        Ok(None) => {
            return problem(
                place,
                "table inet wharf is missing",
                "the relay serves every path until it is back, which is at once",
                &["`wharf events` tells who takes it away"],
            );
        }
        Err(error) => {
            return problem(place, error.to_string(), "the kernel plane cannot be watched", &[]);
        }
    };
    let ours = patient.daemon.planes.nft_port();
    match (state.ownership, state.owner) {
        (Ownership::Owned, Some(owner)) if Some(owner) != ours => problem(
            place,
            format!("table inet wharf belongs to {}", nftables::socket_owner(owner)),
            "this daemon cannot change it: ports are served by the relay",
            &["stop the other daemon: two cannot share a network namespace"],
        ),
        (Ownership::Owned, _) => {
            ok(place, "table inet wharf belongs to this daemon: nobody else can flush or change it")
        }
        (Ownership::Shared, _) => note(
            place,
            "table inet wharf can be changed by others: this kernel (before 6.9) has no owned tables",
            "after `nft flush ruleset` the relay serves, until the table is back within a second",
            &[],
        ),
    }
}

fn conntrack() -> Check {
    let place = "conntrack";
    let number = |name: &str| -> Option<u64> {
        sysctl::get(&format!("net/netfilter/{name}")).ok()?.trim().parse().ok()
    };
    let (count, max) = match (number("nf_conntrack_count"), number("nf_conntrack_max")) {
        (Some(count), Some(max)) if max > 0 => (count, max),
        _ => return ok(place, "the kernel tracks no flows yet"),
    };
    let text = format!("{count} of {max} flows are tracked");
    let remedy = ["sysctl -w net.netfilter.nf_conntrack_max=MORE (about 320 bytes each)"];
    match count.saturating_mul(100) / max {
        FULL_PERCENT.. => problem(
            place,
            text,
            "new connections through the kernel are about to be dropped (`nf_conntrack: table full`)",
            &remedy,
        ),
        FILLING_PERCENT.. => {
            note(place, text, "when it is full, new connections are dropped", &remedy)
        }
        _ => ok(place, text),
    }
}

/// Whether the host's own processes can be led straight to containers, and ranges to one socket.
fn ebpf(patient: &Patient<'_>) -> Check {
    let place = "ebpf";
    if let Some(why) = &patient.facts.no_ebpf {
        let effect = "the relay serves processes of this host; each port of a range takes a socket";
        return note(place, why.clone(), effect, &[]);
    }
    let troubles = patient.daemon.planes.local_troubles();
    if !troubles.is_empty() {
        return problem(
            place,
            troubles.join("; "),
            "processes of this host may be served by slower planes, and ports of large ranges may \
             answer nobody",
            &["the daemon tries again; its log says what the kernel refuses"],
        );
    }
    let Overflow { sockets, busy } = patient.daemon.planes.local_overflow();
    if busy > 0 {
        return note(
            place,
            format!(
                "{busy} times since the plane was made a socket in a large range could not be noted"
            ),
            "clients of such a port may have reached the container in place of the program",
            &["publish fewer ports"],
        );
    }
    if sockets > 0 {
        return note(
            place,
            format!("{sockets} connections since the plane was made were one too many to be led"),
            "the relay served them, and would serve others",
            &["open fewer connections at a time from processes of this host"],
        );
    }
    ok(place, "processes of this host are led straight to containers")
}

/// What protects the host from what a client could make of a mistake in the relay.
fn confinement(patient: &Patient<'_>) -> Check {
    let place = "confinement";
    let seccomp = Path::new("/proc/sys/kernel/seccomp/actions_avail").exists();
    let modules = fs::read_to_string("/sys/kernel/security/lsm").ok();
    let landlock = modules.map(|list| list.split(',').any(|name| name.trim() == "landlock"));
    let filtered = patient.daemon.planes.relay_pid().map(is_filtered);
    let text = format!(
        "seccomp {}, landlock {}{}",
        if seccomp { "yes" } else { "no" },
        match landlock {
            Some(true) => "yes",
            Some(false) => "no",
            None => "cannot be told (/sys/kernel/security is not mounted)",
        },
        match filtered {
            Some(true) => "; the relay is confined",
            Some(false) => "; the relay's system calls are not filtered",
            None => "",
        }
    );
    if seccomp && landlock != Some(false) && filtered != Some(false) {
        return ok(place, text);
    }
    note(place, text, "the relay serves with fewer walls around it", &[])
}

fn is_filtered(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}
