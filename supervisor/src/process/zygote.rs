//! The supervisor's side of a zygote: starts it, hears it, asks it for processes.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bulkhead_shared::codec;
use bulkhead_shared::frame::{self, FromZygote, ToZygote};
use bulkhead_shared::isolation::{self, Setup};
use bulkhead_shared::pidfd::PidFd;
use bulkhead_shared::task::TaskSpec;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};
use nix::unistd::pipe2;

use super::link::{READ, TAIL, Tail};
use super::packet;

/// Largest packet a zygote sends.
const PACKET: usize = 64 << 10;

/// Most tasks a child may register: a listing people can still read.
const TASKS: usize = 4096;

/// Why a zygote is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZygoteError {
    #[error("child binary `{}` is missing (build it, or name another with --child)", path.display())]
    Missing { path: PathBuf },
    #[error("child binary `{}` cannot be executed: {source} (is it a program for this machine, with mode 0755?)", path.display())]
    NotExecutable { path: PathBuf, source: io::Error },
    #[error("no zygote can be started: {0}")]
    Start(#[source] io::Error),
    #[error("child binary `{}` cannot be used: {reason}", path.display())]
    Hello {
        path: PathBuf,
        reason: frame::HelloError,
    },
    #[error("child binary `{}` breaks the protocol: {reason}", path.display())]
    Protocol { path: PathBuf, reason: String },
    #[error("child binary `{}` cannot set up its sandbox: failed to {step}: {error}", path.display())]
    Unfit {
        path: PathBuf,
        step: String,
        error: io::Error,
    },
    #[error("child binary `{}` {how} before it was ready{}", path.display(), said(output))]
    Died {
        path: PathBuf,
        how: String,
        output: String,
    },
    #[error("the zygote of `{}` has not answered for {seconds} s (is the machine out of memory, or has somebody stopped it?)", path.display())]
    Stuck { path: PathBuf, seconds: u64 },
    #[error("child binary `{}` was not ready within {seconds} s (does its `main` call `bulkhead_child::run` first thing?)", path.display())]
    Slow { path: PathBuf, seconds: u64 },
    #[error("child binary `{}` is of a release that knows no groups: its tasks would not have group {gid}, as their account does (rebuild it with this release, or name an account whose group has the number of its user)", path.display())]
    Groupless { path: PathBuf, gid: u32 },
}

fn said(output: &str) -> String {
    let output = output.trim();
    if output.is_empty() {
        String::new()
    } else {
        format!("; it said: {output}")
    }
}

/// How zygotes are started.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub child: PathBuf,
    /// The zygote, if it is not the child itself.
    pub launcher: Option<PathBuf>,
    pub environment: Vec<(OsString, OsString)>,
    pub directory: Option<PathBuf>,
    pub setup: Setup,
    /// The group of its tasks, if it is not that of their user's number.
    pub gid: Option<u32>,
}

/// What tells one build of the child binary from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Build {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Build {
    /// What stands at `path` now; `None` if nothing does.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
        })
    }
}

/// What a zygote has said.
#[derive(Debug)]
pub(crate) enum Said {
    /// It is ready, and these are its tasks.
    Ready(Vec<TaskSpec>),
    /// A process has been started.
    Forked {
        generation: u64,
        pid: i32,
        pidfd: PidFd,
    },
    /// None was.
    ForkFailed { generation: u64, error: io::Error },
    /// Nothing is left to hear for now.
    Nothing,
    /// Its end of the socket is closed.
    Gone,
}

#[derive(Debug)]
enum Stage {
    Hello,
    Tasks(Vec<TaskSpec>),
    Ready,
}

/// A zygote.
#[derive(Debug)]
pub(crate) struct Zygote {
    path: PathBuf,
    build: Option<Build>,
    process: Child,
    pidfd: PidFd,
    socket: OwnedFd,
    output: OwnedFd,
    said: Tail,
    stage: Stage,
    /// Its version of the wire.
    minor: u16,
    gid: Option<u32>,
    space: Vec<u8>,
    packet: Vec<u8>,
    /// Generations that were asked for and not yet answered.
    pub(crate) asked: VecDeque<u64>,
}

impl Zygote {
    /// Starts one. Must be called on the thread that lives as long as the process: the kernel takes
    /// the death of that thread for the death of the parent.
    pub(crate) fn start(
        recipe: &Recipe,
        cgroups: Option<BorrowedFd<'_>>,
    ) -> Result<Self, ZygoteError> {
        let path = recipe.child.clone();
        let flags = SockFlag::SOCK_CLOEXEC;
        let (socket, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
            .map_err(|errno| ZygoteError::Start(errno.into()))?;
        let (output, their_output) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)
            .map_err(|errno| ZygoteError::Start(errno.into()))?;
        for end in [&socket, &output] {
            use nix::fcntl::{FcntlArg, OFlag, fcntl};
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
                .map_err(|errno| ZygoteError::Start(errno.into()))?;
        }
        let build = Build::of(&path);
        let process = spawn(recipe, theirs, their_output)?;
        let pid = i32::try_from(process.id()).unwrap_or(i32::MAX);
        let pidfd = PidFd::open(pid).map_err(ZygoteError::Start)?;
        let zygote = Self {
            path,
            build,
            process,
            pidfd,
            socket,
            output,
            said: Tail::new(TAIL),
            stage: Stage::Hello,
            minor: 0,
            gid: recipe.gid,
            space: nix::cmsg_space!([RawFd; 1]),
            packet: vec![0; PACKET],
            asked: VecDeque::new(),
        };
        let setup = ToZygote::Setup(recipe.setup.clone());
        let descriptors: Vec<_> = cgroups.into_iter().collect();
        // A program that is no child may be gone already; its end of the socket tells.
        let _ = zygote.send(&setup, &descriptors);
        Ok(zygote)
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap_or(i32::MAX)
    }

    pub(crate) const fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready)
    }

    /// Whether another program stands where this one came from.
    pub(crate) fn is_outdated(&self) -> bool {
        let now = Build::of(&self.path);
        now.is_some() && now != self.build
    }

    /// Whether it starts inits that stay.
    pub(crate) const fn has_wardens(&self) -> bool {
        self.minor >= frame::WARDENS
    }

    /// Asks for a process, and if `warden` for an init above it that stays.
    pub(crate) fn fork(
        &mut self,
        fork: frame::Fork<'_>,
        warden: bool,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let generation = fork.generation;
        let message = match warden {
            true => ToZygote::Warden(fork),
            false => ToZygote::Fork(fork),
        };
        self.send(&message, descriptors)?;
        self.asked.push_back(generation);
        Ok(())
    }

    fn send(&self, message: &ToZygote<'_>, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        packet::send(self.socket(), message, descriptors)
    }

    /// Hears one message.
    pub(crate) fn hear(&mut self) -> Result<Said, ZygoteError> {
        loop {
            let (len, descriptor) = match self.receive() {
                Ok(Some(received)) => received,
                Ok(None) => return Ok(Said::Nothing),
                Err(_) => return Ok(Said::Gone),
            };
            if len == 0 {
                return Ok(Said::Gone);
            }
            if let Some(said) = self.understand(len, descriptor)? {
                return Ok(said);
            }
        }
    }

    fn receive(&mut self) -> io::Result<Option<(usize, Option<OwnedFd>)>> {
        let mut parts = [IoSliceMut::new(&mut self.packet)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let fd = self.socket.as_raw_fd();
        let message = match recvmsg::<()>(fd, &mut parts, Some(&mut self.space), flags) {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            other => other?,
        };
        let mut descriptor = None;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                for number in numbers {
                    // SAFETY: the kernel has just opened it for us, and nobody else knows it.
                    descriptor = Some(unsafe { OwnedFd::from_raw_fd(number) });
                }
            }
        }
        Ok(Some((message.bytes, descriptor)))
    }

    fn understand(
        &mut self,
        len: usize,
        descriptor: Option<OwnedFd>,
    ) -> Result<Option<Said>, ZygoteError> {
        if matches!(self.stage, Stage::Hello) {
            let hello = self.packet[..len].first_chunk().copied();
            let checked = hello.map_or(Err(frame::HelloError::Foreign), frame::check_hello);
            self.minor = checked.map_err(|reason| ZygoteError::Hello {
                path: self.path.clone(),
                reason,
            })?;
            self.stage = Stage::Tasks(Vec::new());
            return Ok(None);
        }
        let protocol = |reason: String| ZygoteError::Protocol {
            path: self.path.clone(),
            reason,
        };
        let message =
            codec::decode(&self.packet[..len]).map_err(|error| protocol(error.to_string()))?;
        match (message, &mut self.stage) {
            (FromZygote::Task(json), Stage::Tasks(tasks)) if tasks.len() < TASKS => {
                let task = serde_json::from_slice(&json)
                    .map_err(|error| protocol(format!("a registration is wrong: {error}")))?;
                tasks.push(task);
                Ok(None)
            }
            (FromZygote::Ready, Stage::Tasks(tasks)) => {
                let tasks = std::mem::take(tasks);
                self.stage = Stage::Ready;
                self.tell_gid()?;
                Ok(Some(Said::Ready(tasks)))
            }
            (FromZygote::Unfit { step, errno }, _) => Err(ZygoteError::Unfit {
                path: self.path.clone(),
                step,
                error: io::Error::from_raw_os_error(errno),
            }),
            (FromZygote::Forked { generation, pid }, Stage::Ready) => {
                let pidfd = descriptor.ok_or_else(|| protocol("a pidfd is missing".into()))?;
                self.asked.retain(|&asked| asked != generation);
                Ok(Some(Said::Forked {
                    generation,
                    pid,
                    pidfd: pidfd.into(),
                }))
            }
            (FromZygote::ForkFailed { generation, errno }, Stage::Ready) => {
                self.asked.retain(|&asked| asked != generation);
                let error = io::Error::from_raw_os_error(errno);
                Ok(Some(Said::ForkFailed { generation, error }))
            }
            _ => Err(protocol("a message came out of turn".into())),
        }
    }

    /// Tells it before its first task what group tasks have, if that is not the usual one.
    fn tell_gid(&self) -> Result<(), ZygoteError> {
        let Some(gid) = self.gid else {
            return Ok(());
        };
        if self.minor < frame::GIDS {
            let path = self.path.clone();
            return Err(ZygoteError::Groupless { path, gid });
        }
        // If it is gone there will be no task.
        let _ = self.send(&ToZygote::Gid(gid), &[]);
        Ok(())
    }

    /// Reads what it prints; the lines, for the log.
    pub(crate) fn read_output(&mut self) -> (Vec<String>, bool) {
        let mut buffer = vec![0; READ];
        match nix::unistd::read(&self.output, &mut buffer) {
            Ok(0) => (Vec::new(), false),
            Ok(len) => {
                self.said.push(&buffer[..len]);
                let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
                (text.lines().map(str::to_owned).collect(), true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => (Vec::new(), true),
            Err(_) => (Vec::new(), false),
        }
    }

    /// Ends it, and says how it ended.
    pub(crate) fn end(mut self) -> ZygoteError {
        let path = self.path.clone();
        let mut output = self.said.text();
        let (lines, _) = self.read_output();
        output.push_str(&lines.join("\n"));
        let from = output.len().saturating_sub(2000);
        let output = output.chars().skip(from).collect();
        let how = match self.process.try_wait() {
            Ok(Some(status)) => format!("ended with {status}"),
            _ => {
                // It may be busy with a fork, or be no child of ours at all. Its tasks live on.
                let _ = self.pidfd.signal(libc::SIGKILL);
                match self.process.wait() {
                    Ok(status) => format!("ended with {status}"),
                    Err(error) => format!("cannot be waited for: {error}"),
                }
            }
        };
        ZygoteError::Died { path, how, output }
    }

    /// Lets it go: it ends by itself, and the tasks it started live on.
    pub(crate) fn retire(self) -> Child {
        // If it is gone already there is nothing to say.
        let _ = self.send(&ToZygote::Retire, &[]);
        self.process
    }

    /// Lets it go and waits for its end; kills it if that takes too long.
    pub(crate) fn end_within(self, within: Duration) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let pidfd = self.pidfd.as_fd().try_clone_to_owned();
        let mut process = self.retire();
        if let Ok(pidfd) = pidfd {
            let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
            let ended = poll(
                &mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)],
                timeout,
            );
            if ended == Ok(0) {
                // Its pidfd is that of our own unreaped child.
                let _ = PidFd::from(pidfd).signal(libc::SIGKILL);
            }
        }
        let _ = process.wait();
    }

    pub(crate) fn stuck(&self, seconds: u64) -> ZygoteError {
        ZygoteError::Stuck {
            path: self.path.clone(),
            seconds,
        }
    }

    pub(crate) fn slow(&self, seconds: u64) -> ZygoteError {
        ZygoteError::Slow {
            path: self.path.clone(),
            seconds,
        }
    }
}

/// Those of the environment, and one of ours if they leave it open.
fn tunables(environment: &[(OsString, OsString)]) -> OsString {
    let own = environment
        .iter()
        .rfind(|(name, _)| name == isolation::TUNABLES);
    let mut tunables = own.map_or_else(OsString::new, |(_, value)| value.clone());
    let (name, _) = isolation::TUNABLE.split_once('=').unwrap_or_default();
    if tunables.to_string_lossy().contains(name) {
        return tunables;
    }
    if !tunables.is_empty() {
        tunables.push(":");
    }
    tunables.push(isolation::TUNABLE);
    tunables
}

fn spawn(recipe: &Recipe, stdin: OwnedFd, output: OwnedFd) -> Result<Child, ZygoteError> {
    let path = recipe.child.clone();
    if !path.exists() {
        return Err(ZygoteError::Missing { path });
    }
    let stderr = output.try_clone().map_err(ZygoteError::Start)?;
    let mut command = Command::new(recipe.launcher.as_ref().unwrap_or(&path));
    command
        .arg("__zygote")
        .args(recipe.launcher.as_ref().map(|_| &path))
        .env_clear()
        .envs(recipe.environment.iter().map(|(n, v)| (n, v)))
        .env(isolation::TUNABLES, tunables(&recipe.environment));
    command
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(stderr));
    if let Some(directory) = &recipe.directory {
        command.current_dir(directory);
    }
    command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => ZygoteError::Start(source),
        _ => ZygoteError::NotExecutable { path, source },
    })
}
