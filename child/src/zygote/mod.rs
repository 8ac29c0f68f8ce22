//! Executed once by the supervisor, sandboxed once, then asked again and again for a fresh task
//! process.
//!
//! Single-threaded for ever: a second thread's locks would be copied in whatever state they are.
//! Holds no secret: every task process is a copy of it.

mod control;
mod home;
mod init;
mod leavings;
mod prepare;
mod rehearsal;
mod task;
mod walls;
mod warden;

use std::borrow::Cow;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use bulkhead_shared::codec;
use bulkhead_shared::frame::{self, FromZygote, ToZygote};
use bulkhead_shared::task::TaskSpec;
use serde_bytes::ByteBuf;

use crate::registry::Registry;
use crate::sys::{self, Forked, Received};
use crate::{process, runtime};
use control::Control;
use prepare::Prepared;
use rehearsal::{Lesson, Stage};

/// Largest request for a fork: some numbers and a path.
const REQUEST: usize = 1 << 10;

/// What was being done when something failed.
#[derive(Debug)]
pub(crate) struct Failed {
    /// In words.
    pub step: Cow<'static, str>,
    /// Why.
    pub error: io::Error,
}

/// Names the step that an error belongs to.
pub(crate) trait Step<T> {
    /// Turns the error into a [`Failed`].
    fn step(self, step: impl Into<Cow<'static, str>>) -> Result<T, Failed>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<Cow<'static, str>>) -> Result<T, Failed> {
        self.map_err(|error| Failed {
            step: step.into(),
            error: error.into(),
        })
    }
}

/// Lives as the zygote until the supervisor's end of the socket closes.
///
/// With a `program` that is not this one, it starts that for each process, as fork and exec do.
pub(crate) fn main(registry: &Registry, program: Option<&Path>) -> ExitCode {
    // Whoever started the supervisor may have left files open; none of them is for tasks.
    sys::close_from(3);
    let Ok(control) = Control::adopt_stdin() else {
        return ExitCode::from(2);
    };
    match serve(&control, registry, program) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed { step, error }) => {
            let errno = error.raw_os_error().unwrap_or(0);
            // If the supervisor is gone there is nobody left to tell.
            let _ = control.say(&FromZygote::Unfit {
                step: step.into_owned(),
                errno,
            });
            ExitCode::FAILURE
        }
    }
}

fn serve(control: &Control, registry: &Registry, program: Option<&Path>) -> Result<(), Failed> {
    control.say_hello(&frame::hello()).step("say hello")?;
    // One session without a terminal for all tasks. One each would have the kernel make and free a group
    // of its scheduler for every task, where it schedules by session.
    nix::unistd::setsid().step("start a session")?;
    let foreign = program.map(describe).transpose();
    let foreign = foreign.step("ask the program for its tasks (run it with `--describe`)")?;
    for spec in registry.specs().chain(foreign.iter().flatten()) {
        let json = serde_json::to_vec(&spec)
            .map_err(io::Error::other)
            .step("describe a task")?;
        control
            .say(&FromZygote::Task(ByteBuf::from(json)))
            .step("describe a task")?;
    }
    // A program that is started afresh for each task has nothing from its zygote.
    let stage = program.is_none().then(|| Stage::open().ok()).flatten();
    let Some(prepared) = set_up(control, program)? else {
        return Ok(());
    };
    runtime::prepare();
    process::handle_crashes().step("handle signals")?;
    // Without a lesson tasks begin somewhat later.
    let stage = stage.filter(|_| prepared.program.is_none());
    let lesson = stage.and_then(|stage| stage.rehearse(control, registry, &prepared).ok());
    control.say(&FromZygote::Ready).step("say ready")?;
    match hear(control, registry, &prepared, lesson.as_ref()) {
        End::Retired => Ok(()),
        // Its tasks must not outlive it.
        End::Alone => prepared.kill_everything().step("kill the tasks"),
    }
}

/// Why a zygote ends.
#[derive(Debug)]
enum End {
    /// It was told to.
    Retired,
    /// The supervisor has closed its end, or has died.
    Alone,
}

/// Does what it is asked for until it is to end. By itself, so that it can be rehearsed.
#[inline(never)]
fn hear(
    control: &Control,
    registry: &Registry,
    prepared: &Prepared,
    lesson: Option<&Lesson>,
) -> End {
    // Not before: whatever runs between here and there would be mapped anew, with its neighbours.
    let _ = lesson.map(Lesson::take);
    let mut packet = [0; REQUEST];
    loop {
        let mut received = Received::default();
        match control.hear(&mut packet, &mut received) {
            Ok(Some(ToZygote::Fork(fork))) => {
                // What the supervisor asked for before it died can still be read, not answered.
                let asked = (&fork, Kind::Task);
                if answer(control, (registry, prepared, lesson), asked, received).is_err() {
                    return End::Alone;
                }
            }
            Ok(Some(ToZygote::Warden(fork))) => {
                let asked = (&fork, Kind::Warden);
                if answer(control, (registry, prepared, lesson), asked, received).is_err() {
                    return End::Alone;
                }
            }
            Ok(Some(ToZygote::Gid(gid))) => prepared.gid.set(Some(gid)),
            Ok(Some(ToZygote::Setup(_))) => {}
            Ok(Some(ToZygote::Retire)) => return End::Retired,
            Ok(None) | Err(_) => return End::Alone,
        }
    }
}

/// What another program says of its tasks.
fn describe(program: &Path) -> io::Result<Vec<TaskSpec>> {
    let mut command = Command::new(program);
    let said = command.arg("--describe").stdin(Stdio::null()).output()?;
    if !said.status.success() {
        return Err(io::Error::other(format!("it ended with {}", said.status)));
    }
    serde_json::from_slice(&said.stdout).map_err(io::Error::other)
}

/// Hears the first message and does what it says; `None` if there is none.
fn set_up(control: &Control, program: Option<&Path>) -> Result<Option<Prepared>, Failed> {
    let (mut packet, mut received) = (vec![0; control::PACKET], Received::default());
    let message = control.hear(&mut packet, &mut received);
    match message.step("hear the setup")? {
        Some(ToZygote::Setup(setup)) => Prepared::apply(setup, received, program).map(Some),
        _ => Ok(None),
    }
}

/// What is forked: a task, by itself or below an init of its own, or the warden of several.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Task,
    Warden,
}

fn answer(
    control: &Control,
    (registry, prepared, lesson): (&Registry, &Prepared, Option<&Lesson>),
    (fork, kind): (&frame::Fork<'_>, Kind),
    received: Received,
) -> io::Result<()> {
    let generation = fork.generation;
    let failed = |errno| FromZygote::ForkFailed { generation, errno };
    let Some(given) = task::Given::sort(received, prepared) else {
        return control.answer(&failed(libc::EBADF), None);
    };
    if fork.home.is_some() {
        home::reserve();
    }
    if fork.uid.is_some() {
        prepared.leave_groups();
    }
    let how = match kind {
        Kind::Task => prepared.how(given.cgroup()),
        Kind::Warden => prepared.how_warden(),
    };
    match (sys::spawn_sibling(how), kind) {
        (Ok(Forked::Task), Kind::Task) => task::become_task(registry, prepared, fork, given),
        (Ok(Forked::Task), Kind::Warden) => {
            let zygote = (control, lesson);
            warden::stay(registry, prepared, zygote, fork, given)
        }
        (Ok(Forked::Zygote(pid, pidfd)), _) => {
            drop(given);
            let forked = FromZygote::Forked { generation, pid };
            control.answer(&forked, Some(pidfd.as_fd()))
        }
        (Err(error), _) => control.answer(&failed(error.raw_os_error().unwrap_or(0)), None),
    }
}

/// Kept here so that both sides of the socket agree on how large a packet may be.
const _: () = assert!(control::PACKET < codec::FRAME_LIMIT);
