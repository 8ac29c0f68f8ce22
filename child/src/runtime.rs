//! The life of a task process: ready, then job after job until the pipe ends.
//!
//! Runs on the process's only thread (tasks may start more), unless the supervisor makes it a group. Whatever a job does short of
//! ending the process, it gets exactly one answer.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

use bulkhead_shared::codec::{self, Assembler, FrameError};
use bulkhead_shared::frame::{FromTask, Group, Run, ToTask, hello};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::context::Stop;
use crate::group::{Crew, Dispatch};
use crate::outbox::Outbox;
use crate::registry::Registry;
use crate::usage::Meter;
use crate::{call, group, panics, process};

/// What is read at once: most frames. Each page more is a page fault in a fresh process.
const READ_SIZE: usize = 2 << 10;

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
    let _ = panics::catch(|| Ok(()));
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
    is_group: bool,
}

impl<'a> Server<'a> {
    fn new(registry: &'a Registry, (jobs, results): (File, File), meter: Meter) -> Self {
        Self {
            registry,
            jobs,
            frames: Assembler::up_to(codec::RUN_LIMIT),
            outbox: Outbox::new(results),
            meter,
            is_group: false,
        }
    }

    fn run(&mut self, jobs: u32) -> Result<(), ServeError> {
        let mut opening = hello().to_vec();
        opening.extend(codec::encode(&FromTask::Ready)?);
        self.outbox.raw(&opening)?;
        let mut served = 0;
        while jobs == 0 || served < jobs {
            let run = match self.receive()? {
                Some(ToTask::Run(run)) => run,
                Some(ToTask::Group(group)) => return self.become_group(group),
                // Nothing runs while this thread reads.
                Some(ToTask::Stop { .. }) => continue,
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
                    // A group goes on: each of its calls sees the request to stop for itself.
                    let is_over = is_between && process::is_stopping() && !self.is_group;
                    if is_over && !self.has_input() {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Serves several jobs at once to the end of the pipe.
    fn become_group(&mut self, group: Group) -> Result<(), ServeError> {
        let crew = Crew::new(self.registry.clone(), self.outbox.clone());
        let mut dispatch = Dispatch::new(Arc::clone(&crew), &group);
        let main = dispatch.main();
        self.is_group = true;
        thread::scope(|scope| {
            let read = || {
                let mut end = Ok(());
                loop {
                    match self.receive() {
                        Ok(Some(message)) => dispatch.take(message),
                        Ok(None) => break,
                        Err(error) => {
                            end = Err(error);
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

    fn has_input(&self) -> bool {
        let mut fds = [PollFd::new(self.jobs.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    fn answer(&mut self, run: &Run) -> Result<(), ServeError> {
        let start = self.meter.start();
        process::set_call(Some(run.nonce));
        let ended = match run.memory.map_or(Ok(()), process::limit_memory) {
            Ok(()) => call::now(self.registry, run, &self.outbox, Stop::default()),
            Err(error) => {
                let text = format!("memory limit: {error}");
                call::failure("sandbox", text, false).into()
            }
        };
        process::flush_output();
        let usage = self.meter.stop(start);
        self.outbox
            .finish(run.nonce, &call::done(run.nonce, ended, usage))?;
        // Not before: to write a large result takes memory, too.
        process::set_call(None);
        Ok(())
    }
}
