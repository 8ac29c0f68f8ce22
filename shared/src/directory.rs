//! Directories that hold what jobs and their progress depend on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::broker::BrokerError;

/// Directories in which only the owner of a file may remove it.
const STICKY: u32 = 0o1000;

/// Who can write to a directory can replace what is in it, and so run jobs as us.
pub(crate) fn check_directory(
    dir: &Path,
    group_access: bool,
    whose: &str,
) -> Result<(), BrokerError> {
    let uid = nix::unistd::geteuid().as_raw();
    for (depth, ancestor) in dir.ancestors().enumerate() {
        let found = fs::metadata(ancestor).map_err(|error| {
            refused(
                format!("cannot look at `{}`: {error}", ancestor.display()),
                "name another path",
            )
        })?;
        let mode = found.mode();
        let forbidden = if depth > 0 && mode & STICKY != 0 {
            0
        } else if depth > 0 || group_access {
            0o002
        } else {
            0o022
        };
        // Root may work in a user's directory, as in a container with a mounted volume.
        let stranger = uid != 0 && found.uid() != uid && found.uid() != 0 && !group_access;
        if mode & forbidden != 0 || stranger {
            return Err(refused(
                format!(
                    "others can write to the directory `{}` of {whose}",
                    ancestor.display()
                ),
                "use a directory of your own, such as one made with `mkdir -m 700`",
            ));
        }
    }
    Ok(())
}

fn refused(reason: String, way_out: &str) -> BrokerError {
    BrokerError::Refused {
        reason,
        way_out: way_out.into(),
    }
}
