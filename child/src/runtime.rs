//! The life of a task process: ready, then job after job until the pipe ends.
//!
//! Runs on the process's only thread (tasks may start more), unless the supervisor makes it a group. Whatever a job does short of
//! ending the process, it gets exactly one answer.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::thread;

use bulkhead_shared::codec::{self, FrameError};
use bulkhead_shared::frame::{FromTask, Group, Run, ToTask, hello};

use crate::context::Stop;
use crate::desk::Desk;
use crate::group::{Crew, Dispatch};
use crate::inbox::{Inbox, InboxError};
use crate::outbox::Outbox;
use crate::registry::Registry;
use crate::usage::Meter;
use crate::{call, durable, group, panics, process, program};

/// The exit code of a process that was started in a wrong way.
const EXIT_USAGE: i32 = 2;

/// The exit code of a process that did not understand what it was sent (as in sysexits.h).
const EXIT_PROTOCOL: i32 = 65;

#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("pipe broke: {0}")]
    Pipe(#[from] io::Error),
    #[error(transparent)]
    Inbox(#[from] InboxError),
    #[error("frame to be sent: {0}")]
    Frame(#[from] FrameError),
}

/// What comes before [`serve`], once in a zygote or in a program that is a task process itself.
/// What a process only reads it shares with its zygote; each page that it writes to is copied.
pub(crate) fn prepare() {
    process::route_backtraces();
    panics::record();
    // For what the first call of each leaves behind.
    let _ = panics::catch(|| Ok(()));
    process::flush_output();
    durable::prepare();
    process::gather_free_memory();
}

/// Where a process comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin {
    /// It was executed.
    Executed,
    /// It is a copy of a zygote that handles crashes, and has its pipes in place.
    Forked {
        /// To how much memory it is limited already, in bytes.
        memory: Option<u64>,
    },
}

impl Origin {
    fn take_pipes(self) -> io::Result<(File, File)> {
        match self {
            Self::Executed => process::handle_signals().and_then(|()| process::pipes()),
            Self::Forked { .. } => process::handle_term().map(|()| process::placed_pipes()),
        }
    }

    const fn memory(self) -> Option<u64> {
        match self {
            Self::Executed => None,
            Self::Forked { memory } => memory,
        }
    }
}

/// Serves jobs from descriptor 3 to descriptor 4 until the pipe ends or `jobs` are done (0: no
/// limit), and returns the code to exit with. Call it once in a process.
pub(crate) fn serve(registry: &Registry, jobs: u32, origin: Origin) -> i32 {
    let pipes = match origin.take_pipes() {
        Ok(pipes) => pipes,
        Err(error) => {
            complain(&format!("descriptors 3 and 4 must be pipes: {error}"));
            return EXIT_USAGE;
        }
    };
    let meter = match jobs {
        1 => Meter::of_one_job(),
        _ => Meter::of_many_jobs(),
    };
    // Its pipes close when the process ends, a moment later.
    let mut server = ManuallyDrop::new(Server::new(registry, pipes, meter, origin.memory()));
    let is_forked = matches!(origin, Origin::Forked { .. });
    let code = match server.run(jobs, is_forked) {
        Ok(()) => 0,
        // The supervisor is gone, or wants nothing more of this process.
        Err(ServeError::Pipe(error) | ServeError::Inbox(InboxError::Pipe(error)))
            if error.kind() == io::ErrorKind::BrokenPipe =>
        {
            0
        }
        Err(error) => {
            complain(&error.to_string());
            EXIT_PROTOCOL
        }
    };
    process::flush_output();
    code
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "bulkhead child: {text}");
}

struct Server<'a> {
    registry: &'a Registry,
    inbox: Inbox,
    outbox: Outbox,
    meter: Meter,
    /// To how much memory this process is limited, in bytes, as far as it is known.
    memory: Option<u64>,
}

impl<'a> Server<'a> {
    fn new(
        registry: &'a Registry,
        (jobs, results): (File, File),
        meter: Meter,
        memory: Option<u64>,
    ) -> Self {
        Self {
            registry,
            inbox: Inbox::new(jobs),
            outbox: Outbox::new(results),
            meter,
            memory,
        }
    }

    fn run(&mut self, jobs: u32, is_forked: bool) -> Result<(), ServeError> {
        let mut words = hello().to_vec();
        words.extend(codec::encode(&FromTask::Ready)?);
        // Who has sent the first job already waits for no word of this.
        let has_job = is_forked && self.inbox.has_input().unwrap_or(false);
        if !has_job {
            self.outbox.raw(&words)?;
        }
        let mut served = 0;
        while jobs == 0 || served < jobs {
            let run = match self.inbox.receive()? {
                Some(ToTask::Run(run)) => run,
                Some(ToTask::Group(group)) => {
                    if has_job {
                        self.outbox.raw(&words)?;
                    }
                    return self.become_group(group);
                }
                // Nothing runs while this thread reads.
                Some(_) => continue,
                None => return Ok(()),
            };
            self.answer(&run)?;
            served += 1;
            if process::is_stopping() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Serves several jobs at once to the end of the pipe.
    fn become_group(&self, group: Group) -> Result<(), ServeError> {
        let crew = Crew::new(self.registry.clone(), self.desk());
        let mut dispatch = Dispatch::new(Arc::clone(&crew), &group);
        let main = dispatch.main();
        self.inbox.is_read_from_now_on();
        thread::scope(|scope| {
            let read = || {
                let mut end = Ok(());
                loop {
                    match self.inbox.receive() {
                        Ok(Some(message)) => dispatch.take(message),
                        Ok(None) => break,
                        Err(error) => {
                            end = Err(error.into());
                            break;
                        }
                    }
                }
                dispatch.main().close();
                end
            };
            let reader = thread::Builder::new()
                .name("reader".into())
                .spawn_scoped(scope, read)?;
            group::serve_main(&crew, &main);
            reader.join().unwrap_or(Ok(()))
        })
    }

    fn desk(&self) -> Desk {
        Desk::new(self.outbox.clone(), self.inbox.clone())
    }

    /// Limits this process for a job, and all that come after it.
    fn limit(&mut self, memory: Option<u64>, others: &[(u32, u64, u64)]) -> io::Result<()> {
        let is_lower = memory.is_some() && memory != self.memory;
        process::limit(memory.filter(|_| is_lower), others)?;
        if is_lower {
            self.memory = memory;
        }
        Ok(())
    }

    fn answer(&mut self, run: &Run) -> Result<(), ServeError> {
        let start = self.meter.start();
        process::set_call(Some(run.nonce));
        let extras = self.inbox.extras(run.nonce);
        let ended = match self.limit(run.memory, &extras.limits) {
            Ok(()) if extras.command.is_some() => program::call(run, &extras).into(),
            Ok(()) => call::now(self.registry, run, &self.desk(), Stop::default()),
            Err(error) => {
                let text = format!("the job's own limits: {error}");
                call::failure("sandbox", text, false).into()
            }
        };
        self.inbox.end_call(run.nonce);
        process::flush_output();
        let usage = self.meter.stop(start);
        self.outbox
            .finish(run.nonce, &call::done(run.nonce, ended, usage))?;
        // Not before: to write a large result takes memory, too.
        process::set_call(None);
        Ok(())
    }
}
