//! What supervisors of this machine have left that are dead: processes, cgroups, directories.

use std::io;
use std::path::Path;

use super::{cgroup, home};

/// Ends and removes all of it. `below` is where supervisors make their cgroups.
///
/// # Errors
/// When the place of all runs cannot be used. What cannot be removed stays for the next time.
pub(crate) fn clear_up(below: Option<&Path>) -> io::Result<()> {
    home::clear_dead_runs(|dead| below.is_none_or(|below| cgroup::clear_after(below, dead)))
}
