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
    let RunConfig {
        processes: _processes,
        child: _child,
        queues: _queues,
        tasks: _tasks,
        tasks_per_process: _tasks_per_process,
        spawn: _spawn,
        sandbox: _sandbox,
        task_user: _task_user,
        memory: _memory,
        env: _env,
        cwd: _cwd,
        patience: _patience,
        grace: _grace,
        lease: _lease,
        unknown_after: _unknown_after,
        burst: _burst,
        task_output: _task_output,
        log_format: _log_format,
        log_level: _log_level,
        store: _store,
        without: _without,
        fault: _fault,
    } = config;
    Err(EngineError::NotBuilt)
}
