//! What supervisors of this machine have left that are dead: processes, cgroups, directories.

use std::io;
use std::path::Path;

use super::{cgroup, home};

/// Ends and removes all of it; how many of the dead have left something that cannot be removed
/// yet, as the zygote of one that died just now may still start a process. `below` is where
/// supervisors make their cgroups.
///
/// # Errors
/// When the place of all runs cannot be used.
pub(crate) fn clear_up(below: Option<&Path>) -> io::Result<usize> {
    home::clear_dead_runs(|dead| below.is_none_or(|below| cgroup::clear_after(below, dead)))
}
