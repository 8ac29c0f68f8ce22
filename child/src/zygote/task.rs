//! From a fresh fork to a sandboxed task process that says it is ready. Runs in the new process;
//! nothing here returns to the zygote.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use bulkhead_shared::codec;
use bulkhead_shared::frame::{self, FromTask};
use bulkhead_shared::isolation::Containment;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Pid, chdir, setpgid};

use super::prepare::Prepared;
use super::{Failed, Step, home, init, walls, warden};
use crate::registry::Registry;
use crate::runtime::Origin;
use crate::sys::Received;
use crate::{runtime, sys};

/// The place of the job pipe in a task process.
const JOB: RawFd = 3;

/// The place of the result pipe in a task process.
const RESULT: RawFd = 4;

/// Where the program lies that a process is about to become.
const PROGRAM: RawFd = 5;

/// Exit code of a process whose sandbox could not be set up: told apart by people, not by us,
/// since the reason goes through the result pipe.
const UNFIT: i32 = 70;

/// The descriptors that came with a request.
#[derive(Debug)]
pub(super) struct Given {
    job: OwnedFd,
    result: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    cgroup: Option<OwnedFd>,
    report: Option<OwnedFd>,
    /// Cgroups that limit it.
    limits: [Option<OwnedFd>; LIMITS],
}

/// Most cgroups that limit a task: memory, processes, CPU.
const LIMITS: usize = 3;

impl Given {
    pub(super) const fn new(
        job: OwnedFd,
        result: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> Self {
        Self {
            job,
            result,
            stdout,
            stderr,
            cgroup: None,
            report: None,
            limits: [const { None }; LIMITS],
        }
    }

    /// Gives each descriptor its meaning; `None` if there are too few.
    pub(super) fn sort(received: Received, prepared: &Prepared) -> Option<Self> {
        let containment = prepared.setup.containment;
        Self::take(received, containment, containment.has_init())
    }

    /// As `sort`, of a task whose warden is there.
    pub(super) fn sort_below(received: Received, prepared: &Prepared) -> Option<Self> {
        Self::take(received, prepared.setup.containment, false)
    }

    fn take(received: Received, containment: Containment, has_report: bool) -> Option<Self> {
        let mut rest = received.into_iter().flatten();
        let (job, result) = (rest.next()?, rest.next()?);
        let (stdout, stderr) = (rest.next()?, rest.next()?);
        let cgroup = match containment {
            Containment::Cgroup => Some(rest.next()?),
            Containment::PidNamespace { .. } | Containment::Subreaper => None,
        };
        let report = if has_report { Some(rest.next()?) } else { None };
        let limits = [rest.next(), rest.next(), rest.next()];
        Some(Self {
            limits,
            job,
            result,
            stdout,
            stderr,
            cgroup,
            report,
        })
    }

    /// Where the init above it says how it ended.
    pub(super) const fn take_report(&mut self) -> Option<OwnedFd> {
        self.report.take()
    }

    pub(super) fn cgroup(&self) -> Option<BorrowedFd<'_>> {
        self.cgroup.as_ref().map(AsFd::as_fd)
    }

    /// Says why there will be no task, and ends.
    pub(super) fn unfit(&self, failed: &Failed) -> ! {
        unfit(self.result.as_fd(), failed)
    }
}

/// Turns this fresh fork into a task process, or into the init above one.
pub(super) fn become_task(
    registry: &Registry,
    prepared: &Prepared,
    fork: &frame::Fork<'_>,
    mut given: Given,
) -> ! {
    if let Some(report) = given.report.take() {
        let containment = prepared.setup.containment;
        let result = given.result.as_fd();
        match init::stand_above(containment, || furnish(prepared, fork)) {
            Ok(init::Side::Task) => drop(report),
            Ok(init::Side::Init(task)) => {
                drop(given);
                init::watch(containment, task, &report)
            }
            Err(failed) => unfit(result, &failed),
        }
    }
    begin(registry, prepared, fork, given, || {
        match prepared.setup.containment.has_init() {
            true => Ok(()),
            false => furnish(prepared, fork),
        }
    })
}

/// The task, below an init or alone; `furnish` is what it does while it has every right.
pub(super) fn begin(
    registry: &Registry,
    prepared: &Prepared,
    fork: &frame::Fork<'_>,
    given: Given,
    furnish: impl FnOnce() -> Result<(), Failed>,
) -> ! {
    let furnished = lead(prepared).and_then(|()| furnish());
    match furnished.and_then(|()| set_up(prepared, fork, &given)) {
        // From here on the places are what counts; `given` has been closed behind our back.
        Ok(()) => std::mem::forget(given),
        Err(failed) => given.unfit(&failed),
    }
    if prepared.program.is_some() {
        let error = exec(fork, prepared.is_script);
        // SAFETY: the place of the result pipe was filled a moment ago and is still open.
        let result = unsafe { BorrowedFd::borrow_raw(RESULT) };
        unfit(
            result,
            &Failed {
                step: "execute its own program".into(),
                error,
            },
        );
    }
    let origin = Origin::Forked {
        memory: fork.memory,
    };
    sys::leave(runtime::serve(registry, fork.jobs, origin))
}

/// Where what is not rehearsed begins: it could not be undone.
pub(super) fn entries() -> [*const (); 5] {
    [
        become_task as *const (),
        furnish as *const (),
        walls::furnish as *const (),
        init::watch as *const (),
        warden::stay as *const (),
    ]
}

/// What the task finds in its namespaces.
fn furnish(prepared: &Prepared, fork: &frame::Fork<'_>) -> Result<(), Failed> {
    match (prepared.setup.walls.as_deref(), &prepared.raised) {
        (Some(walls), Some(raised)) => {
            let owner = fork.uid.map(|uid| prepared.owner(uid));
            walls::furnish(walls, raised, owner)
        }
        _ => Ok(()),
    }
}

/// Can be reached by signals, alone and with all that it starts.
pub(super) fn lead(prepared: &Prepared) -> Result<(), Failed> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).step("unblock signals")?;
    // Below an init of ours it leads a group already.
    if !prepared.setup.containment.has_init() {
        let own = Pid::from_raw(0);
        setpgid(own, own).step("lead a process group")?;
    }
    Ok(())
}

pub(super) fn set_up(
    prepared: &Prepared,
    fork: &frame::Fork<'_>,
    given: &Given,
) -> Result<(), Failed> {
    let setup = &prepared.setup;
    let walls = setup.walls.as_deref();
    if let (Some(cgroup), false) = (&given.cgroup, setup.clone3) {
        join(cgroup).step("join its cgroup")?;
    }
    if let Some(home) = &fork.home {
        home::set(home);
    }
    for limits in given.limits.iter().flatten() {
        join(limits).step("join a cgroup of limits")?;
    }
    if let Some(uid) = fork.uid {
        prepared.become_user(uid).step("change its user")?;
    }
    if let Some(walls) = walls {
        if walls.user_namespace {
            // One more: the limit of processes is one user's, and each task is to have its own.
            // What is mounted belongs to the one above, where it has no right at all.
            prctl::set_dumpable(true).step("open its own maps")?;
            unshare(CloneFlags::CLONE_NEWUSER).step("make its user namespace")?;
            init::map_own_user().step("map its user")?;
        }
        if let Some(directory) = &walls.directory {
            chdir(directory).step("go to its directory")?;
        }
    }
    if walls.is_some() || setup.containment == (Containment::PidNamespace { user: true }) {
        sys::drop_capabilities().step("drop capabilities")?;
    }
    for &(resource, soft, hard) in &setup.own_rlimits {
        sys::limit_both(resource, soft, hard).step("limit what it consumes")?;
    }
    if let Some(processes) = setup.processes {
        sys::lower_limit(libc::RLIMIT_NPROC, processes).step("limit its processes")?;
    }
    if let Some(memory) = fork.memory {
        sys::lower_limit(libc::RLIMIT_DATA, memory).step("limit its memory")?;
        if let Some(more) = setup.addresses {
            let most = memory.saturating_add(more);
            sys::lower_limit(libc::RLIMIT_AS, most).step("limit its addresses")?;
        }
    }
    if setup.no_new_privileges {
        // Its user is its own, so this lets nobody in, and /proc/self works again.
        let is_alone = walls.is_some_and(|walls| walls.user_namespace);
        prctl::set_dumpable(fork.uid.is_some() || is_alone).step("set dumpable")?;
    }
    // After the change of user, which would undo it. The parent is the supervisor, or the init.
    prctl::set_pdeathsig(Signal::SIGKILL).step("follow its parent's death")?;
    if let Some(landlock) = &prepared.landlock {
        sys::restrict_self(landlock.as_fd()).step("enter landlock")?;
    }
    if let (Some(walls), Some(raised)) = (walls, &prepared.raised) {
        walls::confine(walls, raised, fork.home)?;
    }
    place(prepared, given).step("place its descriptors")?;
    walls.map_or(Ok(()), walls::shut)
}

pub(super) fn place(prepared: &Prepared, given: &Given) -> io::Result<()> {
    sys::place(given.stdout.as_fd(), 1)?;
    sys::place(given.stderr.as_fd(), 2)?;
    let place = match &prepared.program {
        Some(_) => sys::place,
        // Nothing that the task starts is to have its pipes.
        None => sys::place_privately,
    };
    place(given.job.as_fd(), JOB)?;
    place(given.result.as_fd(), RESULT)?;
    if let Some(program) = &prepared.program {
        sys::place(program.as_fd(), PROGRAM)?;
        sys::close_from(PROGRAM.unsigned_abs() + 1);
    } else {
        sys::close_from(PROGRAM.unsigned_abs());
    }
    Ok(())
}

fn join(cgroup: &OwnedFd) -> io::Result<()> {
    use nix::fcntl::{OFlag, openat};
    use nix::sys::stat::Mode;
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let procs = openat(cgroup, "cgroup.procs", flags, Mode::empty())?;
    nix::unistd::write(procs, b"0")?;
    Ok(())
}

fn exec(fork: &frame::Fork<'_>, is_script: bool) -> io::Error {
    let args = [
        c"child".into(),
        c"__task".into(),
        text(fork.jobs.to_string().into_bytes()),
    ];
    let environment: Vec<CString> = std::env::vars_os()
        .map(|(name, value)| {
            let mut pair = name.into_vec();
            pair.push(b'=');
            pair.extend(value.into_vec());
            text(pair)
        })
        .collect();
    // SAFETY: the place was filled a moment ago and is still open.
    let program = unsafe { BorrowedFd::borrow_raw(PROGRAM) };
    if !is_script {
        // Of no use to the new program; an error leaves it open there.
        let _ = fcntl(program, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    }
    sys::replace(program, &args, &environment)
}

fn text(bytes: Vec<u8>) -> CString {
    CString::new(bytes).unwrap_or_default()
}

/// Says why through the result pipe, and ends.
fn unfit(result: BorrowedFd<'_>, failed: &Failed) -> ! {
    let errno = failed.error.raw_os_error().unwrap_or(0);
    let message = FromTask::SetupFailed {
        step: failed.step.to_string(),
        errno,
    };
    if let Ok(frame) = codec::encode(&message) {
        let mut bytes = frame::hello().to_vec();
        bytes.extend(frame);
        // An empty pipe takes this at once; if nobody reads it, nobody asks.
        let _ = nix::unistd::write(result, &bytes);
    }
    sys::leave(UNFIT)
}
