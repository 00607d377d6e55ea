//! firewalld, with a message bus and settings of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::installed;
use crate::docker::mount_namespace;
use crate::host::Host;
use crate::process::{Output, Process};
use crate::wait;

const DAEMON: &str = "/usr/sbin/firewalld";
const CLIENT: &str = "/usr/bin/firewall-cmd";
const BUS: &str = "/usr/bin/dbus-daemon";
const SETTINGS: &str = "/etc/firewalld/firewalld.conf";
/// The part of it that writes nftables.
const WRITER: &str = "/usr/lib/python3/dist-packages/firewall/core/nftables.py";

/// It starts within two seconds; a busy machine needs longer.
const START_LIMIT: Duration = Duration::from_secs(60);
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// What firewalld writes outside the directories that can be chosen.
const OWN_PLACES: &str = "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/log \
     && mount --bind \"$0/etc\" /etc/firewalld";

/// A firewalld; dropping it ends it and leaves its rules to the network namespace.
#[derive(Debug)]
pub struct Firewalld {
    host: Host,
    directory: PathBuf,
    daemon: Process,
    /// Ends after the daemon.
    _bus: Process,
    /// Holds the mount namespace.
    mounts: Process,
}

/// Whether firewalld lets pass what others have rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardPorts {
    /// It does, as every version did before 2.3 and does by default.
    Open,
    /// It does not (`StrictForwardPorts=yes`, from 2.3). An older firewalld is given the same
    /// rules: what it writes lacks the one that lets rewritten packets be forwarded.
    Strict,
}

// === impl Firewalld ===

impl Firewalld {
    /// Starts firewalld on `host` with Debian's settings: every interface is in zone `public`,
    /// which lets in nothing but ssh. Prints why and gives nothing where it is not installed.
    ///
    /// # Errors
    /// When it does not come up within a minute; the error holds its log.
    pub fn start(host: &Host, forward_ports: ForwardPorts) -> Result<Option<Self>> {
        if !installed(&[DAEMON, CLIENT, BUS], "firewalld, dbus") {
            return Ok(None);
        }
        let directory = host.own_directory()?;
        let places = places(&directory, forward_ports)?;
        let mounts = mount_namespace(host, &directory, &places)?;
        let bus = bus(host, &directory)?;
        let daemon = daemon(host, &mounts, &directory)?;
        let mut firewalld = Self { host: host.clone(), directory, daemon, _bus: bus, mounts };
        firewalld.wait_until_running()?;
        Ok(Some(firewalld))
    }

    /// Runs `firewall-cmd args…` (separated by spaces), whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be started or does not end within a minute.
    pub fn run(&self, args: &str) -> Result<Output> {
        let mut command = inside(&self.mounts, &self.directory, CLIENT);
        command.args(args.split(' '));
        self.host.output(command, COMMAND_LIMIT)
    }

    /// Runs `firewall-cmd args…`, which must succeed, and returns what it said.
    ///
    /// # Errors
    /// As [`Firewalld::run`], and when it does not succeed.
    pub fn ok(&self, args: &str) -> Result<String> {
        let output = self.run(args)?;
        ensure!(output.is_success(), "firewall-cmd {args}: {output:?}\n{}", self.log());
        Ok(output.stdout)
    }

    /// `firewall-cmd --reload`: its table is deleted and made again.
    ///
    /// # Errors
    /// As [`Firewalld::ok`].
    pub fn reload(&self) -> Result<()> {
        self.ok("--reload").map(drop)
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        self.daemon.stderr()
    }

    /// Ends it in good order; it takes its rules with it.
    ///
    /// # Errors
    /// When it does not end in ten seconds.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop().map(drop)
    }

    fn wait_until_running(&mut self) -> Result<()> {
        let mut last = String::new();
        let answer = wait::until(START_LIMIT, "firewalld", || {
            let output = self.run("--state").ok()?;
            last.clone_from(&output.stderr);
            output.is_success().then_some(())
        });
        answer.with_context(|| format!("{last}\n-- firewalld\n{}", self.log()))
    }
}

/// The commands that keep what it writes to `directory`.
fn places(directory: &Path, forward_ports: ForwardPorts) -> Result<String> {
    let etc = directory.join("etc");
    fs::create_dir(&etc).context("make firewalld's directory")?;
    let settings = fs::read_to_string(SETTINGS).context("read firewalld's settings")?;
    let knows_strict = settings.contains("StrictForwardPorts");
    let mut places = OWN_PLACES.to_owned();
    match forward_ports {
        ForwardPorts::Open => fs::write(etc.join("firewalld.conf"), settings)?,
        ForwardPorts::Strict if knows_strict => {
            let strict = settings.replace("StrictForwardPorts=no", "StrictForwardPorts=yes");
            fs::write(etc.join("firewalld.conf"), strict)?;
        }
        ForwardPorts::Strict => {
            let writer = fs::read_to_string(WRITER).context("read firewalld's writer of rules")?;
            let strict = without_open_door(&writer).context("its rules have another shape")?;
            fs::write(directory.join("writer.py"), strict)?;
            fs::write(etc.join("firewalld.conf"), settings)?;
            places += &format!(" && mount --bind \"$0/writer.py\" {WRITER}");
        }
    }
    Ok(places.replace("$0", &directory.to_string_lossy()))
}

/// The program without the rule `ct status dnat accept` of its chain `filter_FORWARD`.
fn without_open_door(program: &str) -> Option<String> {
    const BEGIN: &str = "        default_rules.append(";
    const END: &str = "{\"accept\": None}]}}})\n";
    // The first is that of filter_INPUT, which has no business with forwarded packets.
    let (door, _) = program.match_indices("\"right\": \"dnat\"").nth(1)?;
    let begin = program.get(..door)?.rfind(BEGIN)?;
    let end = door + program.get(door..)?.find(END)? + END.len();
    let rule = program.get(begin..end)?;
    let it = rule.contains("\"FORWARD\"") && rule.matches("append").count() == 1;
    it.then(|| [program.get(..begin), program.get(end..)].into_iter().flatten().collect())
}

fn bus(host: &Host, directory: &Path) -> Result<Process> {
    let policy = "<allow user=\"*\"/><allow own=\"*\"/><allow send_type=\"method_call\"/>\
         <allow send_type=\"signal\"/><allow send_requested_reply=\"true\"/>\
         <allow receive_type=\"method_call\"/><allow receive_type=\"signal\"/>\
         <allow receive_type=\"method_return\"/><allow receive_type=\"error\"/>";
    let settings = format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\
         <busconfig><type>system</type><listen>{}</listen><auth>EXTERNAL</auth>\
         <policy context=\"default\">{policy}</policy></busconfig>",
        address(directory)
    );
    let file = directory.join("bus.conf");
    fs::write(&file, settings).context("write the settings of the message bus")?;
    let mut command = Command::new(BUS);
    command.arg("--config-file").arg(&file).args(["--nofork", "--nopidfile", "--print-address"]);
    let mut bus = host.spawn(marked(command, directory))?;
    bus.wait_for("unix:", START_LIMIT)?;
    Ok(bus)
}

fn daemon(host: &Host, mounts: &Process, directory: &Path) -> Result<Process> {
    let mut command = inside(mounts, directory, DAEMON);
    command.args(["--nofork", "--nopid"]);
    host.spawn(command)
}

fn inside(mounts: &Process, directory: &Path, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--mount=/proc/{}/ns/mnt", mounts.pid())).args(["--", program]);
    // Python would keep what it compiled beside the program, which is the machine's.
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("DBUS_SYSTEM_BUS_ADDRESS", address(directory));
    marked(command, directory)
}

/// Whose a process is.
fn marked(mut command: Command, directory: &Path) -> Command {
    command.env("WHARF_LAB", directory).stdin(Stdio::null());
    command
}

fn address(directory: &Path) -> String {
    format!("unix:path={}", directory.join("bus").display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_for_rewritten_packets_can_be_taken_out() {
        let Ok(program) = fs::read_to_string(WRITER) else {
            eprintln!("skipped: firewalld is not installed");
            return;
        };
        let strict = without_open_door(&program).unwrap();
        assert_eq!(strict.matches("\"right\": \"dnat\"").count(), 1);
        assert!(program.len() - strict.len() < 1000);
    }
}
