//! Filters of system calls: which there are under a profile, as the kernel's instructions.
//!
//! What is forbidden falls into two parts. One holds for the zygote already and is inherited, which
//! costs a task nothing. The other is what setting up a task needs itself (mounts, namespaces), and
//! is entered by each task at its last step: it is kept short.

#![forbid(unsafe_code)]

mod clones;
mod glance;
mod lists;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bulkhead_shared::isolation::Network;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use syscalls::Sysno;

use super::profile::{OnForbidden, Profile, Syscalls};
use clones::clones;
use glance::{ALLOW, JUMP};
use lists::{DEPTHS, ORDINARY, SPACES};

/// Requests of `ioctl` that put words into a terminal's mouth.
const TERMINAL: [u64; 2] = [0x5412, 0x541C];

/// Why a filter cannot be made: a mistake of ours, or an architecture nobody has tried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    #[error("filters of system calls are not known for this processor: {0}")]
    Compile(#[from] seccompiler::BackendError),
}

/// The filters of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Filters {
    /// For zygotes, and so for all.
    pub inherited: Vec<u64>,
    /// For tasks, besides.
    pub own: Vec<u64>,
}

/// The number of a system call of this processor.
pub(crate) fn number(name: &str) -> Option<i64> {
    let known: Sysno = name.parse().ok()?;
    Some(known.id().into())
}

/// The name of a system call of this processor.
pub(crate) fn name(number: i32) -> Option<&'static str> {
    let number = usize::try_from(number).ok()?;
    Sysno::new(number).map(|known| known.name())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls that the allowlist names, of which it allows some.
const IN_PART: [&str; 3] = ["socket", "clone", "clone3"];

/// Whether the allowlist has this call, whatever a profile adds.
pub(crate) fn is_listed(name: &str) -> bool {
    ORDINARY.contains(&name) || IN_PART.contains(&name)
}

/// Who keeps the limit of what all processes of a task have of memory together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// A cgroup, or there is no such limit.
    Kernel,
    /// The supervisor, which sees what is mapped: memory that no process needs to map is forbidden.
    Supervisor,
}

/// What keeps memory that is mapped nowhere.
const UNSEEN: [&str; 3] = ["memfd_create", "memfd_secret", "vmsplice"];

/// Composes the filters of a profile.
pub(crate) fn filters(profile: &Profile, memory: Memory) -> Result<Filters, FilterError> {
    let action = match profile.on_forbidden {
        OnForbidden::Error => SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        // The task's runtime says which one, and ends.
        OnForbidden::Kill => SeccompAction::Trap,
    };
    let is_allowed = |name: &&str| !profile.allow_syscalls.contains(*name);
    let unseen = UNSEEN
        .into_iter()
        .filter(|name| memory == Memory::Supervisor && is_allowed(name));
    let denied = profile.deny_syscalls.iter().map(String::as_str);
    let besides = denied.chain(unseen);
    match profile.syscalls {
        Syscalls::All => {
            let mut own = Rules::new();
            let denied = profile.deny_syscalls.iter().map(String::as_str);
            always(&mut own, denied);
            let own = match own.is_empty() {
                true => Vec::new(),
                false => forbid(own, action)?,
            };
            Ok(Filters {
                inherited: Vec::new(),
                own,
            })
        }
        Syscalls::Denylist => {
            let mut inherited = Rules::new();
            always(&mut inherited, DEPTHS.iter().copied().filter(is_allowed));
            sockets(&mut inherited, profile.network, is_allowed)?;
            terminals(&mut inherited)?;
            let mut own = Rules::new();
            always(&mut own, SPACES.iter().copied().filter(is_allowed));
            always(&mut own, besides);
            deaths(&mut own)?;
            shared_memory(&mut own, memory, is_allowed)?;
            // It is missing, which is not the same.
            number("clone3").map(|number| own.remove(&number));
            let mut numbers: Vec<i64> = own.keys().copied().collect();
            numbers.extend(["clone", "clone3"].into_iter().filter_map(number));
            let own = compile(own, SeccompAction::Allow, action.clone())?;
            Ok(Filters {
                inherited: forbid(inherited, action.clone())?,
                own: glance::before(chain(own, clones(action)), numbers)?,
            })
        }
        Syscalls::Allowlist => {
            let mut allowed = Rules::new();
            let more = profile.allow_syscalls.iter().map(String::as_str);
            always(&mut allowed, ORDINARY.iter().copied().chain(more));
            always(&mut allowed, IN_PART);
            for name in besides {
                number(name).map(|number| allowed.remove(&number));
            }
            // What is allowed only in part: a second filter says in which.
            let mut parts = Rules::new();
            sockets(&mut parts, profile.network, is_allowed)?;
            terminals(&mut parts)?;
            deaths(&mut parts)?;
            shared_memory(&mut parts, memory, is_allowed)?;
            Ok(Filters {
                inherited: Vec::new(),
                own: chain(
                    chain(
                        compile(parts, SeccompAction::Allow, action.clone())?,
                        clones(action.clone()),
                    ),
                    compile(allowed, action, SeccompAction::Allow)?,
                ),
            })
        }
    }
}

/// A rule for each of these calls, whatever their arguments. Those that this processor does not
/// have are nobody's concern.
fn always<'a>(rules: &mut Rules, names: impl IntoIterator<Item = &'a str>) {
    let numbers = names.into_iter().filter_map(number);
    // No condition always holds.
    rules.extend(numbers.map(|number| (number, Vec::new())));
}

fn add(
    rules: &mut Rules,
    name: &str,
    conditions: Vec<SeccompCondition>,
) -> Result<(), FilterError> {
    if let Some(number) = number(name) {
        let rule = SeccompRule::new(conditions)?;
        match rules.entry(number) {
            Entry::Vacant(none) => drop(none.insert(vec![rule])),
            // Forbidden whatever its arguments are.
            Entry::Occupied(known) if known.get().is_empty() => {}
            Entry::Occupied(known) => known.into_mut().push(rule),
        }
    }
    Ok(())
}

/// Of all families of sockets tasks have three; the one that asks the kernel for addresses only
/// where there is a network. Pairs are of one.
fn sockets(
    rules: &mut Rules,
    network: Network,
    is_allowed: impl Fn(&&str) -> bool,
) -> Result<(), FilterError> {
    if is_allowed(&"socketpair") {
        let unix = u64::from(libc::AF_UNIX.cast_unsigned());
        let is_other = SeccompCondition::new(0, Dword, Ne, unix)?;
        add(rules, "socketpair", vec![is_other])?;
    }
    if !is_allowed(&"socket") {
        return Ok(());
    }
    let mut families = vec![libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];
    if network != Network::None {
        families.push(libc::AF_NETLINK);
    }
    let other =
        |family: &i32| SeccompCondition::new(0, Dword, Ne, u64::from(family.cast_unsigned()));
    let conditions: Result<_, _> = families.iter().map(other).collect();
    add(rules, "socket", conditions?)?;
    let routes = SeccompCondition::new(2, Dword, Ne, 0)?;
    let netlink = u64::from(libc::AF_NETLINK.cast_unsigned());
    add(
        rules,
        "socket",
        vec![SeccompCondition::new(0, Dword, Eq, netlink)?, routes],
    )
}

fn terminals(rules: &mut Rules) -> Result<(), FilterError> {
    for request in TERMINAL {
        add(
            rules,
            "ioctl",
            vec![SeccompCondition::new(1, Dword, Eq, request)?],
        )?;
    }
    Ok(())
}

/// Life after the supervisor's death.
fn deaths(rules: &mut Rules) -> Result<(), FilterError> {
    let death = u64::from(libc::PR_SET_PDEATHSIG.cast_unsigned());
    add(
        rules,
        "prctl",
        vec![SeccompCondition::new(0, Dword, Eq, death)?],
    )
}

/// Shared memory without a file: it stays when it is unmapped in part, and then nobody sees it.
fn shared_memory(
    rules: &mut Rules,
    memory: Memory,
    is_allowed: impl Fn(&&str) -> bool,
) -> Result<(), FilterError> {
    if memory == Memory::Kernel || !is_allowed(&"mmap") {
        return Ok(());
    }
    // Every kind of shared mapping has the lowest bit, no private one has.
    let both = u64::from((libc::MAP_SHARED | libc::MAP_ANONYMOUS).cast_unsigned());
    let is_shared = SeccompCondition::new(3, Dword, MaskedEq(both), both)?;
    add(rules, "mmap", vec![is_shared])
}

/// One filter that asks `first`, and `then` for what that allows.
///
/// The kernel would ask two as well. But to enter one costs a task far more than all instructions in
/// it: the kernel compiles it, and stops every processor to put it into its own code.
fn chain(first: Vec<u64>, then: Vec<u64>) -> Vec<u64> {
    let end = first.len();
    let first = first.into_iter().enumerate();
    let linked = first.map(|(at, one)| match one {
        // A jump over as many instructions.
        ALLOW => JUMP | (end - at - 1) as u64,
        one => one,
    });
    linked.chain(then).collect()
}

/// A filter that allows everything else.
fn forbid(rules: Rules, action: SeccompAction) -> Result<Vec<u64>, FilterError> {
    let numbers = rules.keys().copied().collect();
    glance::before(compile(rules, SeccompAction::Allow, action)?, numbers)
}

fn compile(
    rules: Rules,
    otherwise: SeccompAction,
    action: SeccompAction,
) -> Result<Vec<u64>, FilterError> {
    let processor = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, otherwise, action, processor)?;
    let program: BpfProgram = filter.try_into()?;
    let packed = program.iter().map(|one| {
        let jumps = u64::from(one.jt) << 40 | u64::from(one.jf) << 32;
        u64::from(one.code) << 48 | jumps | u64::from(one.k)
    });
    Ok(packed.collect())
}

#[cfg(test)]
mod tests {
    use super::clones::NEW_SPACES;
    use super::*;

    #[test]
    fn every_name_is_one_and_none_is_both_forbidden_and_ordinary() {
        // Some are of other processors only; most must be known here.
        let all = [DEPTHS, SPACES, ORDINARY];
        for names in all {
            let known = names.iter().filter(|name| number(name).is_some()).count();
            assert!(known * 10 >= names.len() * 9, "{known} of {}", names.len());
        }
        for name in DEPTHS.iter().chain(SPACES) {
            assert!(!ORDINARY.contains(name), "{name}");
        }
        assert_eq!(name(i32::try_from(libc::SYS_bpf).unwrap()), Some("bpf"));
    }

    #[test]
    fn a_profile_that_allows_all_has_no_filter_and_others_stay_short() {
        let none = filters(&Profile::process(), Memory::Kernel).unwrap();
        assert_eq!(none, Filters::default());
        for memory in [Memory::Kernel, Memory::Supervisor] {
            let strict = filters(&Profile::strict(), memory).unwrap();
            assert!(!strict.inherited.is_empty());
            // Each task enters these: the kernel compiles them.
            assert!(strict.own.len() < 140, "{} instructions", strict.own.len());
        }
        let list = Profile {
            syscalls: Syscalls::Allowlist,
            ..Profile::strict()
        };
        // The kernel takes no longer ones.
        let own = filters(&list, Memory::Supervisor).unwrap().own;
        assert!(own.len() < 4096, "{} instructions", own.len());
    }

    /// What a filter says to a call of this processor, by the instructions that ours are made of.
    fn run(filter: &[u64], call: &str, argument: u32) -> u32 {
        let number = number(call).unwrap();
        run_number(filter, u32::try_from(number).unwrap(), argument)
    }

    fn run_number(filter: &[u64], number: u32, argument: u32) -> u32 {
        let processor = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        run_on(processor, filter, number, argument)
    }

    fn run_on(processor: TargetArch, filter: &[u64], number: u32, argument: u32) -> u32 {
        let processor = u32::try_from(glance::audit(processor)).unwrap();
        let (mut held, mut at) = (0_u32, 0);
        loop {
            let [_, code, yes, no, operand @ ..] = filter[at].to_be_bytes();
            let operand = u32::from_be_bytes(operand);
            let decided = match code {
                0x06 => return operand,
                0x20 => {
                    held = match operand {
                        0 => number,
                        4 => processor,
                        // The lower half of each argument; the upper ones are zeroes here.
                        operand if operand % 8 == 0 => argument,
                        _ => 0,
                    };
                    None
                }
                0x54 => {
                    held &= operand;
                    None
                }
                0x05 => {
                    at += usize::try_from(operand).unwrap();
                    None
                }
                0x15 => Some(held == operand),
                0x45 => Some(held & operand != 0),
                0x25 => Some(held > operand),
                0x35 => Some(held >= operand),
                code => panic!("instruction {code:#x}"),
            };
            at += 1 + match decided {
                Some(true) => usize::from(yes),
                Some(false) => usize::from(no),
                None => 0,
            };
        }
    }

    #[test]
    fn what_one_filter_in_a_chain_allows_the_next_ones_are_asked_for() {
        const FAILS: u32 = libc::SECCOMP_RET_ERRNO;
        const ALLOWS: u32 = libc::SECCOMP_RET_ALLOW;
        let forbidden = FAILS | libc::EPERM.cast_unsigned();
        let missing = FAILS | libc::ENOSYS.cast_unsigned();
        for syscalls in [Syscalls::Denylist, Syscalls::Allowlist] {
            let profile = Profile {
                syscalls,
                deny_syscalls: ["clone3".into()].into(),
                ..Profile::strict()
            };
            let own = filters(&profile, Memory::Supervisor).unwrap().own;
            assert_eq!(run(&own, "clone3", 0), missing);
            assert_eq!(run(&own, "mount", 0), forbidden);
            assert_eq!(run(&own, "read", 0), ALLOWS);
            assert_eq!(run(&own, "clone", 0), ALLOWS);
            let thread = libc::CLONE_VM | libc::CLONE_THREAD | libc::SIGCHLD;
            assert_eq!(run(&own, "clone", thread.cast_unsigned()), ALLOWS);
            for space in NEW_SPACES {
                assert_eq!(run(&own, "clone", space.cast_unsigned()), forbidden);
            }
            let both = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            assert_eq!(run(&own, "mmap", both.cast_unsigned()), forbidden);
        }
        let list = Profile {
            syscalls: Syscalls::Allowlist,
            ..Profile::strict()
        };
        let own = filters(&list, Memory::Kernel).unwrap().own;
        assert_eq!(run(&own, "vhangup", 0), forbidden);
        let inherited = filters(&Profile::strict(), Memory::Kernel)
            .unwrap()
            .inherited;
        for filter in [own, inherited] {
            let packet = libc::AF_PACKET.cast_unsigned();
            let unix = libc::AF_UNIX.cast_unsigned();
            for call in ["socket", "socketpair"] {
                assert_eq!(run(&filter, call, packet), forbidden, "{call}");
                assert_eq!(run(&filter, call, unix), ALLOWS, "{call}");
            }
            let tipc = libc::AF_TIPC.cast_unsigned();
            assert_eq!(run(&filter, "socketpair", tipc), forbidden);
        }
    }

    #[test]
    fn a_look_before_a_filter_changes_nothing_but_what_it_knows_of_x32() {
        const X32: u32 = 0x4000_0000;
        let missing = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
        let forbidden = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
        let deny = |name: &str| Rules::from([(number(name).unwrap(), Vec::new())]);
        let mut rules: Rules = ["mount", "prctl", "clone", "bpf", "read"]
            .into_iter()
            .flat_map(deny)
            .collect();
        terminals(&mut rules).unwrap();
        let action = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        let bare = compile(rules.clone(), SeccompAction::Allow, action.clone()).unwrap();
        let looked = forbid(rules, action).unwrap();
        let requests = [0, u32::try_from(TERMINAL[0]).unwrap()];
        for number in 0..600 {
            for argument in requests {
                let (bare, looked) = (
                    run_number(&bare, number, argument),
                    run_number(&looked, number, argument),
                );
                assert_eq!(bare, looked, "{number}");
            }
        }
        assert_eq!(run(&looked, "mount", 0), forbidden);
        let others = [TargetArch::riscv64, TargetArch::aarch64, TargetArch::x86_64];
        let here = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        for other in others.into_iter().filter(|other| *other != here) {
            let killed = libc::SECCOMP_RET_KILL_PROCESS;
            assert_eq!(run_on(other, &looked, 0, 0), killed, "{other:?}");
        }
        if cfg!(target_arch = "x86_64") {
            for number in [X32, X32 + 165, X32 + 520, u32::MAX] {
                assert_eq!(run_number(&looked, number, 0), missing, "{number:#x}");
            }
        }
        for syscalls in [Syscalls::Denylist, Syscalls::All] {
            let profile = Profile {
                syscalls,
                deny_syscalls: ["mount".into()].into(),
                ..Profile::strict()
            };
            let Filters { inherited, own } = filters(&profile, Memory::Supervisor).unwrap();
            for filter in [inherited, own].iter().filter(|one| !one.is_empty()) {
                if cfg!(target_arch = "x86_64") {
                    assert_eq!(run_number(filter, X32 + 165, 0), missing);
                }
            }
        }
    }

    #[test]
    fn what_a_profile_forbids_altogether_is_not_allowed_in_part() {
        let forbidden = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
        let names = ["clone", "ioctl", "mmap", "prctl", "socket", "socketpair"];
        for syscalls in [Syscalls::Denylist, Syscalls::Allowlist, Syscalls::All] {
            let profile = Profile {
                syscalls,
                deny_syscalls: names.map(String::from).into(),
                ..Profile::strict()
            };
            for memory in [Memory::Kernel, Memory::Supervisor] {
                let own = filters(&profile, memory).unwrap().own;
                for name in names {
                    assert_eq!(run(&own, name, 0), forbidden, "{name} {syscalls:?}");
                    let unix = libc::AF_UNIX.cast_unsigned();
                    assert_eq!(run(&own, name, unix), forbidden, "{name} {syscalls:?}");
                }
                assert_eq!(run(&own, "read", 0), libc::SECCOMP_RET_ALLOW);
            }
        }
    }
}
