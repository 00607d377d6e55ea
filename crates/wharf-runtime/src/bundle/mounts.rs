//! What a container's processes see: kernel file systems, the files under `/etc`, and what the user
//! put there.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::{Value, json};

use super::{ETC_FILES, tables};
use crate::cgroup::{CGROUP_ROOT, Layout};
use crate::spec::{Bind, ContainerSpec, Tmpfs};

/// Docker's for a tmpfs that says nothing else.
const TMPFS_DEFAULTS: [(&str, &str); 4] =
    [("noexec", "exec"), ("nosuid", "suid"), ("nodev", "dev"), ("mode=1777", "mode=")];
const SHM: &str = "/dev/shm";
/// `null`, `zero`, `full`, `random`, `urandom` and `tty`.
const HARMLESS: [(u32, u32); 6] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)];

/// Defaults, then the files under `/etc`, then the user's, parents before children. What a user
/// puts in a default's place takes it.
pub(super) fn mounts(spec: &ContainerSpec, layout: &Layout) -> Vec<Value> {
    let taken = |target: &Path| {
        spec.binds.iter().any(|bind| bind.target == target)
            || spec.storage.tmpfs.iter().any(|tmpfs| tmpfs.target == target)
    };
    let mut mounts = Vec::new();
    for (target, kind, source, options) in tables::MOUNTS {
        if !taken(Path::new(target)) {
            let options = default_options(spec, target, options);
            mounts.push(mount(Path::new(target), kind, Path::new(source), &options));
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
    // As for the root: see `Rootfs::mount`.
    let nodev = !spec.security.privileged && !layout.filters_devices();
    mounts.extend(of_the_user(spec, nodev));
    mounts
}

fn of_the_user(spec: &ContainerSpec, nodev: bool) -> Vec<Value> {
    let binds = spec.binds.iter().map(|bind| (bind.target.as_path(), bind_mount(bind, nodev)));
    let tmpfs = spec.storage.tmpfs.iter().map(|it| (it.target.as_path(), tmpfs_mount(it)));
    let mut found: Vec<(&Path, Value)> = binds.chain(tmpfs).collect();
    found.sort_by_key(|(target, _)| target.components().count());
    found.into_iter().map(|(_, mount)| mount).collect()
}

fn bind_mount(bind: &Bind, nodev: bool) -> Value {
    let mut options = vec![if bind.shallow { "bind" } else { "rbind" }, "rprivate"];
    match (bind.read_only, bind.shallow || bind.writable_below) {
        (false, _) => {}
        (true, true) => options.push("ro"),
        (true, false) => options.push("rro"),
    }
    if nodev && !is_harmless_device(&bind.source) {
        options.push(if bind.shallow { "nodev" } else { "rnodev" });
    }
    mount(&bind.target, "bind", &bind.source, &options)
}

/// One that every container has anyhow: `-v /dev/null:/etc/some.conf` hides a file.
fn is_harmless_device(path: &Path) -> bool {
    let Ok(found) = std::fs::metadata(path) else { return false };
    let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
    found.file_type().is_char_device() && HARMLESS.contains(&(major, minor))
}

fn tmpfs_mount(tmpfs: &Tmpfs) -> Value {
    let said = |key: &str| tmpfs.options.iter().any(|option| option.starts_with(key));
    let defaults = TMPFS_DEFAULTS.into_iter().filter(|(_, other)| !said(other));
    let mut options: Vec<&str> = defaults.map(|(option, _)| option).collect();
    options.extend(tmpfs.options.iter().map(String::as_str));
    mount(&tmpfs.target, "tmpfs", Path::new("tmpfs"), &options)
}

/// `/dev/shm` has the size that was asked for, and a privileged container may write to `/sys`.
fn default_options(spec: &ContainerSpec, target: &str, options: &[&str]) -> Vec<String> {
    let owned = options.iter().map(|&option| option.to_owned());
    match (target, spec.resources.shm_size) {
        (SHM, Some(size)) => {
            let others = owned.filter(|option| !option.starts_with("size="));
            others.chain([format!("size={size}")]).collect()
        }
        ("/sys", _) if spec.security.privileged => owned.filter(|option| option != "ro").collect(),
        _ => owned.collect(),
    }
}

fn mount<O: AsRef<str>>(target: &Path, kind: &str, source: &Path, options: &[O]) -> Value {
    let options: Vec<&str> = options.iter().map(AsRef::as_ref).collect();
    json!({"destination": target, "type": kind, "source": source, "options": options})
}

/// The container's own groups, read-only unless it is privileged. libcontainer mounts v1
/// hierarchies writable, so those are bound from the host's instead; its groups exist by then.
fn cgroup_mounts(spec: &ContainerSpec, layout: &Layout) -> Vec<Value> {
    let root = Path::new(CGROUP_ROOT);
    let writable = spec.security.privileged;
    let with = |options: &[&'static str]| -> Vec<&'static str> {
        options.iter().copied().chain((!writable).then_some("ro")).collect()
    };
    let Layout::Separate(hierarchies) = layout else {
        let options = with(&["nosuid", "noexec", "nodev", "relatime"]);
        return vec![mount(root, "cgroup", Path::new("cgroup"), &options)];
    };
    let options = ["nosuid", "noexec", "nodev", "mode=755", "size=64k"];
    let mut mounts = vec![mount(root, "tmpfs", Path::new("tmpfs"), &options)];
    for hierarchy in hierarchies {
        let Some(name) = hierarchy.file_name() else { continue };
        let source = crate::cgroup::below(hierarchy, &spec.cgroup);
        let options = with(&["bind", "rprivate", "nosuid", "noexec", "nodev"]);
        mounts.push(mount(&root.join(name), "bind", &source, &options));
    }
    mounts
}
