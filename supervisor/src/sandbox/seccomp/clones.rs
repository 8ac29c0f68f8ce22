//! What tasks may not do when they make processes.

use seccompiler::SeccompAction;

use super::glance::{ALLOW, ANY_OF, ELSE_OVER, END, EQUAL, LOAD_FIRST, LOAD_NUMBER, MISSING};
use super::number;

/// Flags of `clone` that make namespaces.
pub(super) const NEW_SPACES: [i32; 8] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
    0x80, // CLONE_NEWTIME
];

/// No `clone3`, whose flags lie in memory, where no filter looks: libraries that hear that it is missing
/// take `clone`. And no new namespaces by that one. For behind a filter that has looked at the processor.
///
/// It is written here since rules know no "one of these bits": one for each flag would be half of all
/// that a task enters.
pub(super) fn clones(action: SeccompAction) -> Vec<u64> {
    let (Some(clone3), Some(clone)) = (number("clone3"), number("clone")) else {
        return vec![ALLOW];
    };
    let flags = NEW_SPACES.into_iter().fold(0, |all, flag| all | flag);
    vec![
        LOAD_NUMBER,
        EQUAL | ELSE_OVER | clone3.unsigned_abs(),
        MISSING,
        EQUAL | (ELSE_OVER * 3) | clone.unsigned_abs(),
        LOAD_FIRST,
        ANY_OF | ELSE_OVER | u64::from(flags.cast_unsigned()),
        END | u64::from(u32::from(action)),
        ALLOW,
    ]
}
