//! The life of a task process: ready, then job after job until the pipe ends.
//!
//! Runs on the process's only thread (tasks may start more). Whatever a job does short of
//! ending the process, it gets exactly one answer.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use bulkhead_shared::codec::{self, Assembler, FrameError};
use bulkhead_shared::frame::{Answer, Declined, Failure, FromTask, Run, ToTask, hello};
use bulkhead_shared::message::Header;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_bytes::ByteBuf;

use crate::answer::Reply;
use crate::context::{Context, now};
use crate::outbox::Outbox;
use crate::registry::{Definition, Registry};
use crate::usage::Meter;
use crate::{hooks, panics, process};

/// What is read at once: most frames. Each page more is a page fault in a fresh process.
const READ_SIZE: usize = 2 << 10;

/// Longest text and traceback of a failure, in bytes: they are stored with the verdict.
const TEXT_LIMIT: usize = 64 << 10;

/// The exit code of a process that was started in a wrong way.
const EXIT_USAGE: i32 = 2;

/// The exit code of a process that did not understand what it was sent (as in sysexits.h).
const EXIT_PROTOCOL: i32 = 65;

#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("pipe broke: {0}")]
    Pipe(#[from] io::Error),
    #[error("job pipe: {0}")]
    Frame(#[from] FrameError),
    #[error("job pipe ends inside a frame")]
    Cut,
}

/// What comes before [`serve`], once in a zygote or in a program that is a task process itself.
/// What a process only reads it shares with its zygote; each page that it writes to is copied.
pub(crate) fn prepare() {
    process::route_backtraces();
    panics::record();
    // For what the first call of each leaves behind.
    let _ = panics::catch(|| Ok(Vec::new()));
    process::flush_output();
    process::gather_free_memory();
}

/// Serves jobs from descriptor 3 to descriptor 4 until the pipe ends or `jobs` are done (0: no
/// limit), and returns the code to exit with. Call it once in a process.
pub(crate) fn serve(registry: &Registry, jobs: u32) -> i32 {
    let pipes = match process::handle_signals().and_then(|()| process::pipes()) {
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
    let code = match Server::new(registry, pipes, meter).run(jobs) {
        Ok(()) => 0,
        // The supervisor is gone, or wants nothing more of this process.
        Err(ServeError::Pipe(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
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
    jobs: File,
    frames: Assembler,
    outbox: Outbox,
    meter: Meter,
}

impl<'a> Server<'a> {
    fn new(registry: &'a Registry, (jobs, results): (File, File), meter: Meter) -> Self {
        Self {
            registry,
            jobs,
            frames: Assembler::up_to(codec::RUN_LIMIT),
            outbox: Outbox::new(results),
            meter,
        }
    }

    fn run(&mut self, jobs: u32) -> Result<(), ServeError> {
        let mut opening = hello().to_vec();
        opening.extend(codec::encode(&FromTask::Ready)?);
        self.outbox.raw(&opening)?;
        let mut served = 0;
        while jobs == 0 || served < jobs {
            let Some(ToTask::Run(run)) = self.receive()? else {
                return Ok(());
            };
            self.answer(&run)?;
            served += 1;
            if process::is_stopping() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next message; `None` at the end, which is also a SIGTERM that finds no job.
    fn receive(&mut self) -> Result<Option<ToTask>, ServeError> {
        let mut buffer = [0; READ_SIZE];
        loop {
            if let Some(message) = self.frames.next_frame()? {
                return Ok(Some(message));
            }
            let is_between = self.frames.pending() == 0;
            match self.jobs.read(&mut buffer) {
                Ok(0) if is_between => return Ok(None),
                Ok(0) => return Err(ServeError::Cut),
                Ok(len) => self.frames.push(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    // A job that is there already was sent before the stop: it gets its answer.
                    if is_between && process::is_stopping() && !self.has_input() {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn has_input(&self) -> bool {
        let mut fds = [PollFd::new(self.jobs.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    fn answer(&mut self, run: &Run) -> Result<(), ServeError> {
        let start = self.meter.start();
        process::set_call(Some(run.nonce));
        let (reply, declined) = self.call(run);
        process::flush_output();
        if let Some(what) = declined {
            let nonce = run.nonce;
            self.outbox.send(&FromTask::Declined { nonce, what })?;
        }
        let done = FromTask::Done {
            nonce: run.nonce,
            answer: match reply {
                Ok(bytes) => Answer::Returned(ByteBuf::from(bytes)),
                Err(failure) => Answer::Failed(shortened(failure)),
            },
            usage: self.meter.stop(start),
        };
        self.outbox.finish(&done)?;
        // Not before: to write a large result takes memory, too.
        process::set_call(None);
        Ok(())
    }

    /// Runs a job, and asks its task what shall not follow.
    fn call(&self, run: &Run) -> (Reply, Option<Declined>) {
        let (definition, context) = match self.prepare(run) {
            Ok(prepared) => prepared,
            Err(failure) => return (Err(failure), None),
        };
        let reply = hooks::call(definition, &context, &run.payload);
        let declined = hooks::declined(&definition.hooks, &context, &reply);
        (reply, declined)
    }

    fn prepare(&self, run: &Run) -> Result<(&'static Definition, Context), Failure> {
        if let Some(bytes) = run.memory {
            process::limit_memory(bytes)
                .map_err(|error| failure("sandbox", format!("memory limit: {error}"), false))?;
        }
        let Some(task) = self.registry.find(&run.task) else {
            let text = format!("task `{}` is unknown to this child", run.task);
            return Err(failure("unknown-task", text, true));
        };
        let header: Header = serde_json::from_slice(&run.header)
            .map_err(|error| failure("header", format!("message header: {error}"), true))?;
        let (_, previous) = header.split(&run.payload);
        let previous = previous.map(<[u8]>::to_vec);
        let context = Context::new(run, header.clone(), now(), self.outbox.clone());
        Ok((task.definition(), context.with_previous(previous)))
    }
}

fn failure(name: &str, text: String, is_final: bool) -> Failure {
    Failure {
        name: name.into(),
        text,
        traceback: None,
        is_final,
    }
}

fn shortened(mut failure: Failure) -> Failure {
    for text in [Some(&mut failure.text), failure.traceback.as_mut()]
        .into_iter()
        .flatten()
    {
        if text.len() > TEXT_LIMIT {
            text.truncate(text.floor_char_boundary(TEXT_LIMIT));
            text.push_str("... (cut)");
        }
    }
    failure
}
