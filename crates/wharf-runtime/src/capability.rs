//! Capabilities: their names, Docker's default set, and what `--cap-add` and `--cap-drop` make of
//! it.

use crate::error::{Error, Result};
use crate::spec::Security;

/// Every capability, at the place of its number in `linux/capability.h`.
const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    MKNOD,
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Docker's fourteen default capabilities (moby's `oci/caps/defaults.go`).
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    MKNOD,
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Harmless only under a device filter.
pub(crate) const MKNOD: &str = "CAP_MKNOD";
/// All of them, in a list of what to add or drop.
const EVERY: &str = "ALL";

/// A set of capabilities: bit N is capability N.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(u64);

/// The name of a capability as the kernel has it, or `ALL`; Docker's refusal otherwise.
pub fn canonical(text: &str, flag: &str) -> Result<String> {
    let upper = text.to_ascii_uppercase();
    if upper == EVERY {
        return Ok(upper);
    }
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    match ALL.contains(&full.as_str()) {
        true => Ok(full),
        false => Err(Error::Spec(format!("invalid {flag}: unknown capability: {text:?}"))),
    }
}

// === impl Capabilities ===

impl Capabilities {
    /// The permitted set of the calling thread; all of them if it cannot be read.
    pub fn own() -> Self {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
        let bits = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        Self(bits.unwrap_or(u64::MAX))
    }

    /// Whether `name`, as `CAP_CHOWN`, is among them.
    pub fn has(self, name: &str) -> bool {
        ALL.iter().zip(0..64).any(|(known, number)| *known == name && self.0 & (1 << number) != 0)
    }

    /// The names of what `security` asks for, as far as it is among these.
    pub(crate) fn select(self, security: &Security) -> Vec<&'static str> {
        let (add, drop) = (&security.add, &security.drop);
        let said = |list: &[String], name: &str| list.iter().any(|said| said == name);
        let wanted = |name: &str| {
            if security.privileged {
                return true;
            }
            if said(add, EVERY) {
                return !said(drop, name);
            }
            let by_default = DEFAULT.contains(&name) && !said(drop, EVERY);
            (by_default && !said(drop, name)) || said(add, name)
        };
        ALL.into_iter().filter(|name| wanted(name) && self.has(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(add: &[&str], drop: &[&str]) -> Vec<&'static str> {
        let list = |names: &[&str]| {
            names.iter().map(|name| canonical(name, "CapAdd").unwrap()).collect::<Vec<_>>()
        };
        let security = Security { add: list(add), drop: list(drop), ..Security::default() };
        Capabilities(u64::MAX).select(&security)
    }

    #[test]
    fn names_go_with_and_without_their_prefix() {
        for name in ["net_admin", "NET_ADMIN", "CAP_NET_ADMIN", "cap_net_admin"] {
            assert_eq!(canonical(name, "CapAdd").unwrap(), "CAP_NET_ADMIN");
        }
        assert_eq!(canonical("all", "CapDrop").unwrap(), "ALL");
        let error = canonical("NET_ADMINS", "CapAdd").unwrap_err().to_string();
        assert_eq!(error, "invalid CapAdd: unknown capability: \"NET_ADMINS\"");
    }

    #[test]
    fn sets_are_made_as_in_docker() {
        assert_eq!(selected(&[], &[]).len(), 14);
        assert_eq!(selected(&["NET_ADMIN"], &[]).len(), 15);
        assert_eq!(selected(&["CHOWN"], &[]).len(), 14);
        assert_eq!(selected(&[], &["CHOWN", "KILL"]).len(), 12);
        assert_eq!(selected(&[], &["ALL"]), Vec::<&str>::new());
        assert_eq!(selected(&["KILL", "NET_ADMIN"], &["ALL"]), ["CAP_KILL", "CAP_NET_ADMIN"]);
        assert_eq!(selected(&["ALL"], &[]).len(), 41);
        assert_eq!(selected(&["ALL"], &["SYS_ADMIN"]).len(), 40);
        assert_eq!(selected(&["CHOWN"], &["CHOWN"]).len(), 14, "adding wins, as in Docker");
    }

    #[test]
    fn nobody_gives_what_they_do_not_have() {
        let few = Capabilities(0b11);
        assert!(few.has("CAP_CHOWN") && !few.has("CAP_KILL"));
        let privileged = Security { privileged: true, ..Security::default() };
        assert_eq!(few.select(&privileged), ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
    }
}
