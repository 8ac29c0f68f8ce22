//! One task that means nothing, to learn which pages of the program tasks touch: the zygote
//! hands them down, and its tasks need no page faults for them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use bulkhead_shared::codec;
use bulkhead_shared::frame::{self, FromZygote, Run, ToTask, ToZygote};
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, geteuid, pipe2};
use serde_bytes::ByteBuf;

use super::control::Control;
use super::prepare::Prepared;
use super::task::{self, Given};
use super::{REQUEST, home};
use crate::registry::Registry;
use crate::sys::{self, Program, Received};
use crate::{runtime, tasks};

/// What is rehearsed: takes and gives what most tasks do.
#[crate::task]
fn rehearse(number: i64, text: String) -> String {
    format!("{text} {number}")
}

/// Milliseconds it may take; a thousand times what it does.
const PATIENCE: u16 = 5_000;

const ARGUMENTS: &str = r#"{"kwargs":{"number":41,"text":"bulkhead"}}"#;

/// The host's `/proc`, for a zygote that will not see it.
#[derive(Debug)]
pub(super) struct Stage(OwnedFd);

impl Stage {
    pub(super) fn open() -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(openat(AT_FDCWD, "/proc", flags, Mode::empty())?))
    }

    /// Rehearses. What goes wrong costs nothing but time later.
    pub(super) fn rehearse(self, prepared: &Prepared) -> io::Result<()> {
        let program = Program::look(self.0.as_fd())?;
        let flags = OFlag::O_CLOEXEC;
        let (job, jobs) = pipe2(flags)?;
        // Held to the end, so that the result can be written.
        let (_results, result) = pipe2(flags)?;
        let (seen, stdout) = pipe2(flags)?;
        File::from(jobs).write_all(&job_frame()?)?;
        // SAFETY: the process has one thread, so no lock is held by a thread that is not copied.
        match unsafe { fork() }? {
            ForkResult::Child => {
                let performed = self.perform(&program, prepared, job, result, stdout);
                sys::leave(performed.map_or(1, |()| 0));
            }
            ForkResult::Parent { child } => {
                drop(stdout);
                let mut ready = [PollFd::new(seen.as_fd(), PollFlags::POLLIN)];
                if poll(&mut ready, PATIENCE) != Ok(1) {
                    kill(child, Signal::SIGKILL)?;
                }
                let mut touched = Vec::new();
                let read = File::from(seen).read_to_end(&mut touched);
                waitpid(child, None)?;
                read?;
                program.keep(&touched)
            }
        }
    }

    /// Does what a zygote and a task do for a job, and writes down what that touched.
    fn perform(
        self,
        program: &Program,
        prepared: &Prepared,
        job: OwnedFd,
        result: OwnedFd,
        stdout: OwnedFd,
    ) -> io::Result<()> {
        prctl::set_dumpable(true)?;
        let table = sys::page_table(self.0.as_fd())?;
        let uid = geteuid();
        program.watch()?;

        let fork = frame::Fork {
            generation: 1,
            uid: uid.is_root().then(|| uid.as_raw()),
            home: Some("/"),
            memory: Some(u64::MAX),
            jobs: 1,
        };
        home::reserve();
        let _ = hear_and_answer(&fork);
        let given = Given::new(job, result, stdout, table.into());
        if task::set_up(prepared, &fork, &given).is_err() {
            // A host that refuses has been tried; tasks will say so themselves.
            task::place(prepared, &given)?;
        }
        std::mem::forget(given);
        let registry = Registry::new(tasks![rehearse]).map_err(io::Error::other)?;
        runtime::serve(&registry, fork.jobs);
        // The places of its standard streams.
        let table = io::stderr().as_fd().try_clone_to_owned()?;
        let touched = program.touched(&table.into())?;
        io::stdout().write_all(&touched)?;
        io::stdout().flush()
    }
}

/// The zygote's part.
fn hear_and_answer(fork: &frame::Fork<'_>) -> io::Result<()> {
    let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
    let (here, there) = socketpair(AddressFamily::Unix, kind, None, flags)?;
    let body = codec::body(&ToZygote::Fork(fork.clone())).map_err(io::Error::other)?;
    sys::send(there.as_fd(), &body, Some(there.as_fd()))?;
    let control = Control::of(here);
    let (mut packet, mut received) = ([0; REQUEST], Received::default());
    control.hear(&mut packet, &mut received)?;
    let generation = fork.generation;
    control.answer(
        &FromZygote::Forked { generation, pid: 1 },
        Some(there.as_fd()),
    )
}

fn job_frame() -> io::Result<Vec<u8>> {
    let run = Run {
        nonce: 1,
        uuid: [0; 16],
        task: "rehearse".into(),
        queue: "default".into(),
        attempt: 1,
        fence: 1,
        timeout_ms: 3_600_000,
        memory: None,
        header: ByteBuf::from(r#"{"v":1,"created_at":0}"#),
        payload: ByteBuf::from(ARGUMENTS),
    };
    codec::encode(&ToTask::Run(run)).map_err(io::Error::other)
}
