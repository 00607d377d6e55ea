//! Profiles as Docker's `--security-opt seccomp=FILE` takes them.
//!
//! They come from outside, so everything that cannot be honoured is refused, and nothing in them
//! is skipped but names of calls this machine does not have.

use serde::Deserialize;

use super::Circumstances;
use super::numbers::Abi;
use crate::error::{Error, Result};

/// Docker's own has 14 kB.
const SIZE_LIMIT: usize = 1 << 20;
/// The kernel takes errors up to this one (`MAX_ERRNO`).
const ERRNO_LIMIT: u32 = 4095;
const EPERM: u32 = 1;
/// A system call has six arguments.
const ARGUMENTS: u8 = 6;

/// Which calls are allowed, and what becomes of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Profile {
    /// What becomes of calls that no rule is for.
    pub(super) default: Action,
    pub(super) rules: Vec<Rule>,
    /// The kinds of programs it is for; all when empty.
    pub(super) architectures: Vec<String>,
}

/// What becomes of a call; the severe ones come first, and win over later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    KillProcess,
    KillThread,
    Trap,
    Errno(u16),
    Log,
    Allow,
}

/// What becomes of some calls, with some arguments, in some circumstances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) action: Action,
    pub(super) arguments: Vec<Comparison>,
    pub(super) when: When,
}

/// The circumstances a rule is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct When {
    pub(super) capabilities: Vec<String>,
    pub(super) not_capabilities: Vec<String>,
    pub(super) machines: Vec<String>,
    pub(super) not_machines: Vec<String>,
    pub(super) kernel: Option<(u32, u32)>,
}

/// What an argument must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) argument: u8,
    pub(super) operator: Operator,
    pub(super) value: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Equal after the argument was masked.
    Masked(u64),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<ArchitectureEntry>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    syscalls: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchitectureEntry {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default)]
    min_kernel: Option<String>,
}

// === impl Profile ===

impl Profile {
    /// Reads a profile in Docker's format.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.len() > SIZE_LIMIT {
            return Err(refuse(format!("it is longer than {SIZE_LIMIT} bytes")));
        }
        let document: Document = serde_json::from_str(text).map_err(|e| refuse(e.to_string()))?;
        if let Some(flag) = document.flags.iter().find(|f| *f != "SECCOMP_FILTER_FLAG_TSYNC") {
            return Err(refuse(format!("flag {flag:?} is not available: leave it out")));
        }
        let rules = document.syscalls.into_iter().map(Entry::rule).collect::<Result<_>>()?;
        let mut architectures = document.architectures;
        for entry in document.arch_map {
            architectures.push(entry.architecture);
            architectures.extend(entry.sub_architectures.unwrap_or_default());
        }
        let default = action(&document.default_action, document.default_errno_ret, None)?;
        Ok(Self { default, rules, architectures })
    }

    /// Whether programs of the kind `abi` are judged by it; they are ended otherwise.
    pub(super) fn is_for(&self, abi: &Abi) -> bool {
        self.architectures.is_empty() || self.architectures.iter().any(|name| name == abi.name)
    }
}

// === impl When ===

impl When {
    pub(super) fn holds(&self, circumstances: &Circumstances, abi: &Abi) -> bool {
        let has = |name: &String| circumstances.capabilities.contains(name);
        let here = |names: &[String]| names.iter().any(|name| name == abi.machine);
        self.capabilities.iter().all(has)
            && !self.not_capabilities.iter().any(has)
            && (self.machines.is_empty() || here(&self.machines))
            && !here(&self.not_machines)
            && self.kernel.is_none_or(|least| circumstances.kernel >= least)
    }
}

// === impl Comparison ===

impl Comparison {
    pub(super) fn equal(argument: u8, value: u64) -> Self {
        Self { argument, operator: Operator::Equal, value }
    }

    pub(super) fn less(argument: u8, value: u64) -> Self {
        Self { argument, operator: Operator::Less, value }
    }

    pub(super) fn greater(argument: u8, value: u64) -> Self {
        Self { argument, operator: Operator::Greater, value }
    }

    pub(super) fn masked(argument: u8, mask: u64, value: u64) -> Self {
        Self { argument, operator: Operator::Masked(mask), value }
    }
}

// === impl Entry ===

impl Entry {
    fn rule(self) -> Result<Rule> {
        let mut names = self.names;
        names.extend(self.name.filter(|name| !name.is_empty()));
        if names.is_empty() {
            return Err(refuse("a rule names no system call".to_owned()));
        }
        let (includes, excludes) =
            (self.includes.unwrap_or_default(), self.excludes.unwrap_or_default());
        if excludes.min_kernel.is_some() {
            return Err(refuse("minKernel can be included only".to_owned()));
        }
        let kernel = includes.min_kernel.map(|text| {
            version(&text).ok_or_else(|| refuse(format!("{text:?} is no version of a kernel")))
        });
        Ok(Rule {
            action: action(&self.action, self.errno_ret, names.first())?,
            names,
            arguments: self
                .args
                .unwrap_or_default()
                .into_iter()
                .map(Argument::comparison)
                .collect::<Result<_>>()?,
            when: When {
                capabilities: includes.caps,
                not_capabilities: excludes.caps,
                machines: includes.arches,
                not_machines: excludes.arches,
                kernel: kernel.transpose()?,
            },
        })
    }
}

// === impl Argument ===

impl Argument {
    fn comparison(self) -> Result<Comparison> {
        if self.index >= ARGUMENTS {
            return Err(refuse(format!("a system call has no argument {}", self.index)));
        }
        let (operator, value) = match self.op.as_str() {
            "SCMP_CMP_EQ" => (Operator::Equal, self.value),
            "SCMP_CMP_NE" => (Operator::NotEqual, self.value),
            "SCMP_CMP_LT" => (Operator::Less, self.value),
            "SCMP_CMP_LE" => (Operator::LessOrEqual, self.value),
            "SCMP_CMP_GT" => (Operator::Greater, self.value),
            "SCMP_CMP_GE" => (Operator::GreaterOrEqual, self.value),
            "SCMP_CMP_MASKED_EQ" => (Operator::Masked(self.value), self.value_two),
            other => return Err(refuse(format!("unknown operator {other:?}"))),
        };
        Ok(Comparison { argument: self.index, operator, value })
    }
}

/// The first two numbers of a kernel's version.
pub(super) fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn action(name: &str, errno: Option<u32>, call: Option<&String>) -> Result<Action> {
    match name {
        "SCMP_ACT_ALLOW" => Ok(Action::Allow),
        "SCMP_ACT_ERRNO" => match errno.unwrap_or(EPERM) {
            number if number <= ERRNO_LIMIT => {
                Ok(Action::Errno(u16::try_from(number).unwrap_or_default()))
            }
            number => Err(refuse(format!("{number} is no error number"))),
        },
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(Action::KillThread),
        "SCMP_ACT_KILL_PROCESS" => Ok(Action::KillProcess),
        "SCMP_ACT_TRAP" => Ok(Action::Trap),
        "SCMP_ACT_LOG" => Ok(Action::Log),
        "SCMP_ACT_TRACE" | "SCMP_ACT_NOTIFY" => {
            let of = call.map(|call| format!(" of {call}")).unwrap_or_default();
            Err(refuse(format!(
                "action {name}{of} is not available: nothing listens to it; use SCMP_ACT_ERRNO"
            )))
        }
        _ => Err(refuse(format!("unknown action {name:?}"))),
    }
}

fn refuse(reason: String) -> Error {
    Error::Spec(format!("the seccomp profile cannot be used: {reason}"))
}
