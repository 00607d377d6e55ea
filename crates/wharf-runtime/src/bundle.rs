//! Turns a [`ContainerSpec`] into the `config.json` libcontainer reads.
//!
//! The network namespace is the shim's own: the container inherits it. Seccomp has no place here:
//! libcontainer would ignore a profile, so the filter is [`crate::shim`]'s executor's, right before
//! the command is executed. Limits of control groups are [`crate::cgroup::limits`]'.

use std::path::Path;

use serde_json::{Value, json};

use crate::cgroup::{CGROUP_ROOT, Layout};
use crate::command::{set_variables, variable};
use crate::error::{Error, Result};
use crate::spec::{Bind, ContainerSpec};
use crate::user::User;

pub(crate) mod devices;
mod mounts;
mod privileges;
mod tables;

pub(crate) use privileges::Privileges;
pub(crate) use tables::SYSCTLS;

const OCI_VERSION: &str = "1.0.2";
/// Files the daemon writes into the container's directory, and where they appear.
pub(crate) const ETC_FILES: [(&str, &str); 3] =
    [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];
const UMASK: u32 = 0o022;

/// What `config.json` says, for `spec` run as `user` on `rootfs`.
pub(crate) fn config(
    spec: &ContainerSpec,
    user: &User,
    rootfs: &Path,
    layout: &Layout,
) -> Result<Value> {
    let mut process = process(&spec.args, &spec.env, &spec.workdir, user);
    Privileges::of(&spec.security, user, layout).describe(&mut process, spec);
    Ok(json!({
        "ociVersion": OCI_VERSION,
        "root": {"path": rootfs, "readonly": spec.storage.read_only},
        "hostname": spec.hostname,
        "process": process,
        "mounts": mounts::mounts(spec, layout),
        "annotations": spec.labels,
        "linux": {
            "cgroupsPath": spec.cgroup,
            "namespaces": namespaces(),
            "resources": {"devices": devices::rules(spec)?},
            "devices": devices::nodes(spec)?,
            "maskedPaths": unless_privileged(spec, tables::MASKED_PATHS.to_vec()),
            "readonlyPaths": unless_privileged(spec, readonly_paths()),
            "sysctl": sysctls(spec),
        },
    }))
}

/// The process part, which commands run later in the container have, too; what they may do is
/// [`Privileges::describe`]'s.
pub(crate) fn process(args: &[String], env: &[String], workdir: &str, user: &User) -> Value {
    json!({
        "terminal": false,
        "user": {
            "uid": user.uid, "gid": user.gid, "umask": UMASK, "additionalGids": user.groups,
        },
        "args": args,
        "env": with_home(env, user),
        "cwd": workdir,
    })
}

fn unless_privileged(spec: &ContainerSpec, paths: Vec<&'static str>) -> Vec<&'static str> {
    if spec.security.privileged { Vec::new() } else { paths }
}

/// Those of the namespaces libcontainer makes; the network's are the shim's own.
fn sysctls(spec: &ContainerSpec) -> Value {
    let sysctls = spec.security.sysctls.iter().filter(|(name, _)| !is_network_sysctl(name));
    sysctls.map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
}

/// Whether a kernel setting is one of network namespaces.
pub(crate) fn is_network_sysctl(name: &str) -> bool {
    name.starts_with("net.")
}

/// `env` with HOME set: without it, libcontainer would ask the container's name service.
pub(crate) fn with_home(env: &[String], user: &User) -> Vec<String> {
    let mut env = env.to_vec();
    if variable(&env, "HOME").is_none_or(str::is_empty) {
        set_variables(&mut env, &[format!("HOME={}", user.home)]);
    }
    env
}

fn namespaces() -> Vec<Value> {
    let mut namespaces: Vec<_> =
        ["pid", "mount", "ipc", "uts"].iter().map(|kind| json!({"type": kind})).collect();
    if Path::new("/proc/self/ns/cgroup").exists() {
        namespaces.push(json!({"type": "cgroup"}));
    }
    // The shim's own, named so that commands run later join it: they start elsewhere.
    namespaces.push(json!({"type": "network", "path": "/proc/self/ns/net"}));
    namespaces
}

fn readonly_paths() -> Vec<&'static str> {
    // The tmpfs that holds the v1 hierarchies must be writable while they are mounted.
    tables::READONLY_PATHS.into_iter().chain([CGROUP_ROOT]).collect()
}

/// Refuses what could not be mounted, with Docker's texts.
pub(crate) fn check_binds(binds: &[Bind]) -> Result<()> {
    for bind in binds {
        let (source, target) = (bind.source.display(), bind.target.display());
        let refuse = |reason: String| {
            Err(Error::Spec(format!("invalid mount config for type \"bind\": {reason}")))
        };
        if !bind.target.is_absolute() || bind.target == Path::new("/") {
            return refuse(format!("invalid mount path: '{target}' must be absolute, and not '/'"));
        }
        if !bind.source.is_absolute() || !bind.source.exists() {
            return refuse(format!("bind source path does not exist: {source}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
