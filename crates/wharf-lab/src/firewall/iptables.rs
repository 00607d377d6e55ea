//! iptables, in both of its forms.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::installed;
use crate::host::Host;
use crate::process::Output;

const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// Which iptables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Iptables {
    /// The one that writes nftables.
    Nft,
    /// The older one, with tables of its own in the kernel.
    Legacy,
}

// === impl Iptables ===

impl Iptables {
    /// Whether it is here and the kernel has what it needs; prints why a test skips otherwise.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn works(self, host: &Host) -> Result<bool> {
        let program = self.program("iptables", "");
        if !installed(&[&program], "iptables") {
            return Ok(false);
        }
        let listed = self.run(host, "iptables", &["-L", "-n"])?;
        if !listed.is_success() {
            eprintln!("skipped: {program} does not work with this kernel: {}", listed.stderr);
        }
        Ok(listed.is_success())
    }

    /// Runs `iptables` or `ip6tables` (`program`) with `args` on `host`.
    ///
    /// # Errors
    /// When it cannot be started or does not end within 20 s.
    pub fn run(self, host: &Host, program: &str, args: &[&str]) -> Result<Output> {
        let mut command = self.command(host, &self.program(program, ""))?;
        command.args(args);
        host.output(command, COMMAND_LIMIT)
    }

    /// Loads what `iptables-save` has written into `host`; `program` is `iptables` or `ip6tables`.
    ///
    /// # Errors
    /// When it is refused.
    pub fn restore(self, host: &Host, program: &str, rules: &str) -> Result<()> {
        let mut command = self.command(host, &self.program(program, "-restore"))?;
        command.stdin(Stdio::piped());
        let mut process = host.spawn(command)?;
        process.feed(rules.as_bytes())?;
        let output = process.output(COMMAND_LIMIT)?;
        ensure!(output.is_success(), "{program}-restore: {}", output.stderr);
        Ok(())
    }

    fn program(self, program: &str, what: &str) -> String {
        match self {
            Self::Nft => format!("/usr/sbin/{program}-nft{what}"),
            Self::Legacy => format!("/usr/sbin/{program}-legacy{what}"),
        }
    }

    fn command(self, host: &Host, program: &str) -> Result<Command> {
        let mut command = Command::new(program);
        // The older one waits for whoever else is at it, anywhere on the machine.
        command.env("XTABLES_LOCKFILE", host.own_directory()?.join("xtables.lock"));
        command.stdin(Stdio::null());
        Ok(command)
    }
}
