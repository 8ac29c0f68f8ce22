//! A short look before a long filter. The kernel runs a filter for every number there is when a
//! process enters it, to remember which calls are always allowed, and what most of them pass is the
//! whole list of those that are not. So a few instructions come first that allow whatever lies between
//! the numbers the filter is about.
//!
//! They also refuse the numbers of x32, a second set for the same processor that hardly a kernel has:
//! a list of what is forbidden does not know them.

use seccompiler::TargetArch;

use super::FilterError;

/// The instruction that allows a call.
pub(super) const ALLOW: u64 = 0x0006_0000_7fff_0000;

/// The instruction that goes on further below.
pub(super) const JUMP: u64 = 0x0005_0000_0000_0000;

/// The instruction that answers a call with what is added.
pub(super) const END: u64 = 0x0006_0000_0000_0000;

/// The instruction that says that there is no such call.
pub(super) const MISSING: u64 = END | 0x0005_0000 | libc::ENOSYS as u64;

/// The instructions that load what a call is of, its number, and its first argument's lower half.
const LOAD_PROCESSOR: u64 = 0x0020_0000_0000_0004;
pub(super) const LOAD_NUMBER: u64 = 0x0020_0000_0000_0000;
pub(super) const LOAD_FIRST: u64 = 0x0020_0000_0000_0010;

/// The instructions that compare; what is added is passed over if it is not so.
pub(super) const ELSE_OVER: u64 = 1 << 32;
pub(super) const EQUAL: u64 = 0x0015_0000_0000_0000;
pub(super) const ANY_OF: u64 = 0x0045_0000_0000_0000;
const GREATER: u64 = 0x0025_0000_0000_0000;
const AT_LEAST: u64 = 0x0035_0000_0000_0000;

/// Numbers of x32 begin here, on x86-64.
const X32: u64 = 0x4000_0000;

/// Numbers that lie no farther apart are looked at as one range; or farther, where there would be too
/// many ranges: a comparison goes on at most 255 instructions further below.
const APART: u64 = 4;
const RANGES: usize = 48;

/// How the kernel names a processor (`linux/audit.h`).
pub(super) const fn audit(processor: TargetArch) -> u64 {
    match processor {
        TargetArch::x86_64 => 0xC000_003E,
        TargetArch::aarch64 => 0xC000_00B7,
        TargetArch::riscv64 => 0xC000_00F3,
    }
}

/// Where a comparison goes on.
#[derive(Debug, Clone, Copy)]
enum To {
    Next,
    Allow,
    Missing,
    Filter,
}

/// A look before `filter`, which allows all but `numbers`.
pub(super) fn before(filter: Vec<u64>, numbers: Vec<i64>) -> Result<Vec<u64>, FilterError> {
    let processor = TargetArch::try_from(std::env::consts::ARCH)?;
    let mut look = vec![(EQUAL | audit(processor), To::Next, To::Filter)];
    for (first, last) in ranges(numbers) {
        look.push((AT_LEAST | first, To::Next, To::Allow));
        look.push((GREATER | last, To::Next, To::Filter));
    }
    if matches!(processor, TargetArch::x86_64) {
        look.push((AT_LEAST | X32, To::Missing, To::Allow));
    }
    // Two loads come with them, and two ends.
    let allow = look.len() + 2;
    let mut all = vec![LOAD_PROCESSOR];
    for (compare, yes, no) in look {
        let behind = all.len() + 1;
        let over = |to| match to {
            To::Next => 0,
            To::Allow => allow - behind,
            To::Missing => allow + 1 - behind,
            To::Filter => allow + 2 - behind,
        };
        all.push(compare | (over(yes) as u64) << 40 | (over(no) as u64) << 32);
        if all.len() == 2 {
            all.push(LOAD_NUMBER);
        }
    }
    all.extend([ALLOW, MISSING]);
    all.extend(filter);
    Ok(all)
}

/// Ranges, from the lowest, that hold all of these, and little else.
fn ranges(mut numbers: Vec<i64>) -> Vec<(u64, u64)> {
    numbers.sort_unstable();
    let apart = std::iter::successors(Some(APART), |apart| Some(apart * 2));
    let mut found = apart.map(|apart| ranges_of(&numbers, apart));
    found.find(|some| some.len() <= RANGES).unwrap_or_default()
}

fn ranges_of(numbers: &[i64], apart: u64) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for &number in numbers {
        let number = number.unsigned_abs();
        match ranges.last_mut() {
            Some((_, last)) if number <= *last + apart => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_close_make_one_range() {
        assert_eq!(ranges(vec![]), []);
        assert_eq!(
            ranges(vec![9, 2, 6, 20, 20, 25]),
            [(2, 9), (20, 20), (25, 25)]
        );
    }

    #[test]
    fn a_look_is_short_however_many_numbers_there_are() {
        for (step, count) in [(10, 30), (6, 500), (1000, 500), (1, 500)] {
            let numbers: Vec<i64> = (0..count).map(|n| n * step).collect();
            let ranges = ranges(numbers.clone());
            let holds = |n: &i64| {
                let n = n.unsigned_abs();
                ranges
                    .iter()
                    .any(|&(first, last)| (first..=last).contains(&n))
            };
            assert!(numbers.iter().all(holds), "{step}");
            let looked = before(vec![MISSING], numbers).unwrap();
            assert!(looked.len() < 110, "{}", looked.len());
        }
    }
}
