//! The numbers system calls have: a name has another one on every architecture, and a 64-bit kernel
//! runs 32-bit programs, too.

use crate::error::{Error, Result};

/// How programs of one kind call the kernel.
#[derive(Clone, Copy)]
pub(super) struct Abi {
    /// What the kernel calls it (`AUDIT_ARCH_*`).
    pub(super) audit: u32,
    /// What profiles call it, as `SCMP_ARCH_X86_64`.
    pub(super) name: &'static str,
    /// What Docker's conditions call the machine that has it, as `amd64`.
    pub(super) machine: &'static str,
    /// The number of a call.
    pub(super) number: fn(&str) -> Option<u32>,
    /// The highest number there is, as far as is known here.
    pub(super) last: u32,
    /// How programs for 32 bits call it on the same machine.
    pub(super) foreign: Option<&'static Abi>,
}

/// The numbers of one architecture, from the module of `syscalls` that has them.
macro_rules! table {
    ($module:ident) => {{
        fn number(name: &str) -> Option<u32> {
            let call: syscalls::$module::Sysno = name.parse().ok()?;
            u32::try_from(call.id()).ok()
        }
        number
    }};
}

pub(super) const X86_64: Abi = Abi {
    audit: 0xc000_003e,
    name: "SCMP_ARCH_X86_64",
    machine: "amd64",
    number: table!(x86_64),
    last: syscalls::x86_64::Sysno::last().id().unsigned_abs(),
    foreign: Some(&X86),
};

pub(super) const X86: Abi = Abi {
    audit: 0x4000_0003,
    name: "SCMP_ARCH_X86",
    machine: "amd64",
    number: table!(x86),
    last: syscalls::x86::Sysno::last().id().unsigned_abs(),
    foreign: None,
};

pub(super) const AARCH64: Abi = Abi {
    audit: 0xc000_00b7,
    name: "SCMP_ARCH_AARCH64",
    machine: "arm64",
    number: table!(aarch64),
    last: syscalls::aarch64::Sysno::last().id().unsigned_abs(),
    foreign: Some(&ARM),
};

pub(super) const ARM: Abi = Abi {
    audit: 0x4000_0028,
    name: "SCMP_ARCH_ARM",
    machine: "arm64",
    number: table!(arm),
    // The calls above are the architecture's own, set_tls among them, and no later than others.
    last: 0x000f_ffff,
    foreign: None,
};

// === impl Abi ===

impl Abi {
    /// That of the programs this machine is made for.
    pub(super) fn of_this_machine() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(X86_64),
            "aarch64" => Ok(AARCH64),
            other => Err(Error::Spec(format!(
                "system calls cannot be filtered on {other}: use --security-opt seccomp=unconfined"
            ))),
        }
    }
}
