//! The others, as Debian packages them and with the settings their manuals recommend for this.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use wharf_lab::{Host, Process};

use super::{Contender, Kind, Mapping};
use crate::bench::ground::{CONTAINER, Ground};
use crate::bench::processes;
use crate::steps::find_program;

/// As many as there are processors on a small machine, and as our relay would have there.
const WORKERS: usize = 2;
/// More than the widest test opens. HAProxy wants two descriptors for each, and half of one for
/// pipes; 20,000 is a usual limit.
const CONNECTIONS: usize = 6000;

/// Processes, each the first of its session and process group; dropping them ends the groups.
#[derive(Debug)]
pub(crate) struct Programs {
    leaders: Vec<Process>,
}

/// Starts what `contender` is.
pub(crate) fn start(
    contender: &Contender,
    ground: &Ground,
    mappings: &[Mapping],
) -> Result<Programs> {
    Programs::start(&ground.host, commands(contender, ground, mappings)?)
}

fn commands(contender: &Contender, ground: &Ground, mappings: &[Mapping]) -> Result<Vec<Command>> {
    let directory = ground.directory(&contender.name)?;
    match contender.kind {
        Kind::DockerProxy => {
            let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            mappings.iter().map(|mapping| docker_proxy(mapping, any, CONTAINER)).collect()
        }
        Kind::Socat => mappings.iter().map(socat).collect(),
        Kind::Haproxy => Ok(vec![haproxy(&directory, mappings)?]),
        Kind::Nginx => Ok(vec![nginx(&directory, mappings)?]),
        Kind::Direct | Kind::Ours(_) => bail!("{} is no peer", contender.name),
    }
}

fn program(name: &str) -> Result<Command> {
    let path = find_program(name).with_context(|| format!("{name} is not installed"))?;
    let mut command = in_own_session();
    command.arg(path);
    Ok(command)
}

/// What runs in a session of its own gets a share of processor time of its own
/// (`sched_autogroup_enabled`). Our relay does, as a service has it from its cgroup; so everybody
/// must, and so must both ends.
fn in_own_session() -> Command {
    let mut command = Command::new("setsid");
    command.stdin(Stdio::null());
    command
}

/// docker-proxy for one port of the address `at`. Its parent learns over descriptor 3 that it
/// listens; without one it closes whatever else has that number.
pub(crate) fn docker_proxy(mapping: &Mapping, at: IpAddr, container: IpAddr) -> Result<Command> {
    let program = find_program("docker-proxy").context("docker-proxy is not installed")?;
    let proto = if mapping.service.is_udp() { "udp" } else { "tcp" };
    let mut command = in_own_session();
    command.args(["/bin/sh", "-c", "exec \"$@\" 3>/dev/null", "sh"]).arg(program);
    command.args(["-proto", proto, "-host-ip", &at.to_string()]);
    command.args(["-host-port", &mapping.port.to_string()]);
    command.args(["-container-ip", &container.to_string()]);
    command.args(["-container-port", &mapping.service.port().to_string()]);
    Ok(command)
}

/// A child that serves a UDP flow ends when it has been quiet for three seconds.
fn socat(mapping: &Mapping) -> Result<Command> {
    let Mapping { port, service } = mapping;
    let to = service.port();
    let mut command = program("socat")?;
    if service.is_udp() {
        command.args(["-T", "3", &format!("UDP4-LISTEN:{port},fork,reuseaddr")]);
        command.arg(format!("UDP4:{CONTAINER}:{to}"));
    } else {
        command.arg(format!("TCP4-LISTEN:{port},fork,reuseaddr,backlog=4096,nodelay"));
        command.arg(format!("TCP4:{CONTAINER}:{to},nodelay"));
    }
    Ok(command)
}

fn haproxy(directory: &Path, mappings: &[Mapping]) -> Result<Command> {
    let mut text = format!(
        "global\n  nbthread {WORKERS}\n  maxconn {CONNECTIONS}\n\
         defaults\n  mode tcp\n  option splice-auto\n  maxconn {CONNECTIONS}\n  \
         timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"
    );
    for Mapping { port, service } in mappings {
        let to = service.port();
        writeln!(text, "listen p{port}\n  bind :{port}\n  server s {CONTAINER}:{to}")?;
    }
    let mut command = program("haproxy")?;
    command.args(["-db", "-f"]).arg(written(directory, "haproxy.cfg", &text)?);
    Ok(command)
}

fn nginx(directory: &Path, mappings: &[Mapping]) -> Result<Command> {
    let place = directory.display();
    let mut text = format!(
        "load_module {module};\ndaemon off;\nuser root;\nworker_processes {WORKERS};\n\
         worker_rlimit_nofile 20000;\npid {place}/nginx.pid;\n\
         error_log {place}/error.log crit;\n\
         events {{ worker_connections {connections}; }}\n\
         stream {{\nproxy_half_close on;\n",
        module = crate::prerequisites::NGINX_STREAM,
        connections = 2 * CONNECTIONS,
    );
    for Mapping { port, service } in mappings {
        // Without `reuseport` a flow's datagrams would go now to one worker and now to another.
        let options = if service.is_udp() { " udp reuseport" } else { "" };
        let to = service.port();
        writeln!(text, "server {{ listen {port}{options}; proxy_pass {CONTAINER}:{to}; }}")?;
    }
    text.push_str("}\n");
    let mut command = program("nginx")?;
    command.args(["-e", "stderr", "-p"]).arg(directory);
    command.arg("-c").arg(written(directory, "nginx.conf", &text)?);
    Ok(command)
}

fn written(directory: &Path, name: &str, text: &str) -> Result<std::path::PathBuf> {
    let path = directory.join(name);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

// === impl Programs ===

impl Programs {
    /// Starts these commands on `host`, each in a session of its own.
    pub(crate) fn start(host: &Host, commands: Vec<Command>) -> Result<Self> {
        let mut programs = Self { leaders: Vec::new() };
        for command in commands {
            programs.leaders.push(host.spawn(command)?);
        }
        Ok(programs)
    }

    /// The processes of all groups.
    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        processes::of_groups(&self.leaders.iter().map(Process::pid).collect())
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for leader in &mut self.leaders {
            if !leader.is_running() {
                eprintln!("{leader:?} had ended by itself: {}", leader.stderr().trim());
            }
        }
        let leaders: BTreeSet<u32> = self.leaders.iter().map(Process::pid).collect();
        processes::end_groups(&leaders);
        self.leaders.clear();
        processes::reap_groups(&leaders);
    }
}
