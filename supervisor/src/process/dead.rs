//! What supervisors of this machine have left that are dead: processes, cgroups, directories.

use std::io;
use std::path::Path;

use super::limits::Controllers;
use super::{cgroup, home, limits};

/// Ends and removes all of it; how many of the dead have left something that cannot be removed
/// yet, as the zygote of one that died just now may still start a process. `below` is where
/// supervisors make their cgroups.
///
/// # Errors
/// When the place of all runs cannot be used.
pub(crate) fn clear_up(
    below: Option<&Path>,
    controllers: Option<&Controllers>,
) -> io::Result<usize> {
    home::clear_dead_runs(|dead| {
        let is_gone = below.is_none_or(|below| cgroup::clear_after(below, dead));
        // What lived in them lived in the others as well, or in a pid namespace.
        limits::clear_after(controllers, dead);
        is_gone
    })
}
