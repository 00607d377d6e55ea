//! Packet forwarding, switched on without cutting the host off.

use std::fs;

use super::{Changed, ROOT, change, exists, get, set};
use crate::error::{Context, Error, Result};

const IPV4: &str = "net/ipv4/ip_forward";
const IPV6: &str = "net/ipv6/conf/all/forwarding";

/// Which families are to be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarding {
    /// IPv4.
    pub ipv4: bool,
    /// IPv6; passed over on a kernel without it.
    pub ipv6: bool,
}

// === impl Forwarding ===

impl Forwarding {
    /// Switches forwarding on in the calling thread's network namespace and tells what changed.
    ///
    /// # Errors
    /// The first setting that could not be changed; the ones before it have been put back.
    pub fn enable(self) -> Result<Vec<Changed>> {
        let mut changes = Vec::new();
        match self.enable_noting(&mut changes) {
            Ok(()) => Ok(changes),
            Err(error) => {
                for failure in restore(&changes) {
                    tracing::warn!(error = %failure, "could not put a kernel setting back");
                }
                Err(error)
            }
        }
    }

    fn enable_noting(self, changes: &mut Vec<Changed>) -> Result<()> {
        if self.ipv4 {
            changes.extend(change(IPV4, "1")?);
        }
        if self.ipv6 && exists(IPV6) && get(IPV6)? != "1" {
            keep_router_advertisements(changes)?;
            changes.extend(change(IPV6, "1")?);
        }
        Ok(())
    }
}

/// Puts settings back that still are what we set them to, the last one first; what someone else
/// has changed since, or what is gone, stays. Returns what could not be put back.
pub fn restore(changes: &[Changed]) -> Vec<Error> {
    changes.iter().rev().filter_map(|changed| restore_one(changed).err()).collect()
}

fn restore_one(changed: &Changed) -> Result<()> {
    match get(&changed.name) {
        Ok(now) if now == changed.new => set(&changed.name, &changed.old),
        Ok(_) => Ok(()),
        Err(e) if e.is_not_found() => Ok(()),
        Err(e) => Err(e),
    }
}

/// A host that forwards ignores router advertisements where `accept_ra` is 1, and its default
/// route learned from them goes away; 2 means to accept them nevertheless.
fn keep_router_advertisements(changes: &mut Vec<Changed>) -> Result<()> {
    let folder = format!("{ROOT}/net/ipv6/conf");
    for entry in fs::read_dir(folder).during(|| "list the interfaces that have IPv6 settings")? {
        let entry = entry.during(|| "list the interfaces that have IPv6 settings")?;
        let Some(interface) = entry.file_name().to_str().map(str::to_owned) else { continue };
        // Only interfaces that obey advertisements now are to go on obeying them. `default` stays:
        // interfaces to come include bridges of others, whose guests must not become our routers.
        if matches!(interface.as_str(), "all" | "default" | "lo") {
            continue;
        }
        let name = format!("net/ipv6/conf/{interface}/accept_ra");
        match get(&name) {
            Ok(value) if value == "1" => changes.extend(change(&name, "2")?),
            Ok(_) => {}
            // The interface went away meanwhile.
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Links;
    use crate::netns::Netns;

    const BOTH: Forwarding = Forwarding { ipv4: true, ipv6: true };

    fn host() -> Option<Netns> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return None;
        }
        let netns = Netns::create().unwrap();
        Links::open_in(&netns).unwrap().add_bridge("uplink", None, None).unwrap();
        // A new namespace may inherit these from the machine.
        netns
            .run(|| {
                set(IPV6, "0").unwrap();
                set(IPV4, "0").unwrap();
                set("net/ipv6/conf/uplink/accept_ra", "1").unwrap();
                set("net/ipv6/conf/default/accept_ra", "1").unwrap();
            })
            .unwrap();
        Some(netns)
    }

    #[test]
    fn router_advertisements_survive_forwarding() {
        let Some(netns) = host() else { return };
        netns
            .run(|| {
                let changes = BOTH.enable().unwrap();
                assert_eq!(get(IPV4).unwrap(), "1");
                assert_eq!(get(IPV6).unwrap(), "1");
                assert_eq!(get("net/ipv6/conf/uplink/accept_ra").unwrap(), "2");
                assert_eq!(get("net/ipv6/conf/default/accept_ra").unwrap(), "1");
                // Enabling again finds nothing to do.
                assert_eq!(BOTH.enable().unwrap(), []);
                let kept = serde_json::to_string(&changes).unwrap();
                let kept: Vec<Changed> = serde_json::from_str(&kept).unwrap();
                assert!(restore(&kept).is_empty());
                assert_eq!(get(IPV4).unwrap(), "0");
                assert_eq!(get(IPV6).unwrap(), "0");
                assert_eq!(get("net/ipv6/conf/uplink/accept_ra").unwrap(), "1");
            })
            .unwrap();
    }

    #[test]
    fn an_interface_that_refuses_advertisements_keeps_refusing() {
        let Some(netns) = host() else { return };
        netns
            .run(|| {
                set("net/ipv6/conf/uplink/accept_ra", "0").unwrap();
                BOTH.enable().unwrap();
                assert_eq!(get("net/ipv6/conf/uplink/accept_ra").unwrap(), "0");
            })
            .unwrap();
    }

    #[test]
    fn only_the_families_asked_for_are_forwarded() {
        let Some(netns) = host() else { return };
        netns
            .run(|| {
                let changes = (Forwarding { ipv4: true, ipv6: false }).enable().unwrap();
                assert_eq!(changes.len(), 1);
                assert_eq!(get(IPV6).unwrap(), "0");
                assert_eq!(get("net/ipv6/conf/uplink/accept_ra").unwrap(), "1");
            })
            .unwrap();
    }

    #[test]
    fn what_someone_else_changed_or_removed_is_left_alone() {
        let Some(netns) = host() else { return };
        netns
            .run(|| {
                let changes = BOTH.enable().unwrap();
                set("net/ipv6/conf/uplink/accept_ra", "0").unwrap();
                assert!(restore(&changes).is_empty());
                assert_eq!(get("net/ipv6/conf/uplink/accept_ra").unwrap(), "0");
                let gone = Changed {
                    name: "net/ipv6/conf/gone/accept_ra".to_owned(),
                    old: "1".to_owned(),
                    new: "2".to_owned(),
                };
                assert!(restore(&[gone]).is_empty());
            })
            .unwrap();
    }
}
