//! What a container may do: requests turned into what its shim is told.

use std::collections::BTreeMap;

use wharf_api::options::Security as Request;
use wharf_runtime::capability::{Capabilities, canonical};
use wharf_runtime::cgroup::filters_devices;
use wharf_runtime::seccomp;
use wharf_runtime::spec::{Seccomp, Security};

use crate::error::{Error, Result};

const UNCONFINED: &str = "unconfined";
const EVERY: &str = "ALL";
const MKNOD: &str = "CAP_MKNOD";
/// Settings of IPC and UTS namespaces, which every container has its own of.
const SYSCTLS: [&str; 9] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.domainname",
];
/// Docker's word for the host's network.
const HOST_NETWORK: &str = "host";

/// The privileges `request` asks for, for a container on `network`.
pub(crate) fn security(request: &Request, network: Option<&str>) -> Result<Security> {
    Ok(Security {
        privileged: request.privileged,
        add: added(request)?,
        drop: canonical_all(&request.cap_drop, "CapDrop")?,
        no_new_privileges: request.no_new_privileges,
        seccomp: filter(request.seccomp.as_deref())?,
        groups: request.group_add.clone(),
        sysctls: sysctls(&request.sysctls, network)?,
        init: request.init,
    })
}

fn canonical_all(names: &[String], flag: &str) -> Result<Vec<String>> {
    Ok(names.iter().map(|name| canonical(name, flag)).collect::<Result<_, _>>()?)
}

/// What is asked for by name must be had; `ALL` means all the daemon has.
fn added(request: &Request) -> Result<Vec<String>> {
    let names = canonical_all(&request.cap_add, "CapAdd")?;
    let own = Capabilities::own();
    for name in names.iter().filter(|name| *name != EVERY) {
        if !own.has(name) {
            return Err(Error::Invalid(format!(
                "{name} cannot be added: the daemon does not have it itself"
            )));
        }
        if name == MKNOD && !request.privileged && !filters_devices()? {
            return Err(Error::Invalid(format!(
                "{name} cannot be added: this host has no device controller of cgroup v1 to keep the \
                 container from the host's disks; use --device, or --privileged"
            )));
        }
    }
    Ok(names)
}

fn filter(asked: Option<&str>) -> Result<Seccomp> {
    match asked {
        None => Ok(Seccomp::Default),
        Some(UNCONFINED) => Ok(Seccomp::Unconfined),
        Some(profile) => {
            seccomp::check(profile)?;
            Ok(Seccomp::Profile(profile.to_owned()))
        }
    }
}

fn sysctls(
    asked: &BTreeMap<String, String>,
    network: Option<&str>,
) -> Result<BTreeMap<String, String>> {
    asked.iter().map(|(name, value)| sysctl(name, value, network)).collect()
}

fn sysctl(name: &str, value: &str, network: Option<&str>) -> Result<(String, String)> {
    let refuse = |why: &str| Err(Error::Invalid(format!("sysctl '{name}' is not allowed: {why}")));
    let canonical = name.replace('/', ".");
    let letter = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !canonical.chars().all(letter) || value.contains(['\0', '\n']) {
        return refuse("it is no name of a kernel setting, or no value of one");
    }
    if canonical.starts_with("net.") {
        if network == Some(HOST_NETWORK) {
            return refuse("with the host's network it would change the host: set it there");
        }
        return Ok((canonical, value.to_owned()));
    }
    if SYSCTLS.contains(&canonical.as_str()) || canonical.starts_with("fs.mqueue.") {
        return Ok((canonical, value.to_owned()));
    }
    refuse("it belongs to the whole host and not to the container: use net.*, fs.mqueue.* or IPC's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_host_are_nobodys_own() {
        for name in
            ["net.ipv4.ip_forward", "net/ipv4/ip_forward", "kernel.msgmax", "fs.mqueue.msg_max"]
        {
            assert!(sysctl(name, "1", None).is_ok(), "{name}");
        }
        for name in ["kernel.panic", "vm.swappiness", "net", "", "kernel.msgmax\n", "user.max_x"] {
            assert!(sysctl(name, "1", None).is_err(), "{name}");
        }
        assert!(sysctl("net.core.somaxconn", "1", Some("host")).is_err());
        assert!(sysctl("kernel.sem", "1", Some("host")).is_ok());
    }

    #[test]
    fn what_cannot_be_given_is_refused_by_name() {
        let request = Request { cap_add: vec!["nonsense".into()], ..Request::default() };
        let error = security(&request, None).unwrap_err().to_string();
        assert!(error.contains("unknown capability"), "{error}");
        let request = Request { seccomp: Some("{}".into()), ..Request::default() };
        assert!(security(&request, None).unwrap_err().to_string().contains("seccomp profile"));
        let all = Request { cap_add: vec!["all".into()], ..Request::default() };
        assert_eq!(security(&all, None).unwrap().add, ["ALL"]);
    }
}
