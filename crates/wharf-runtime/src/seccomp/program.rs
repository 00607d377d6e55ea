//! Turns a profile into the program the kernel runs at every system call.
//!
//! Calls that are judged by their number alone become comparisons of ranges, which the kernel
//! remembers (since 5.11 it does not even run the program for them). Those that are judged by their
//! arguments are `seccompiler`'s, one program for each action; its "otherwise" is a mark that is
//! replaced by a jump to what comes next.

use std::collections::{BTreeMap, BTreeSet};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::numbers::Abi;
use super::profile::{Action, Comparison, Operator, Profile, Rule};
use super::{Circumstances, Instruction};
use crate::error::{Error, Result};

/// The kernel's limit (`BPF_MAXINSNS`).
const LENGTH_LIMIT: usize = 4096;
/// Where `struct seccomp_data` has them.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ENOSYS: u16 = 38;
/// `__X32_SYSCALL_BIT`; no architecture has a call of its own with a number as high.
const X32: u32 = 0x4000_0000;
/// Operation codes of `linux/bpf_common.h`.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;
/// What `seccompiler` checks of the architecture comes first; we do that for all of them at once.
const PREAMBLE: usize = 3;
/// The mark for "none of these": an action no profile can ask for.
const NEXT: SeccompAction = SeccompAction::Trace(0xffff);

/// The calls one action is for.
#[derive(Debug, Default)]
struct Group {
    always: BTreeSet<u32>,
    sometimes: BTreeMap<i64, Vec<SeccompRule>>,
}

/// The program for `profile`, for programs of the kind `native` and their 32-bit relatives.
pub(super) fn translate(
    profile: &Profile,
    circumstances: &Circumstances,
    native: &Abi,
) -> Result<Vec<Instruction>> {
    let mut code = vec![load(ARCHITECTURE)];
    let kinds = [Some(native), native.foreign];
    for abi in kinds.into_iter().flatten().filter(|abi| profile.is_for(abi)) {
        let section = section(profile, circumstances, abi)?;
        code.push(jump_if(JUMP_EQUAL, abi.audit, 1, 0));
        code.push(jump(section.len())?);
        code.extend(section);
    }
    code.push(stop(Action::KillProcess));
    if code.len() > LENGTH_LIMIT {
        return Err(Error::Spec(format!(
            "the seccomp profile is too long: it makes {} instructions, and the kernel takes \
             {LENGTH_LIMIT}",
            code.len()
        )));
    }
    Ok(code)
}

/// The part for programs of one kind.
fn section(
    profile: &Profile,
    circumstances: &Circumstances,
    abi: &Abi,
) -> Result<Vec<Instruction>> {
    let mut groups: BTreeMap<Action, Group> = BTreeMap::new();
    for rule in profile.rules.iter().filter(|rule| rule.when.holds(circumstances, abi)) {
        groups.entry(rule.action).or_default().add(rule, abi)?;
    }
    let mut code = Vec::new();
    if matches!(profile.default, Action::Errno(_)) {
        // Calls that came after this table: programs must learn that they cannot be had, not that
        // they may not be made, to do without.
        code.extend([load(NUMBER), jump_if(JUMP_GREATER, abi.last, 0, 1)]);
        code.push(stop(Action::Errno(ENOSYS)));
    } else {
        // The calls of x32 have the architecture of x86-64, so no rule of a profile that names what
        // it forbids would match them.
        code.extend([load(NUMBER), jump_if(JUMP_GREATER_OR_EQUAL, X32, 0, 1)]);
        code.push(stop(Action::Errno(ENOSYS)));
    }
    for (action, group) in groups {
        code.push(load(NUMBER));
        for range in ranges(&group.always) {
            code.extend(judge(range, action));
        }
        code.extend(group.judge_arguments(action)?);
    }
    code.push(stop(profile.default));
    Ok(code)
}

// === impl Group ===

impl Group {
    fn add(&mut self, rule: &Rule, abi: &Abi) -> Result<()> {
        // Profiles name calls of every architecture; not all are to be had here.
        for number in rule.names.iter().filter_map(|name| (abi.number)(name)) {
            if rule.arguments.is_empty() {
                self.always.insert(number);
                continue;
            }
            let chain = self.sometimes.entry(number.into()).or_default();
            for conditions in alternatives(&rule.arguments) {
                chain.push(condition_rule(&conditions)?);
            }
        }
        Ok(())
    }

    fn judge_arguments(mut self, action: Action) -> Result<Vec<Instruction>> {
        self.sometimes.retain(|number, _| {
            u32::try_from(*number).is_ok_and(|number| !self.always.contains(&number))
        });
        if self.sometimes.is_empty() {
            return Ok(Vec::new());
        }
        // The arguments lie at the same places on all of ours, which are little-endian.
        let arch = TargetArch::x86_64;
        let filter = SeccompFilter::new(self.sometimes, NEXT, seccomp_action(action), arch);
        let program = filter.and_then(BpfProgram::try_from).map_err(|e| mistake(&e))?;
        let mut code = program.get(PREAMBLE..).unwrap_or_default().to_vec();
        let next = stop_with(NEXT.into());
        let length = code.len();
        for (place, instruction) in code.iter_mut().enumerate() {
            if *instruction == next {
                *instruction = jump(length - place - 1)?;
            }
        }
        Ok(code)
    }
}

/// Conditions on different arguments must all hold; of several on one argument, any: runc has it
/// so, and profiles are written for it.
fn alternatives(arguments: &[Comparison]) -> Vec<Vec<Comparison>> {
    let places: BTreeSet<u8> = arguments.iter().map(|comparison| comparison.argument).collect();
    if places.len() == arguments.len() {
        return vec![arguments.to_vec()];
    }
    arguments.iter().map(|comparison| vec![*comparison]).collect()
}

fn condition_rule(conditions: &[Comparison]) -> Result<SeccompRule> {
    let condition = |comparison: &Comparison| {
        let operator = match comparison.operator {
            Operator::Equal => SeccompCmpOp::Eq,
            Operator::NotEqual => SeccompCmpOp::Ne,
            Operator::Less => SeccompCmpOp::Lt,
            Operator::LessOrEqual => SeccompCmpOp::Le,
            Operator::Greater => SeccompCmpOp::Gt,
            Operator::GreaterOrEqual => SeccompCmpOp::Ge,
            Operator::Masked(mask) => SeccompCmpOp::MaskedEq(mask),
        };
        let (argument, value) = (comparison.argument, comparison.value);
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)
    };
    let conditions = conditions.iter().map(condition).collect::<Result<Vec<_>, _>>();
    conditions.and_then(SeccompRule::new).map_err(|e| mistake(&e))
}

fn mistake(error: &seccompiler::BackendError) -> Error {
    Error::Spec(format!("the seccomp profile cannot be used: {error}"))
}

/// Numbers that follow one another, taken together.
fn ranges(numbers: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

/// Stops with `action` when the number that was loaded is within the range.
fn judge((first, last): (u32, u32), action: Action) -> Vec<Instruction> {
    let stop = stop(action);
    match first == last {
        true => vec![jump_if(JUMP_EQUAL, first, 0, 1), stop],
        false => vec![
            jump_if(JUMP_GREATER_OR_EQUAL, first, 0, 2),
            jump_if(JUMP_GREATER, last, 1, 0),
            stop,
        ],
    }
}

fn seccomp_action(action: Action) -> SeccompAction {
    match action {
        Action::KillProcess => SeccompAction::KillProcess,
        Action::KillThread => SeccompAction::KillThread,
        Action::Trap => SeccompAction::Trap,
        Action::Errno(number) => SeccompAction::Errno(number.into()),
        Action::Log => SeccompAction::Log,
        Action::Allow => SeccompAction::Allow,
    }
}

fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, jt: 0, jf: 0, k: offset }
}

fn jump(over: usize) -> Result<Instruction> {
    let over = u32::try_from(over).map_err(|_| Error::Spec("the program is too long".into()))?;
    Ok(Instruction { code: JUMP, jt: 0, jf: 0, k: over })
}

fn jump_if(code: u16, value: u32, then: u8, otherwise: u8) -> Instruction {
    Instruction { code, jt: then, jf: otherwise, k: value }
}

fn stop(action: Action) -> Instruction {
    stop_with(seccomp_action(action).into())
}

fn stop_with(value: u32) -> Instruction {
    Instruction { code: RETURN, jt: 0, jf: 0, k: value }
}
