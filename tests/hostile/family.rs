//! An honest task that has many processes.

use std::process::Command;

use bulkhead_child::anyhow;
use bulkhead_child::task;
use nix::sys::wait::waitpid;
use nix::unistd::ForkResult;

use crate::sys;

/// Processes of a generation.
const CHILDREN: usize = 6;

/// Fills `mebibytes` of memory which all its processes share, as they are forked from it; each takes
/// one MiB of its own. Runs a program beside them. How many there were.
#[task]
pub(crate) fn family(generations: usize, mebibytes: usize) -> anyhow::Result<usize> {
    let common = std::hint::black_box(vec![1_u8; mebibytes << 20]);
    let mut count = 0;
    for _ in 0..generations {
        let mut children = Vec::new();
        for _ in 0..CHILDREN {
            match sys::fork()? {
                ForkResult::Parent { child } => children.push(child),
                ForkResult::Child => {
                    let own = std::hint::black_box(vec![1_u8; 1 << 20]);
                    std::hint::black_box(
                        common
                            .iter()
                            .chain(&own)
                            .map(|&n| u64::from(n))
                            .sum::<u64>(),
                    );
                    sys::leave()
                }
            }
        }
        anyhow::ensure!(Command::new("/usr/bin/true").status()?.success());
        for child in children {
            waitpid(child, None)?;
            count += 1;
        }
    }
    Ok(count)
}
