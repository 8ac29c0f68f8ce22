//! What a message's own limits come to under a profile on this host. Pure.

#![forbid(unsafe_code)]

use bulkhead_shared::limits::Limits;

use super::plan::{Plan, consumption};

/// Who counts the processes of one task by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Headcount {
    /// Its cgroup.
    Cgroup,
    /// The kernel, as those of its own user.
    User,
    /// Nobody: it shares a user with others.
    Nobody,
}

impl Plan {
    /// Those of `asked` that are lower than the profile's: the others change nothing.
    ///
    /// # Errors
    /// One that nothing on this host could keep.
    pub(crate) fn lowered(&self, asked: Limits) -> Result<Limits, String> {
        let lowered = asked.below(self.limits);
        match (lowered.processes, self.headcount) {
            (Some(most), Headcount::Nobody) => Err(format!(
                "the message limits its processes to {most}, and under the profile `{}` nothing \
                 counts them on this host: its tasks share a user, and have no cgroup with the \
                 controller `pids` (leave `processes` out, or use a profile in which tasks have \
                 users of their own, or limits by cgroup: `supervisor sandbox probe` tells)",
                self.profile
            )),
            _ => Ok(lowered),
        }
    }

    /// What a process is told of such limits: number as in `setrlimit`, soft, hard.
    pub(crate) fn rlimits(&self, lowered: &Limits) -> Vec<(u32, u64, u64)> {
        let both = |resource, most: Option<u64>| most.map(|most| (resource, most, most));
        let processes = lowered
            .processes
            .filter(|_| self.headcount == Headcount::User);
        consumption(lowered)
            .chain(both(libc::RLIMIT_NPROC, processes))
            .chain(both(libc::RLIMIT_NOFILE, lowered.open_files))
            .collect()
    }
}
