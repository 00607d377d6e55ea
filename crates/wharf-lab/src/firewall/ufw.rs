//! ufw, with copies of its settings.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::installed;
use super::iptables::Iptables;
use crate::docker::mount_namespace;
use crate::host::Host;
use crate::process::{Output, Process};

const PROGRAM: &str = "/usr/sbin/ufw";
/// A reload takes three seconds on a busy machine: one process for each chain.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// `$0` is the directory. What ufw writes: its rules and settings, and a lock in `/run`.
const OWN_PLACES: &str = "cp -a /etc/ufw \"$0/etc\" && cp -a /etc/default/ufw \"$0/default\" \
     && mount -t tmpfs tmpfs /run \
     && mount --bind \"$0/etc\" /etc/ufw && mount --bind \"$0/default\" /etc/default/ufw";
/// All of iptables is one program under many names.
const LEGACY: &str = "mount --bind /usr/sbin/xtables-legacy-multi /usr/sbin/xtables-nft-multi";

/// ufw on a host, enabled with Debian's defaults: incoming denied, forwarded dropped.
#[derive(Debug)]
pub struct Ufw {
    host: Host,
    /// Holds the mount namespace.
    mounts: Process,
}

// === impl Ufw ===

impl Ufw {
    /// Enables ufw on `host` on top of one form of iptables. Prints why and gives nothing where it
    /// is not installed.
    ///
    /// # Errors
    /// When it cannot be enabled.
    pub fn start(host: &Host, iptables: Iptables) -> Result<Option<Self>> {
        if !installed(&[PROGRAM], "ufw") || !iptables.works(host)? {
            return Ok(None);
        }
        let directory = host.own_directory()?;
        let places = match iptables {
            Iptables::Nft => OWN_PLACES.to_owned(),
            Iptables::Legacy => format!("{OWN_PLACES} && {LEGACY}"),
        };
        let places = places.replace("$0", &directory.to_string_lossy());
        let ufw = Self { host: host.clone(), mounts: mount_namespace(host, &directory, &places)? };
        ufw.ok("--force enable").context("enable ufw")?;
        Ok(Some(ufw))
    }

    /// Runs `ufw args…` (separated by spaces), whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be started or does not end within a minute.
    pub fn run(&self, args: &str) -> Result<Output> {
        let mut command = self.inside(PROGRAM);
        command.args(args.split(' ')).stdin(Stdio::null());
        self.host.output(command, COMMAND_LIMIT)
    }

    /// Runs `ufw args…`, which must succeed, and returns what it said.
    ///
    /// # Errors
    /// As [`Ufw::run`], and when it does not succeed.
    pub fn ok(&self, args: &str) -> Result<String> {
        let output = self.run(args)?;
        ensure!(output.is_success(), "ufw {args}: {output:?}");
        Ok(output.stdout)
    }

    /// `ufw reload`: all its chains are flushed and filled again.
    ///
    /// # Errors
    /// As [`Ufw::ok`].
    pub fn reload(&self) -> Result<()> {
        self.ok("reload").map(drop)
    }

    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.mounts.pid())).args(["--", program]);
        command
    }
}
