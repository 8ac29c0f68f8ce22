//! The seam to the engine: runs tasks until it is told to stop.

use crate::config::RunConfig;
use crate::exit::Exit;

/// Why the engine could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum EngineError {
    /// There is no engine yet.
    #[error("the engine is not built")]
    NotBuilt,
}

impl EngineError {
    /// The exit code it ends the supervisor with.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::NotBuilt => Exit::Internal,
        }
    }
}

/// Runs until drained.
pub(crate) fn run(config: RunConfig) -> Result<Exit, EngineError> {
    drop(config);
    Err(EngineError::NotBuilt)
}
