use proptest::prelude::*;

use super::numbers::{AARCH64, ARM, X86, X86_64};
use super::*;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const EPERM: u32 = ERRNO | 1;
const ENOSYS: u32 = ERRNO | 38;
const KILL_PROCESS: u32 = 0x8000_0000;

/// Runs a filter as the kernel does.
fn run(program: &[Instruction], audit: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_ne_bytes());
    data.extend(audit.to_ne_bytes());
    data.extend(0u64.to_ne_bytes());
    args.iter().for_each(|argument| data.extend(argument.to_ne_bytes()));
    let (mut place, mut value) = (0, 0u32);
    loop {
        let i = &program[place];
        place += 1;
        let test = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
        match i.code {
            0x20 => {
                let start = usize::try_from(i.k).unwrap();
                value = u32::from_ne_bytes(data[start..start + 4].try_into().unwrap());
            }
            0x54 => value &= i.k,
            0x05 => place += usize::try_from(i.k).unwrap(),
            0x15 => place += test(value == i.k),
            0x25 => place += test(value > i.k),
            0x35 => place += test(value >= i.k),
            0x06 => return i.k,
            other => panic!("code {other:#x}"),
        }
    }
}

struct Judge {
    abi: Abi,
    audit: u32,
    number: fn(&str) -> Option<u32>,
    program: Vec<Instruction>,
}

impl Judge {
    fn new(profile: &Profile, abi: Abi, capabilities: &[&str]) -> Self {
        let capabilities = capabilities.iter().map(|&name| name.to_owned()).collect();
        let circumstances = Circumstances { capabilities, kernel: (6, 1) };
        let program = program::translate(profile, &circumstances, &abi).unwrap();
        assert!(program.len() < 1_200, "{} instructions", program.len());
        Self { abi, audit: abi.audit, number: abi.number, program }
    }

    fn default(capabilities: &[&str]) -> Self {
        Self::new(&docker::profile(), X86_64, capabilities)
    }

    fn foreign(mut self) -> Self {
        let foreign = self.abi.foreign.unwrap();
        (self.audit, self.number) = (foreign.audit, foreign.number);
        self
    }

    fn with(&self, call: &str, args: [u64; 6]) -> u32 {
        run(&self.program, self.audit, (self.number)(call).unwrap(), args)
    }

    fn plain(&self, call: &str) -> u32 {
        self.with(call, [0; 6])
    }
}

#[test]
fn the_default_profile_allows_and_forbids_what_dockers_does() {
    for abi in [X86_64, AARCH64] {
        let judge = Judge::new(&docker::profile(), abi, &["CAP_CHOWN", "CAP_SYS_CHROOT"]);
        for call in
            ["read", "openat", "execve", "futex", "clone", "personality", "chroot", "ptrace"]
        {
            assert_eq!(judge.plain(call), ALLOW, "{call}");
        }
        let forbidden = "mount umount2 unshare setns bpf perf_event_open keyctl add_key request_key \
                         kexec_load reboot swapon init_module acct settimeofday userfaultfd \
                         io_uring_setup open_by_handle_at syslog quotactl process_madvise mbind \
                         pivot_root nfsservctl vhangup fsopen move_mount";
        for call in forbidden.split_whitespace() {
            assert_eq!(judge.plain(call), EPERM, "{call}");
        }
        assert_eq!(judge.plain("clone3"), ENOSYS);
    }
}

#[test]
fn calls_are_judged_by_their_arguments() {
    let judge = Judge::default(&[]);
    let first = |call: &str, value: u64| judge.with(call, [value, 0, 0, 0, 0, 0]);
    // Each of the seven flags of namespaces, alone and among others.
    for flag in
        [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
    {
        assert_eq!(first("clone", flag), EPERM, "{flag:#x}");
        assert_eq!(first("clone", flag | 0x11), EPERM, "{flag:#x}");
    }
    assert_eq!(first("clone", 0x003d_0f00), ALLOW, "a thread");
    for value in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        assert_eq!(first("personality", value), ALLOW, "{value:#x}");
    }
    for value in [1, 0x4_0000, 0x1_0000_0000, u64::MAX] {
        assert_eq!(first("personality", value), EPERM, "{value:#x}");
    }
    for family in [1, 2, 10, 16, 17, 37, 39, 41, 44] {
        assert_eq!(first("socket", family), ALLOW, "{family}");
    }
    assert_eq!((first("socket", 38), first("socket", 40)), (EPERM, EPERM));
}

#[test]
fn capabilities_open_what_they_are_for() {
    let cases = [
        ("CAP_SYS_ADMIN", "mount umount2 unshare setns bpf clone3 syslog fsopen"),
        ("CAP_SYS_MODULE", "init_module finit_module delete_module"),
        ("CAP_SYS_TIME", "settimeofday clock_settime"),
        ("CAP_SYS_NICE", "mbind set_mempolicy"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_SYS_PTRACE", "kcmp process_madvise pidfd_getfd"),
        ("CAP_SYS_BOOT", "reboot"),
        ("CAP_SYS_PACCT", "acct"),
        ("CAP_SYS_RAWIO", "iopl ioperm"),
        ("CAP_SYS_TTY_CONFIG", "vhangup"),
        ("CAP_SYSLOG", "syslog"),
        ("CAP_BPF", "bpf"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_SYS_CHROOT", "chroot"),
    ];
    for (capability, calls) in cases {
        let (with, without) = (Judge::default(&[capability]), Judge::default(&[]));
        for call in calls.split_whitespace() {
            assert_eq!(with.plain(call), ALLOW, "{call} with {capability}");
            assert_ne!(without.plain(call), ALLOW, "{call} without {capability}");
        }
    }
    let admin = Judge::default(&["CAP_SYS_ADMIN"]);
    assert_eq!(admin.with("clone", [0x7e02_0000, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn programs_for_32_bits_are_judged_by_their_own_numbers() {
    for abi in [X86_64, AARCH64] {
        let judge = Judge::new(&docker::profile(), abi, &[]).foreign();
        for call in ["read", "mmap2", "waitpid", "_llseek", "clock_gettime64", "setuid32"] {
            let known = (judge.number)(call).is_some();
            assert!(!known || judge.plain(call) == ALLOW, "{call}");
        }
        for call in ["mount", "unshare", "add_key"] {
            assert_eq!(judge.plain(call), EPERM, "{call}");
        }
    }
    assert_eq!((X86.audit, ARM.audit), (0x4000_0003, 0x4000_0028));
}

#[test]
fn calls_nobody_knew_are_missing_and_strange_machines_are_ended() {
    let judge = Judge::default(&[]);
    for number in [X86_64.last + 1, 5_000, 0x4000_0000, u32::MAX] {
        assert_eq!(run(&judge.program, X86_64.audit, number, [0; 6]), ENOSYS, "{number}");
    }
    assert_eq!(run(&judge.program, 0xc000_00f3, 0, [0; 6]), KILL_PROCESS, "RISC-V");
}

#[test]
fn a_profile_of_the_users_own_is_followed() {
    let text = r#"{
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []}],
        "syscalls": [
            {"names": ["mkdir", "nosuchcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"name": "rmdir", "names": [], "action": "SCMP_ACT_ERRNO", "args": []},
            {"names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS",
             "args": [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]},
            {"names": ["dup2"], "action": "SCMP_ACT_TRAP", "comment": "both",
             "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                      {"index": 1, "value": 2, "op": "SCMP_CMP_GE"}]},
            {"names": ["dup3"], "action": "SCMP_ACT_LOG",
             "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                      {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
            {"names": ["chroot"], "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_KILL"]}},
            {"names": ["acct"], "action": "SCMP_ACT_ERRNO", "includes": {"minKernel": "6.2"}}
        ]
    }"#;
    let judge = Judge::new(&Profile::parse(text).unwrap(), X86_64, &[]);
    let args = |first, second| [first, second, 0, 0, 0, 0];
    assert_eq!(judge.plain("read"), ALLOW);
    assert_eq!((judge.plain("mkdir"), judge.plain("rmdir")), (ERRNO | 28, EPERM));
    let x32 = 0x4000_0000 | (judge.number)("mkdir").unwrap();
    assert_eq!(run(&judge.program, judge.audit, x32, [0; 6]), ENOSYS, "by another number");
    assert_eq!(
        (judge.with("kill", args(5, 9)), judge.with("kill", args(5, 15))),
        (KILL_PROCESS, ALLOW)
    );
    assert_eq!(judge.with("dup2", args(1, 3)), 0x0003_0000);
    assert_eq!(judge.with("dup2", args(1, 1)), ALLOW);
    let log = 0x7ffc_0000;
    assert_eq!([1, 2, 3].map(|fd| judge.with("dup3", args(fd, 0))), [log, log, ALLOW]);
    assert_eq!((judge.plain("chroot"), judge.plain("acct")), (ALLOW, ALLOW));
    assert_eq!(judge.foreign().plain("read"), KILL_PROCESS, "it is not for 32 bits");
}

#[test]
fn what_a_profile_cannot_ask_for_is_refused() {
    let of = |rest: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", {rest}}}"#);
    let rule = |rule: &str| of(&format!(r#""syscalls": [{rule}]"#));
    for (text, reason) in [
        ("nothing".to_owned(), "expected"),
        (r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#.to_owned(), "unknown action"),
        (of(r#""listenerPath": "/x""#), "unknown field"),
        (of(r#""flags": ["SECCOMP_FILTER_FLAG_LOG"]"#), "not available"),
        (rule(r#"{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}"#), "nothing listens"),
        (rule(r#"{"names": [], "action": "SCMP_ACT_ALLOW"}"#), "names no system call"),
        (
            rule(r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5000}"#),
            "error number",
        ),
        (
            rule(
                r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}"#,
            ),
            "no argument 6",
        ),
        (
            rule(
                r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_SOME"}]}"#,
            ),
            "unknown operator",
        ),
    ] {
        let error = check(&text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn what_is_allowed_by_number_is_allowed_with_any_arguments(args: [u64; 6]) {
        let judge = Judge::default(&[]);
        prop_assert_eq!(judge.with("read", args), ALLOW);
        prop_assert_eq!(judge.with("mount", args), EPERM);
        let makes_namespaces = args[0] & 0x7e02_0000 != 0;
        prop_assert_eq!(judge.with("clone", args) == EPERM, makes_namespaces);
    }
}
