//! Docker's default profile, as data: which calls it allows, and on which conditions.
//!
//! What it forbids is told in Docker's documentation ("Seccomp security profiles"): what works on
//! the whole machine rather than on the container, and what has been a way out of containers.

use super::profile::{Action, Comparison, Profile, Rule, When};

/// Flags of clone(2) that make namespaces: mount, cgroup, UTS, IPC, user, PID and network.
const NAMESPACES: u64 = 0x7e02_0000;
const ENOSYS: u16 = 38;
const EPERM: u16 = 1;
/// Talks to the machine's hypervisor, whatever the network namespace is.
const AF_VSOCK: u64 = 40;
/// The kernel's cryptography: much code, and of no use to containers.
const AF_ALG: u64 = 38;
/// Linux, Linux for 32 bits, both as uname 2.6, and asking for what is set.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Since 4.8 a traced process cannot slip through its filter.
const TRACING_IS_SAFE: (u32, u32) = (4, 8);

/// Allowed with any arguments, to everybody.
const ALLOWED: &str = "\
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 \
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 \
    dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait \
    epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 \
    fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat \
    fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 \
    fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 \
    futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd \
    getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 \
    getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 \
    getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday \
    getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 \
    inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup \
    io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset \
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr \
    listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise \
    map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock \
    mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive \
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget \
    msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect \
    open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free \
    pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease \
    pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv \
    recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename \
    renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending \
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 \
    rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr \
    sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 \
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select \
    semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg \
    sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 \
    setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 \
    setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt \
    setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd \
    signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 \
    statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time \
    timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime \
    timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime \
    timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat \
    uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write \
    writev";

/// Allowed to whoever has a capability.
const BY_CAPABILITY: [(&str, &str); 13] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount \
         mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    (
        "CAP_SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
];

/// Allowed on one kind of machine.
const BY_MACHINE: [(&str, &str); 2] = [
    ("amd64", "arch_prctl modify_ldt"),
    (
        "arm64",
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
];

/// Docker's default profile.
pub(super) fn profile() -> Profile {
    let mut rules = vec![allow(ALLOWED)];
    rules.push(allow("process_vm_readv process_vm_writev ptrace").since(TRACING_IS_SAFE));
    rules.extend(sockets());
    let same = |value| vec![Comparison::equal(0, value)];
    rules.extend(PERSONALITIES.map(|value| allow("personality").with(same(value))));
    rules.extend(BY_MACHINE.map(|(machine, calls)| allow(calls).on(machine)));
    rules.extend(BY_CAPABILITY.map(|(capability, calls)| allow(calls).by(capability)));
    rules.push(allow("perf_event_open").by("CAP_PERFMON"));
    let plain = vec![Comparison::masked(0, NAMESPACES, 0)];
    rules.push(allow("clone").with(plain).without("CAP_SYS_ADMIN"));
    // Its flags lie in memory, where no filter looks; with ENOSYS the C library takes clone.
    let missing = Rule { action: Action::Errno(ENOSYS), ..allow("clone3") };
    rules.push(missing.without("CAP_SYS_ADMIN"));
    Profile { default: Action::Errno(EPERM), rules, architectures: Vec::new() }
}

/// Every family but two.
fn sockets() -> [Rule; 3] {
    let family = |comparison| allow("socket").with(vec![comparison]);
    [
        family(Comparison::less(0, AF_ALG)),
        family(Comparison::equal(0, AF_ALG + 1)),
        family(Comparison::greater(0, AF_VSOCK)),
    ]
}

fn allow(calls: &str) -> Rule {
    Rule {
        names: calls.split_whitespace().map(str::to_owned).collect(),
        action: Action::Allow,
        arguments: Vec::new(),
        when: When::default(),
    }
}

// === impl Rule ===

impl Rule {
    fn with(mut self, arguments: Vec<Comparison>) -> Self {
        self.arguments = arguments;
        self
    }

    fn by(mut self, capability: &str) -> Self {
        self.when.capabilities.push(capability.to_owned());
        self
    }

    fn without(mut self, capability: &str) -> Self {
        self.when.not_capabilities.push(capability.to_owned());
        self
    }

    fn on(mut self, machine: &str) -> Self {
        self.when.machines.push(machine.to_owned());
        self
    }

    fn since(mut self, kernel: (u32, u32)) -> Self {
        self.when.kernel = Some(kernel);
        self
    }
}
