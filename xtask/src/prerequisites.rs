//! What building and testing need from the machine, and how it gets there.
//!
//! Every package is named with its reason before it is installed. A service that comes with a
//! package is neither started nor enabled.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::steps::{cargo, find_program, run};

/// The release the suite is known to run under; a newer one may ask for a newer compiler.
const NEXTEST: &str = "cargo-nextest@0.9.143";

/// Asked by Debian's maintainer scripts before they start or stop a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Units that come with the packages below, and that nobody here wants running.
const UNITS: [&str; 13] = [
    "docker.service",
    "docker.socket",
    "containerd.service",
    "podman.service",
    "podman.socket",
    "podman-auto-update.service",
    "podman-auto-update.timer",
    "podman-restart.service",
    "haproxy.service",
    "nginx.service",
    "ufw.service",
    "firewalld.service",
    "docker-registry.service",
];

/// Where Debian puts the part of nginx that relays TCP and UDP.
pub(crate) const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// What builds the eBPF programs.
const BUILD: [Need; 4] = [
    Need {
        package: "clang",
        program: "clang",
        reason: "compiles the eBPF programs (`--no-default-features` builds without them)",
    },
    Need {
        package: "llvm",
        program: "llvm-strip",
        reason: "takes what debuggers want out of them",
    },
    Need {
        package: "libbpf-dev",
        program: "/usr/include/bpf/bpf_helpers.h",
        reason: "declares what such programs may call",
    },
    Need {
        package: "linux-libc-dev",
        program: "/usr/include/linux/bpf.h",
        reason: "declares what they are given",
    },
];

const NEEDS: [Need; 16] = [
    Need {
        package: "mmdebstrap",
        program: "mmdebstrap",
        reason: "unpacks nginx, redis, postgresql and python as images for the tests",
    },
    Need {
        package: "nftables",
        program: "nft",
        reason: "reads back what Wharf told the kernel, as an independent witness",
    },
    Need {
        package: "bpftool",
        program: "/usr/sbin/bpftool",
        reason: "lists and detaches eBPF programs, as an independent witness",
    },
    Need {
        package: "busybox-static",
        program: "busybox",
        reason: "is the content of the images that the tests build",
    },
    Need {
        package: "tmux",
        program: "tmux",
        reason: "is the terminal that containers are used from",
    },
    Need {
        package: "docker.io",
        program: "dockerd",
        reason: "writes a real `docker save` archive (its daemon is not started)",
    },
    Need {
        package: "podman",
        program: "podman",
        reason: "runs beside Wharf on test hosts (its services are not started)",
    },
    Need {
        package: "netavark",
        program: "/usr/lib/podman/netavark",
        reason: "makes Podman's networks",
    },
    Need {
        package: "aardvark-dns",
        program: "/usr/lib/podman/aardvark-dns",
        reason: "answers for names on Podman's networks",
    },
    Need {
        package: "iptables",
        program: "/usr/sbin/iptables-legacy",
        reason: "makes rules of both kinds on test hosts",
    },
    Need {
        package: "ufw",
        program: "ufw",
        reason: "is a firewall on test hosts (on this machine it stays off)",
    },
    Need {
        package: "firewalld",
        program: "firewalld",
        reason: "is a firewall on test hosts (on this machine it stays off)",
    },
    Need {
        package: "dbus-daemon",
        program: "dbus-daemon",
        reason: "is how firewalld on a test host is spoken to",
    },
    Need {
        package: "docker-registry",
        program: "docker-registry",
        reason: "is what images are pulled from on test hosts (on this machine it stays off)",
    },
    Need {
        package: "skopeo",
        program: "skopeo",
        reason: "fills that registry, as an independent witness of the formats",
    },
    Need {
        package: "openssl",
        program: "openssl",
        reason: "signs the tokens that the registry asks for",
    },
];

/// What the relay is measured beside.
const PROXIES: [Need; 5] = [
    Need {
        package: "docker.io",
        program: "docker-proxy",
        reason: "is what the relay is measured against",
    },
    Need { package: "haproxy", program: "haproxy", reason: "is measured beside it" },
    Need { package: "nginx-light", program: "nginx", reason: "is measured beside it" },
    Need {
        package: "libnginx-mod-stream",
        program: NGINX_STREAM,
        reason: "is the part of nginx that relays",
    },
    Need { package: "socat", program: "socat", reason: "is measured beside it" },
];

/// What published ports are measured beside, from the host itself.
const PUBLISHERS: [Need; 3] = [
    Need {
        package: "docker.io",
        program: "docker-proxy",
        reason: "is measured beside our planes (its daemon is not started)",
    },
    Need {
        package: "iptables",
        program: "/usr/sbin/iptables-nft-restore",
        reason: "writes the rules that Docker would",
    },
    Need {
        package: "bpftool",
        program: "bpftool",
        reason: "fills maps with more ports than a process may have sockets",
    },
];

#[derive(Debug)]
struct Need {
    package: &'static str,
    /// A program, or the whole path of a file.
    program: &'static str,
    reason: &'static str,
}

/// Keeps services from being started while it lives; dropping it puts everything back.
#[derive(Debug)]
struct NoServices {
    policy: PathBuf,
    saved: Option<PathBuf>,
}

/// Installs cargo-nextest unless it is there.
pub(crate) fn nextest() -> Result<()> {
    let found = cargo()
        .args(["nextest", "--version"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if found.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    println!("cargo-nextest is not installed; installing {NEXTEST} (it runs the tests)");
    run(cargo().args(["install", "--locked", NEXTEST]))
}

/// Installs the Debian packages that building Wharf needs and that are missing.
pub(crate) fn compilers() -> Result<()> {
    present("building Wharf", &BUILD)
}

/// Installs the Debian packages that the tests need and that are missing.
pub(crate) fn packages() -> Result<()> {
    present("the test suite", &NEEDS)
}

/// Installs the proxies that the benchmark needs and that are missing.
pub(crate) fn proxies() -> Result<()> {
    present("the benchmark", &PROXIES)
}

/// Installs what the benchmark of the host's own clients needs and that is missing.
pub(crate) fn publishers() -> Result<()> {
    present("the benchmark", &PUBLISHERS)
}

/// Installs the engines that the benchmark needs and that are missing: they are in the tests, too.
pub(crate) fn engines() -> Result<()> {
    present("the benchmark", &NEEDS)
}

fn present(who: &str, needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("{who} needs programs that are not installed:");
    for Need { package, program, reason } in &missing {
        println!("  {package}: `{program}` {reason}");
    }
    if find_program("apt-get").is_none() {
        println!("this machine has no apt-get; what needs them will say so");
        return Ok(());
    }
    println!("installing them with apt-get, without recommended packages");
    install(&missing)
}

fn install(missing: &[&Need]) -> Result<()> {
    let strangers: Vec<&str> = UNITS.into_iter().filter(|unit| !is_known(unit)).collect();
    let quiet = NoServices::enter(Path::new(POLICY))?;
    if !has_lists() {
        apt(&["update"])?;
    }
    let mut line = vec!["install", "--yes", "--no-install-recommends"];
    line.extend(missing.iter().map(|need| need.package));
    // Lists that are there may be too old for the archive; then one fresh look decides.
    apt(&line).or_else(|_| apt(&["update"]).and_then(|()| apt(&line)))?;
    drop(quiet);
    disable(&strangers)?;
    match missing.iter().find(|need| !need.is_there()) {
        Some(need) => {
            bail!("{} is installed, but `{}` is not to be found", need.package, need.program)
        }
        None => Ok(()),
    }
}

/// Has apt read its lists anew.
pub(crate) fn refresh() -> Result<()> {
    apt(&["update"])
}

fn apt(args: &[&str]) -> Result<()> {
    run(Command::new("apt-get")
        .args(["--quiet", "--option", "DPkg::Lock::Timeout=300"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

fn has_lists() -> bool {
    fs::read_dir("/var/lib/apt/lists").is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    })
}

fn is_known(unit: &str) -> bool {
    ["/lib/systemd/system", "/usr/lib/systemd/system", "/etc/systemd/system"]
        .iter()
        .any(|directory| Path::new(directory).join(unit).exists())
}

/// Installation enables a unit for the next boot; units that were not there before stay off.
fn disable(units: &[&str]) -> Result<()> {
    let came: Vec<&str> = units.iter().copied().filter(|unit| is_known(unit)).collect();
    if came.is_empty() || find_program("systemctl").is_none() {
        return Ok(());
    }
    println!("leaving {} off: not started now, not started at boot", came.join(", "));
    run(Command::new("systemctl").arg("--quiet").arg("disable").args(&came))
}

// === impl Need ===

impl Need {
    fn is_there(&self) -> bool {
        Path::new(self.program).is_file() || find_program(self.program).is_some()
    }
}

// === impl NoServices ===

impl NoServices {
    /// Answers "not allowed" (101) to every question whether a service may be started.
    fn enter(policy: &Path) -> Result<Self> {
        let mut guard = Self { policy: policy.to_owned(), saved: None };
        if policy.exists() {
            let aside = policy.with_extension("d.wharf-saved");
            fs::rename(policy, &aside)
                .with_context(|| format!("set {} aside", policy.display()))?;
            guard.saved = Some(aside);
        }
        fs::write(policy, "#!/bin/sh\nexit 101\n")
            .and_then(|()| fs::set_permissions(policy, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("write {}", policy.display()))?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        let restored = match &self.saved {
            Some(aside) => fs::rename(aside, &self.policy),
            None => fs::remove_file(&self.policy),
        };
        if let Err(error) = restored {
            eprintln!("could not restore {}: {error}", self.policy.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_forbids_services_only_while_it_is_held() {
        let place = std::env::temp_dir().join(format!("xtask-policy-{}", std::process::id()));
        let guard = NoServices::enter(&place).unwrap();
        let code = Command::new(&place).status().unwrap().code();
        assert_eq!(code, Some(101));
        drop(guard);
        assert!(!place.exists());
    }

    #[test]
    fn a_policy_of_the_machine_comes_back() {
        let place = std::env::temp_dir().join(format!("xtask-saved-{}.d", std::process::id()));
        fs::write(&place, "theirs").unwrap();
        drop(NoServices::enter(&place).unwrap());
        assert_eq!(fs::read_to_string(&place).unwrap(), "theirs");
        fs::remove_file(&place).unwrap();
    }
}
