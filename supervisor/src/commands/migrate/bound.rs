//! Which target the jobs of the source are on their way to. Until none is, they go to no other: what
//! this one has received and not admitted yet would be admitted some day, and run twice.

use bulkhead_shared::checkpoint::{Keep, Kept};
use bulkhead_shared::name::CheckpointName;

use super::stores::Stores;
use crate::commands::CommandError;

/// The checkpoint of the source that says so.
const NOTE: &str = "bulkhead.migrate";

/// Has the source keep where its jobs go, before the first is sent off. Refuses if some are on their
/// way to another target, or may be soon.
pub(super) fn bind(stores: &Stores) -> Result<(), CommandError> {
    let (source, name) = (&stores.source, name()?);
    let to = stores.target.catalog.place();
    let known = source.checkpoints.checkpoint(&name)?;
    let is_ours = |known: &Kept| known.body == to.as_bytes();
    if let Some(other) = known.as_ref().filter(|known| !is_ours(known)) {
        refuse_beside(stores, &String::from_utf8_lossy(&other.body))?;
    }
    let version = known.map_or(0, |known| known.version);
    // Also if it says so already: whoever has read it before this, and goes elsewhere, comes too late.
    match source.checkpoints.keep(&name, version, to.as_bytes())? {
        Keep::Written { .. } => Ok(()),
        Keep::Stale if source.checkpoints.checkpoint(&name)?.is_some_and(|new| is_ours(&new)) => {
            Ok(())
        }
        Keep::Stale => Err(CommandError::Refused(
            "somebody else begins to move these jobs at this moment (let that end, then repeat the \
             command)"
                .into(),
        )),
        Keep::Full => Err(CommandError::Refused(format!(
            "the source has no room for the checkpoint `{name}`, which says where its jobs go \
             (remove a checkpoint that nobody needs, then repeat the command)"
        ))),
    }
}

/// Refuses if the move to another target, `other`, is not over.
fn refuse_beside(stores: &Stores, other: &str) -> Result<(), CommandError> {
    let leaving = stores.source.transit.underway()?.leaving;
    if leaving > 0 {
        return Err(CommandError::Refused(format!(
            "another move was interrupted: {leaving} jobs of the source are on their way to `{other}` \
             (finish the move to that store first: repeat its command, which makes the store anew if it \
             is lost)"
        )));
    }
    // Between two of its pages nothing is on its way.
    if stores.is_moved_by_others()? {
        return Err(CommandError::Refused(format!(
            "another move goes on, which takes the source's jobs to `{other}` (let that end, then \
             repeat the command; `supervisor fleet` lists it)"
        )));
    }
    Ok(())
}

/// Nothing is on its way any more.
pub(super) fn unbind(stores: &Stores) -> Result<(), CommandError> {
    stores.source.checkpoints.forget_checkpoint(&name()?)?;
    Ok(())
}

fn name() -> Result<CheckpointName, CommandError> {
    CheckpointName::new(NOTE).map_err(|error| CommandError::Input(error.to_string()))
}
