//! Docker's tables of what a container has and has not, compared with one of ours, read from
//! inside.

use std::collections::BTreeMap;

use super::site::Site;

/// From Docker's documentation of `docker run` ("Runtime privilege and Linux capabilities"): what
/// is allowed by default, with the numbers of `linux/capability.h`.
const CAPABILITIES: [(&str, u32); 14] = [
    ("AUDIT_WRITE", 29),
    ("CHOWN", 0),
    ("DAC_OVERRIDE", 1),
    ("FOWNER", 3),
    ("FSETID", 4),
    ("KILL", 5),
    ("MKNOD", 27),
    ("NET_BIND_SERVICE", 10),
    ("NET_RAW", 13),
    ("SETFCAP", 31),
    ("SETGID", 6),
    ("SETPCAP", 8),
    ("SETUID", 7),
    ("SYS_CHROOT", 18),
];
/// What `docker inspect` shows as `MaskedPaths` of any container.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// And as `ReadonlyPaths`.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// File systems of every container, and options Docker mounts them with.
const MOUNTS: [(&str, &str, &[&str]); 7] = [
    ("/proc", "proc", &["rw", "nosuid", "nodev", "noexec"]),
    ("/dev", "tmpfs", &["rw", "nosuid"]),
    ("/dev/pts", "devpts", &["rw", "nosuid", "noexec"]),
    ("/dev/shm", "tmpfs", &["rw", "nosuid", "nodev", "noexec"]),
    ("/dev/mqueue", "mqueue", &["rw", "nosuid", "nodev", "noexec"]),
    ("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]),
    ("/", "overlay", &["rw"]),
];

/// The topmost mount at each place, as `(type, options)`.
fn mounts(mountinfo: &str) -> BTreeMap<String, (String, Vec<String>)> {
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let place = left.split(' ').nth(4)?.to_owned();
        let options = left.split(' ').nth(5)?.split(',').map(str::to_owned).collect();
        Some((place, (right.split(' ').next()?.to_owned(), options)))
    };
    mountinfo.lines().filter_map(parse).collect()
}

#[test]
fn a_container_is_what_dockers_tables_say() {
    let Some(site) = Site::new("tables") else { return };
    let script = "cat /proc/self/status; echo ----; cat /proc/self/mountinfo";
    let said = site.says(&[], script);
    let (status, mountinfo) = said.split_once("----\n").unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap_or_else(|| panic!("{name} in {status}"))
    };

    let filters_devices = std::path::Path::new("/sys/fs/cgroup/devices").exists();
    let table = CAPABILITIES.iter().filter(|(name, _)| filters_devices || *name != "MKNOD");
    let wanted: u64 = table.map(|(_, number)| 1u64 << number).sum();
    for set in ["CapBnd", "CapPrm", "CapEff"] {
        assert_eq!(u64::from_str_radix(field(set), 16).unwrap(), wanted, "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(u64::from_str_radix(field(set), 16).unwrap(), 0, "{set}");
    }
    // 2 is a filter; Docker's default container has one and may gain privileges.
    assert_eq!((field("Seccomp"), field("NoNewPrivs")), ("2", "0"));

    let mounts = mounts(mountinfo);
    for (place, kind, options) in MOUNTS {
        let (found, with) = &mounts[place];
        assert_eq!(found, kind, "{place}");
        let missing: Vec<_> = options.iter().filter(|o| !with.iter().any(|w| w == *o)).collect();
        assert!(missing.is_empty(), "{place} is without {missing:?}: {with:?}");
    }
    for path in READ_ONLY.into_iter().filter(|path| std::path::Path::new(path).exists()) {
        let (_, options) = mounts.get(path).unwrap_or_else(|| panic!("{path} is writable"));
        assert!(options.iter().any(|option| option == "ro"), "{path}: {options:?}");
    }
    for path in MASKED.into_iter().filter(|path| std::path::Path::new(path).exists()) {
        let (kind, options) = mounts.get(path).unwrap_or_else(|| panic!("{path} is not masked"));
        let empty = kind == "tmpfs" && options.iter().any(|option| option == "ro");
        assert!(empty || kind == "devtmpfs" || kind == "tmpfs", "{path}: {kind} {options:?}");
    }
}

#[test]
fn masked_files_are_empty_and_masked_directories_too() {
    let Some(site) = Site::new("masked tables") else { return };
    let script: String = MASKED
        .iter()
        .map(|path| {
            format!("[ -d {path} ] && ls -A {path} | head -n 1; [ -f {path} -o -c {path} ] && head -c 1 {path}; ")
        })
        .collect();
    assert_eq!(site.says(&[], &format!("{script} true")), "");
    let script: String =
        READ_ONLY.iter().map(|path| format!("[ -d {path} ] && touch {path}/x; ")).collect();
    let output = site.run(&[], &format!("{script} (echo h > /proc/sysrq-trigger) || exit 9"));
    assert_eq!(output.code(), 9, "{output:?}");
}
