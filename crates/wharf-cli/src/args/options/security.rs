//! Flags of `run` and `create`: what a container may do.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;
use wharf_api::options::Security;

use crate::failure::Exit;

/// What a new container is told of what it may do.
#[derive(Debug, Args)]
#[command(next_help_heading = "Privileges")]
pub(crate) struct SecurityOptions {
    /// Add a capability, with or without CAP_, or ALL (repeatable)
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a capability, or ALL (repeatable)
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// Let it do everything the daemon may do
    #[arg(long)]
    privileged: bool,
    /// no-new-privileges, seccomp=unconfined or seccomp=FILE (repeatable)
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Join a further group, by name or number (repeatable)
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Set a kernel setting of its own namespaces (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// Run the command under an init that reaps processes and passes signals on
    #[arg(long)]
    init: bool,
}

// === impl SecurityOptions ===

impl SecurityOptions {
    /// The same as the API takes it.
    pub(crate) fn request(self) -> Result<Security, Exit> {
        let mut security = Security {
            privileged: self.privileged,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            group_add: self.group_add,
            sysctls: sysctls(&self.sysctl)?,
            init: self.init,
            ..Security::default()
        };
        for option in &self.security_opt {
            take(&mut security, option)?;
        }
        Ok(security)
    }
}

/// One `--security-opt`; `name:value` is the older way to write it, which Docker still takes.
fn take(security: &mut Security, option: &str) -> Result<(), Exit> {
    let refuse = |why: &str| Err(Exit::at_run(format!("invalid --security-opt {option:?}: {why}")));
    let (name, value) = match option.split_once(['=', ':']) {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    match (name, value) {
        ("no-new-privileges", None | Some("true")) => security.no_new_privileges = true,
        ("no-new-privileges", Some("false")) => security.no_new_privileges = false,
        ("seccomp", Some("unconfined")) => security.seccomp = Some("unconfined".into()),
        ("seccomp", Some("builtin")) => security.seccomp = None,
        ("seccomp", Some(file)) => security.seccomp = Some(profile(file)?),
        ("apparmor", _) => {
            return refuse("AppArmor profiles are not available in this version: leave it out");
        }
        ("label", _) => {
            return refuse("SELinux labels are not available in this version: leave it out");
        }
        ("systempaths", _) => {
            return refuse("masked paths are seen by privileged containers only: use --privileged");
        }
        _ => return refuse("use no-new-privileges, seccomp=unconfined or seccomp=FILE"),
    }
    Ok(())
}

/// The daemon cannot see every file that is seen here, so that the profile travels as text.
fn profile(file: &str) -> Result<String, Exit> {
    std::fs::read_to_string(Path::new(file))
        .map_err(|e| Exit::at_run(format!("opening seccomp profile ({file}) failed: {e}")))
}

fn sysctls(given: &[String]) -> Result<BTreeMap<String, String>, Exit> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty())?;
        Some((name.to_owned(), value.to_owned()))
    };
    let refuse = |text| Exit::at_run(format!("invalid --sysctl {text:?}: use NAME=VALUE"));
    given.iter().map(|text| pair(text).ok_or_else(|| refuse(text))).collect()
}
