//! What a container's processes may do, as its description says it.

use serde_json::{Value, json};

use crate::capability::{Capabilities, MKNOD};
use crate::cgroup::Layout;
use crate::spec::{ContainerSpec, Security};
use crate::user::User;

/// What installing a filter, and taking this back, need: lent to our own code, and gone before the
/// command is executed.
const LENT: [&str; 2] = ["CAP_SYS_ADMIN", "CAP_SETPCAP"];

/// The limit of open files, and the one every Linux program begins with.
const NOFILE: &str = "RLIMIT_NOFILE";
const FILES: u64 = 1024;

/// The capabilities of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Privileges {
    /// Those it can get.
    pub(crate) bounding: Vec<&'static str>,
    /// Those it has.
    pub(crate) held: Vec<&'static str>,
}

// === impl Privileges ===

impl Privileges {
    /// Those of a command run by `user`. Where no device filter can be set, device nodes must not
    /// be made either: they would lead to the host's disks.
    pub(crate) fn of(security: &Security, user: &User, layout: &Layout) -> Self {
        let mut bounding = Capabilities::own().select(security);
        if !security.privileged && !layout.filters_devices() {
            bounding.retain(|name| *name != MKNOD);
        }
        // As in Docker, another user than root has none, and cannot get more than these.
        let held = if user.uid == 0 { bounding.clone() } else { Vec::new() };
        Self { bounding, held }
    }

    /// What is lent besides.
    pub(crate) fn lent(&self) -> impl Iterator<Item = &'static str> {
        LENT.into_iter().filter(|name| !self.bounding.contains(name))
    }

    /// Says in the description of a process what `spec` allows its processes.
    pub(crate) fn describe(&self, process: &mut Value, spec: &ContainerSpec) {
        let Some(process) = process.as_object_mut() else { return };
        let with_lent =
            |set: &[&'static str]| -> Vec<_> { set.iter().copied().chain(LENT).collect() };
        let none: [&str; 0] = [];
        let capabilities = json!({
            "bounding": with_lent(&self.bounding), "effective": with_lent(&self.held),
            "permitted": with_lent(&self.held), "inheritable": none, "ambient": none,
        });
        process.insert("capabilities".into(), capabilities);
        process.insert("noNewPrivileges".into(), spec.security.no_new_privileges.into());
        let infinite = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        let limits = spec.resources.ulimits.iter().map(|limit| {
            json!({
                "type": limit.kernel_name(), "soft": infinite(limit.soft),
                "hard": infinite(limit.hard),
            })
        });
        let mut limits: Vec<Value> = limits.collect();
        if !limits.iter().any(|limit| limit["type"] == NOFILE) {
            limits.push(files_limit());
        }
        process.insert("rlimits".into(), limits.into());
    }
}

/// How many files a program may have open. The daemon has raised its own for the ports it holds;
/// programs that close or keep count of all they may have get slow or large with that, so they
/// begin with what the kernel begins with, and may raise it as far.
fn files_limit() -> Value {
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let hard = hard.unwrap_or(u64::MAX);
    json!({ "type": NOFILE, "soft": FILES.min(hard), "hard": hard })
}
