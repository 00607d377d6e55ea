//! The devices a container has, and the rules that keep it from others.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::{Value, json};

use super::tables;
use crate::error::{Context, Error, Result};
use crate::spec::{ContainerSpec, Device};

/// What may be done with a device that is the container's: read, write, make a node.
const EVERYTHING: &str = "rwm";
const PERMISSIONS: u32 = 0o7777;
/// `/dev/bus/usb/001/002` is the deepest there is.
const DEPTH_LIMIT: usize = 6;
/// A container has its own of these.
const OF_THE_CONTAINER: [&str; 8] =
    ["pts", "ptmx", "shm", "mqueue", "fd", "console", "tty", ".udev"];

/// A device as the kernel knows it.
struct Node<'a> {
    device: &'a Device,
    kind: &'static str,
    major: u32,
    minor: u32,
    mode: u32,
    uid: u32,
    gid: u32,
}

/// Refuses devices that are none.
pub fn check(devices: &[Device]) -> Result<()> {
    devices.iter().try_for_each(|device| Node::of(device).map(drop))
}

/// The device nodes of `spec`, besides those every container has.
pub(super) fn nodes(spec: &ContainerSpec) -> Result<Vec<Value>> {
    let mut devices = spec.resources.devices.clone();
    if spec.security.privileged {
        let here = of_the_host(Path::new("/dev"), DEPTH_LIMIT);
        devices.extend(here.into_iter().filter(|device| {
            !spec.resources.devices.iter().any(|given| given.target == device.target)
        }));
    }
    devices.iter().map(|device| Node::of(device).map(|node| node.describe())).collect()
}

/// The devices in a directory of the host's. What cannot be looked at is not there.
fn of_the_host(dir: &Path, depth: usize) -> Vec<Device> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        let own = OF_THE_CONTAINER.iter().any(|name| path == Path::new("/dev").join(name));
        match kind {
            Ok(kind) if kind.is_dir() && depth > 0 && !own => {
                found.extend(of_the_host(&path, depth - 1));
            }
            Ok(kind) if (kind.is_char_device() || kind.is_block_device()) && !own => {
                let access = EVERYTHING.to_owned();
                found.push(Device { source: path.clone(), target: path, access });
            }
            _ => {}
        }
    }
    found
}

/// What may be done with which devices, in the order the kernel is told.
pub(super) fn rules(spec: &ContainerSpec) -> Result<Vec<Value>> {
    if spec.security.privileged {
        return Ok(vec![json!({"allow": true, "access": EVERYTHING})]);
    }
    let mut rules = vec![json!({"allow": false, "access": EVERYTHING})];
    for (kind, major, minor, access) in tables::DEVICE_RULES {
        let mut rule = json!({"allow": true, "type": kind, "access": access});
        for (name, number) in [("major", major), ("minor", minor)] {
            if let (Some(number), Some(rule)) = (number, rule.as_object_mut()) {
                rule.insert(name.to_owned(), number.into());
            }
        }
        rules.push(rule);
    }
    for device in &spec.resources.devices {
        let node = Node::of(device)?;
        rules.push(json!({
            "allow": true, "type": node.kind, "major": node.major, "minor": node.minor,
            "access": device.access,
        }));
    }
    Ok(rules)
}

// === impl Node ===

impl<'a> Node<'a> {
    fn of(device: &'a Device) -> Result<Self> {
        let path = device.source.display();
        let what =
            || format!("error gathering device information while adding custom device \"{path}\"");
        let stat = std::fs::metadata(&device.source).during(what)?;
        let kind = match stat.file_type() {
            kind if kind.is_char_device() => "c",
            kind if kind.is_block_device() => "b",
            _ => return Err(Error::Spec(format!("{}: not a device node", what()))),
        };
        Ok(Self {
            device,
            kind,
            major: rustix::fs::major(stat.rdev()),
            minor: rustix::fs::minor(stat.rdev()),
            mode: stat.mode() & PERMISSIONS,
            uid: stat.uid(),
            gid: stat.gid(),
        })
    }

    fn describe(&self) -> Value {
        json!({
            "path": self.device.target, "type": self.kind, "major": self.major,
            "minor": self.minor, "fileMode": self.mode, "uid": self.uid, "gid": self.gid,
        })
    }
}
