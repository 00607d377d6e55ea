//! Turns a [`ContainerSpec`] into the `config.json` libcontainer reads.
//!
//! The network namespace is the shim's own: the container inherits it. Seccomp has no place here:
//! libcontainer would ignore a profile, so a filter belongs into [`crate::shim`]'s executor, right
//! before the command is executed.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::cgroup::{CGROUP_ROOT, Layout};
use crate::command::{set_variables, variable};
use crate::error::{Error, Result};
use crate::spec::{Bind, ContainerSpec};
use crate::user::User;

mod tables;

pub(crate) use tables::SYSCTLS;

const OCI_VERSION: &str = "1.0.2";
/// Files the daemon writes into the container's directory, and where they appear.
pub(crate) const ETC_FILES: [(&str, &str); 3] =
    [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];
const UMASK: u32 = 0o022;

/// What `config.json` says, for `spec` run as `user` on `rootfs`.
pub(crate) fn config(spec: &ContainerSpec, user: &User, rootfs: &Path, layout: &Layout) -> Value {
    json!({
        "ociVersion": OCI_VERSION,
        "root": {"path": rootfs, "readonly": false},
        "hostname": spec.hostname,
        "domainname": spec.domainname,
        "process": process(&spec.args, &spec.env, &spec.workdir, user, layout),
        "mounts": mounts(spec, layout),
        "annotations": spec.labels,
        "linux": {
            "cgroupsPath": spec.cgroup,
            "namespaces": namespaces(),
            "resources": {"devices": device_rules()},
            "maskedPaths": tables::MASKED_PATHS,
            "readonlyPaths": readonly_paths(),
        },
    })
}

/// The process part, which commands run later in the container have, too.
pub(crate) fn process(
    args: &[String],
    env: &[String],
    workdir: &str,
    user: &User,
    layout: &Layout,
) -> Value {
    let capabilities = capabilities(layout);
    // As in Docker, another user than root has none, and cannot get more than these.
    let held = if user.uid == 0 { capabilities.clone() } else { Vec::new() };
    let none: [&str; 0] = [];
    json!({
        "terminal": false,
        "user": {
            "uid": user.uid, "gid": user.gid, "umask": UMASK, "additionalGids": user.groups,
        },
        "args": args,
        "env": with_home(env, user),
        "cwd": workdir,
        "noNewPrivileges": true,
        "capabilities": {
            "bounding": capabilities, "effective": held, "permitted": held,
            "inheritable": none, "ambient": none,
        },
    })
}

/// `env` with HOME set: without it, libcontainer would ask the container's name service.
pub(crate) fn with_home(env: &[String], user: &User) -> Vec<String> {
    let mut env = env.to_vec();
    if variable(&env, "HOME").is_none_or(str::is_empty) {
        set_variables(&mut env, &[format!("HOME={}", user.home)]);
    }
    env
}

/// The default capabilities this process has itself. Where no device filter can be set, device
/// nodes must not be made either: they would lead to the host's disks.
fn capabilities(layout: &Layout) -> Vec<&'static str> {
    let own = own_capabilities();
    let mut names = Vec::new();
    for (name, number) in tables::CAPABILITIES {
        let has = own & (1 << number) != 0;
        if has && (name != tables::MKNOD || layout.filters_devices()) {
            names.push(name);
        }
    }
    names
}

/// The permitted set of the calling thread; all of them if it cannot be read.
fn own_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(u64::MAX)
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

fn device_rules() -> Vec<Value> {
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    for (kind, major, minor, access) in tables::DEVICE_RULES {
        let mut rule = json!({"allow": true, "type": kind, "access": access});
        for (name, number) in [("major", major), ("minor", minor)] {
            if let (Some(number), Some(rule)) = (number, rule.as_object_mut()) {
                rule.insert(name.to_owned(), number.into());
            }
        }
        rules.push(rule);
    }
    rules
}

fn readonly_paths() -> Vec<&'static str> {
    // The tmpfs that holds the v1 hierarchies must be writable while they are mounted.
    tables::READONLY_PATHS.into_iter().chain([CGROUP_ROOT]).collect()
}

/// Defaults, then the files under `/etc`, then the user's, parents before children. What a user
/// puts in a default's place takes it.
fn mounts(spec: &ContainerSpec, layout: &Layout) -> Vec<Value> {
    let taken = |target: &Path| spec.binds.iter().any(|bind| bind.target == target);
    let mut mounts = Vec::new();
    for (target, kind, source, options) in tables::MOUNTS {
        if !taken(Path::new(target)) {
            mounts.push(mount(Path::new(target), kind, Path::new(source), options));
        }
        if target == "/sys" && !taken(Path::new(CGROUP_ROOT)) {
            mounts.extend(cgroup_mounts(spec, layout));
        }
    }
    for (name, target) in ETC_FILES {
        let source = spec.dir.join(name);
        if source.exists() && !taken(Path::new(target)) {
            mounts.push(mount(Path::new(target), "bind", &source, &["rbind", "rprivate"]));
        }
    }
    let mut binds: Vec<&Bind> = spec.binds.iter().collect();
    binds.sort_by_key(|bind| bind.target.components().count());
    for bind in binds {
        let options: &[&str] =
            if bind.read_only { &["rbind", "rprivate", "rro"] } else { &["rbind", "rprivate"] };
        mounts.push(mount(&bind.target, "bind", &bind.source, options));
    }
    mounts
}

fn mount(target: &Path, kind: &str, source: &Path, options: &[&str]) -> Value {
    json!({"destination": target, "type": kind, "source": source, "options": options})
}

/// The container's own groups, read-only. libcontainer mounts v1 hierarchies writable, so those
/// are bound from the host's instead; its groups exist by then.
fn cgroup_mounts(spec: &ContainerSpec, layout: &Layout) -> Vec<Value> {
    let root = Path::new(CGROUP_ROOT);
    let Layout::Separate(hierarchies) = layout else {
        let options = ["nosuid", "noexec", "nodev", "relatime", "ro"];
        return vec![mount(root, "cgroup", Path::new("cgroup"), &options)];
    };
    let options = ["nosuid", "noexec", "nodev", "mode=755", "size=64k"];
    let mut mounts = vec![mount(root, "tmpfs", Path::new("tmpfs"), &options)];
    for hierarchy in hierarchies {
        let Some(name) = hierarchy.file_name() else { continue };
        let source = crate::cgroup::below(hierarchy, &spec.cgroup);
        let options = ["bind", "rprivate", "nosuid", "noexec", "nodev", "ro"];
        mounts.push(mount(&root.join(name), "bind", &source, &options));
    }
    mounts
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
