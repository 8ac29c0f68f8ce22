//! Which target the jobs of the source are on their way to. Until none is, they go to no other: what
//! this one has received and not admitted yet would be admitted some day, and run twice.

use bulkhead_shared::checkpoint::Keep;
use bulkhead_shared::name::CheckpointName;

use super::stores::Stores;
use crate::commands::CommandError;

/// The checkpoint of the source that says so.
const NOTE: &str = "bulkhead.migrate";

/// Has the source keep where its jobs go, before the first is sent off. Refuses if some are on their
/// way to another target.
pub(super) fn bind(stores: &Stores) -> Result<(), CommandError> {
    let (source, name) = (&stores.source, name()?);
    let to = stores.target.catalog.place();
    let known = source.checkpoints.checkpoint(&name)?;
    if known
        .as_ref()
        .is_some_and(|known| known.body == to.as_bytes())
    {
        return Ok(());
    }
    let leaving = source.transit.underway()?.leaving;
    if let Some(known) = &known
        && leaving > 0
    {
        return Err(CommandError::Refused(format!(
            "another move was interrupted: {leaving} jobs of the source are on their way to `{}` \
             (finish the move to that store first: repeat its command)",
            String::from_utf8_lossy(&known.body)
        )));
    }
    let version = known.map_or(0, |known| known.version);
    match source.checkpoints.keep(&name, version, to.as_bytes())? {
        Keep::Written { .. } => Ok(()),
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

/// Nothing is on its way any more.
pub(super) fn unbind(stores: &Stores) -> Result<(), CommandError> {
    stores.source.checkpoints.forget_checkpoint(&name()?)?;
    Ok(())
}

fn name() -> Result<CheckpointName, CommandError> {
    CheckpointName::new(NOTE).map_err(|error| CommandError::Input(error.to_string()))
}
