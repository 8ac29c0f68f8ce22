//! One task that means nothing, to learn which pages of the program tasks touch: the zygote
//! hands them down, and its tasks need no page faults for them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bulkhead_shared::codec;
use bulkhead_shared::frame::{self, Run, ToTask, ToZygote};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, geteuid, pipe2};
use serde_bytes::ByteBuf;

use super::control::Control;
use super::home;
use super::prepare::{PLACES, Prepared};
use super::task::{self, Given};
use crate::context::now;
use crate::registry::Registry;
use crate::runtime::Origin;
use crate::sys::{self, Memory, Program};
use crate::{panics, runtime, tasks};

/// What is rehearsed: takes and gives what most tasks do.
#[crate::task]
fn rehearse(number: i64, text: String) -> (i64, String) {
    (number, format!("{text} {number}"))
}

/// It may take so long; a supervisor waits ten seconds for a zygote.
const PATIENCE: Duration = Duration::from_secs(2);

/// What decodes arguments may take so long in all, and so much memory.
const LITTLE: Duration = Duration::from_millis(200);
const MEMORY: u64 = 256 << 20;

/// Tasks whose functions count, at the most: each page that is handed down costs a fork something.
const ENTRIES: usize = 32;

const ARGUMENTS: &str = r#"{"kwargs":{"number":41,"text":"bulkhead"}}"#;

/// What a rehearsal has shown.
#[derive(Debug)]
pub(super) struct Lesson {
    program: Program,
    touched: Vec<u8>,
}

impl Lesson {
    pub(super) fn take(&self) -> io::Result<()> {
        self.program.keep(&self.touched)
    }
}

/// What a rehearsal needs, opened by a zygote before it hides its memory, and before it goes where the
/// host's `/proc` is out of sight.
#[derive(Debug)]
pub(super) struct Stage {
    proc: OwnedFd,
    memory: Memory,
}

impl Stage {
    pub(super) fn open() -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let proc = openat(AT_FDCWD, "/proc", flags, Mode::empty())?;
        Ok(Self {
            proc: sys::above(proc.as_fd(), PLACES)?,
            memory: Memory::open(proc.as_fd(), PLACES)?,
        })
    }

    /// Rehearses. What goes wrong costs nothing but time later.
    pub(super) fn rehearse(
        self,
        control: &Control,
        registry: &Registry,
        prepared: &Prepared,
    ) -> io::Result<Lesson> {
        let Self { proc, memory } = self;
        let program = Program::own(&memory)?;
        // It leads to all that the zygote has: the fork is not to have it.
        drop(memory);
        let mut touched = vec![0; program.pages()];
        let flags = OFlag::O_CLOEXEC;
        let (job, jobs) = pipe2(flags)?;
        // Held to the end, so that the result can be written.
        let (_results, result) = pipe2(flags)?;
        let (seen, stdout) = pipe2(flags)?;
        File::from(jobs).write_all(&job_frame()?)?;
        match sys::spawn_unheard()? {
            0 => {
                // Nothing of these is dropped: in a task's places they have other owners.
                let files = ManuallyDrop::new((proc, job, result, stdout));
                let performed = perform(&program, control, (registry, prepared), &files);
                sys::leave(performed.map_or(1, |()| 0));
            }
            child => {
                drop(stdout);
                let seen = File::from(seen);
                let told = hear_within(&seen, &mut touched, PATIENCE);
                let mut more = vec![0; touched.len()];
                if told.is_ok() && hear_within(&seen, &mut more, LITTLE).is_ok() {
                    touched = more;
                }
                // It has told all it knows, or takes too long.
                let child = Pid::from_raw(child);
                let _ = killpg(child, Signal::SIGKILL);
                let _ = kill(child, Signal::SIGKILL);
                while waitpid(child, Some(WaitPidFlag::__WALL)) == Err(Errno::EINTR) {}
                told?;
                Ok(Lesson { program, touched })
            }
        }
    }
}

/// Does what a zygote and a task do for a job, and writes down what that touched.
fn perform(
    program: &Program,
    control: &Control,
    (registry, prepared): (&Registry, &Prepared),
    (proc, job, result, stdout): &(OwnedFd, OwnedFd, OwnedFd, OwnedFd),
) -> io::Result<()> {
    // Before others can see into it: to read about its own pages it must not be hidden for a moment.
    control.replace(prepared.null.as_fd())?;
    prctl::set_dumpable(true)?;
    let table = sys::page_table(proc.as_fd());
    prctl::set_dumpable(!prepared.setup.no_new_privileges)?;
    let table = table?;
    let uid = geteuid();
    program.watch()?;

    let fork = frame::Fork {
        generation: 1,
        uid: uid.is_root().then(|| uid.as_raw()),
        home: Some("/"),
        memory: Some(u64::MAX),
        jobs: 1,
    };
    let _ = be_a_zygote(registry, prepared, &fork);
    let copy = |descriptor: &OwnedFd| sys::above(descriptor.as_fd(), PLACES);
    let given = Given::new(copy(job)?, copy(result)?, copy(stdout)?, table.into());
    let given = ManuallyDrop::new(given);
    let _ = task::lead(prepared);
    let is_set_up = task::set_up(prepared, &fork, &given).is_ok();
    if !is_set_up {
        // A host that refuses has been tried; tasks will say so themselves.
        task::place(prepared, &given)?;
    }
    let tasks = Registry::new(tasks![rehearse]).map_err(io::Error::other)?;
    runtime::serve(&tasks, fork.jobs, Origin::Forked { memory: None });
    // Where what cannot be rehearsed begins.
    let calls = registry.entries().take(ENTRIES);
    let calls = calls.chain(task::entries());
    calls.chain([libc::_exit as *const ()]).for_each(sys::touch);
    // The places of its standard streams. Whatever types of the user's print is not for these.
    let table = File::from(sys::above(io::stderr().as_fd(), PLACES)?);
    let mut told = File::from(sys::above(io::stdout().as_fd(), PLACES)?);
    for output in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // The standard input of a task is /dev/null.
        sys::place(io::stdin().as_fd(), output)?;
    }
    told.write_all(&program.touched(&table)?)?;
    if !is_set_up {
        return Ok(());
    }
    // They may do anything: what was told so far stands, and this is for nothing but decoding.
    sys::lower_limit(libc::RLIMIT_DATA, MEMORY)?;
    sys::lower_limit(libc::RLIMIT_FSIZE, 0)?;
    for definition in registry.definitions().take(ENTRIES) {
        let _ = panics::catch(|| {
            (definition.rehearse)();
            Ok(())
        });
    }
    told.write_all(&program.touched(&table)?)
}

/// Fills `touched`, unless that takes too long.
fn hear_within(seen: &File, mut touched: &mut [u8], within: Duration) -> io::Result<()> {
    let end = now() + within;
    while !touched.is_empty() {
        let left = end.saturating_duration_since(now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut ready = [PollFd::new(seen.as_fd(), PollFlags::POLLIN)];
        let len = match poll(&mut ready, left)? {
            0 => return Err(io::ErrorKind::TimedOut.into()),
            _ => (&mut &*seen).read(touched)?,
        };
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        touched = touched.get_mut(len..).unwrap_or_default();
    }
    Ok(())
}

/// The zygote's part: it is asked for a fork that it has to refuse, and to end.
fn be_a_zygote(registry: &Registry, prepared: &Prepared, fork: &frame::Fork<'_>) -> io::Result<()> {
    let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
    let (here, there) = socketpair(AddressFamily::Unix, kind, None, flags)?;
    for message in [ToZygote::Fork(fork.clone()), ToZygote::Retire] {
        let body = codec::body(&message).map_err(io::Error::other)?;
        // One descriptor is too few for a task.
        sys::send(there.as_fd(), &body, Some(there.as_fd()))?;
    }
    home::reserve();
    let pipe = || pipe2(OFlag::O_CLOEXEC);
    let ((job, result), (stdout, stderr)) = (pipe()?, pipe()?);
    // What it does with those of a task that it has forked.
    drop(Given::new(job, result, stdout, stderr));
    let control = Control::of(here);
    super::hear(&control, registry, prepared, None);
    Ok(())
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
