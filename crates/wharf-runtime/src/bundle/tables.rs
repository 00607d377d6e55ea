//! Docker's defaults, as data.
//!
//! From moby's `oci/defaults.go`; what they protect is described there
//! and in the OCI runtime specification.

/// Kernel interfaces that say too much about the host.
pub(super) const MASKED_PATHS: [&str; 11] = [
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

/// Kernel interfaces that may be looked at and not changed.
pub(super) const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A file system every container gets: destination, type, source, options.
pub(super) type DefaultMount = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// In the order they are mounted; the control groups are added by their layout.
pub(super) const MOUNTS: [DefaultMount; 6] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
];

/// Devices a container may use, after all are denied: type, major, minor, access.
pub(super) type DeviceRule = (&'static str, Option<i64>, Option<i64>, &'static str);

/// Making any device node is allowed; opening it is not, beyond these.
pub(super) const DEVICE_RULES: [DeviceRule; 11] = [
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", Some(1), Some(3), "rwm"), // null
    ("c", Some(1), Some(5), "rwm"), // zero
    ("c", Some(1), Some(7), "rwm"), // full
    ("c", Some(1), Some(8), "rwm"), // random
    ("c", Some(1), Some(9), "rwm"), // urandom
    ("c", Some(5), Some(0), "rwm"), // tty
    ("c", Some(5), Some(1), "rwm"), // console
    ("c", Some(5), Some(2), "rwm"), // ptmx
    ("c", Some(136), None, "rwm"),  // pts
];

/// Docker sets both in every container: ports below 1024 and ICMP sockets need no privilege in a
/// network namespace that is the container's own.
pub(crate) const SYSCTLS: [(&str, &str); 2] =
    [("net/ipv4/ip_unprivileged_port_start", "0"), ("net/ipv4/ping_group_range", "0 2147483647")];
