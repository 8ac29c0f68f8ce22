//! A limit: jobs a second through a zygote that does nothing but what has to be done.
//!
//! A request with two pipes over a SEQPACKET socket, a sibling by clone3, its pidfd back, 200
//! bytes in, 200 bytes out, eight at a time. No sandbox, no codec, no store.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use nix::fcntl::OFlag;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{pipe2, read, write};

use crate::limit::WINDOW;

/// The zygote's argument.
pub(crate) const SERVER: &str = "zygote-server";

/// Bytes of a job and of a result.
const BYTES: usize = 200;

/// The socket's token; slots are counted from 0.
const SOCKET: u64 = u64::MAX;

/// A process under way.
struct Running {
    result: OwnedFd,
    pidfd: Option<OwnedFd>,
    /// Held until the zygote has them: a socket full of descriptors is no copy.
    given: Option<[OwnedFd; 2]>,
}

/// The supervisor's side.
pub(crate) struct Driver {
    zygote: Child,
    socket: Option<OwnedFd>,
    epoll: Epoll,
    slots: Vec<Option<Running>>,
}

impl Driver {
    pub(crate) fn start(role: &str) -> anyhow::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let zygote = Command::new(std::env::current_exe()?)
            .args([role, SERVER])
            .env_clear()
            .stdin(Stdio::from(theirs))
            .spawn()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&ours, EpollEvent::new(EpollFlags::EPOLLIN, SOCKET))?;
        Ok(Self {
            zygote,
            socket: Some(ours),
            epoll,
            slots: (0..WINDOW).map(|_| None).collect(),
        })
    }

    /// Runs `count` jobs.
    pub(crate) fn run(&mut self, count: usize) -> anyhow::Result<()> {
        let (mut asked, mut done) = (0, 0);
        while asked < count.min(WINDOW) {
            self.ask(asked)?;
            asked += 1;
        }
        let mut events = [EpollEvent::empty(); 2 * WINDOW];
        while done < count {
            let ready = self.epoll.wait(&mut events, EpollTimeout::NONE)?;
            for event in &events[..ready] {
                if event.data() == SOCKET {
                    self.hear()?;
                    continue;
                }
                let slot = usize::try_from(event.data())?;
                self.finish(slot)?;
                done += 1;
                if asked < count {
                    self.ask(slot)?;
                    asked += 1;
                }
            }
        }
        Ok(())
    }

    fn socket(&self) -> anyhow::Result<RawFd> {
        let socket = self
            .socket
            .as_ref()
            .context("the socket is open until the end")?;
        Ok(socket.as_raw_fd())
    }

    fn ask(&mut self, slot: usize) -> anyhow::Result<()> {
        let (their_job, job) = pipe2(OFlag::O_CLOEXEC)?;
        let (result, their_result) = pipe2(OFlag::O_CLOEXEC)?;
        write(&job, &[b'j'; BYTES])?;
        let number = [u8::try_from(slot)?];
        let rights = [their_job.as_raw_fd(), their_result.as_raw_fd()];
        send(self.socket()?, &number, &rights)?;
        self.slots[slot] = Some(Running {
            result,
            pidfd: None,
            given: Some([their_job, their_result]),
        });
        Ok(())
    }

    fn hear(&mut self) -> anyhow::Result<()> {
        let mut number = [0; 1];
        let (len, descriptors) = receive(self.socket()?, &mut number)?;
        ensure!(len == 1, "the zygote has died");
        let slot = usize::from(number[0]);
        let pidfd = descriptors.into_iter().next().context("a pidfd")?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, slot as u64);
        self.epoll.add(&pidfd, event)?;
        let running = self.slots[slot].as_mut().context("it was asked for")?;
        running.pidfd = Some(pidfd);
        running.given = None;
        Ok(())
    }

    fn finish(&mut self, slot: usize) -> anyhow::Result<()> {
        let running = self.slots[slot].take().context("it was running")?;
        let pidfd = running.pidfd.context("it was born")?;
        // The zygote may still hold its copy, which would keep the watch alive.
        self.epoll.delete(&pidfd)?;
        let mut bytes = [0; 2 * BYTES];
        let len = read(&running.result, &mut bytes)?;
        ensure!(len == BYTES, "a result of {len} bytes");
        waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED)?;
        Ok(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It ends when its socket does.
        self.socket = None;
        let _ = self.zygote.wait();
    }
}

fn send(socket: RawFd, bytes: &[u8], rights: &[RawFd]) -> nix::Result<()> {
    let control = [ControlMessage::ScmRights(rights)];
    let parts = [IoSlice::new(bytes)];
    sendmsg::<()>(socket, &parts, &control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

fn receive(socket: RawFd, bytes: &mut [u8]) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; 2]);
    let mut parts = [IoSliceMut::new(bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket, &mut parts, Some(&mut space), flags)?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            for number in numbers {
                // SAFETY: the kernel has just opened it for us, and nobody else knows it.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    Ok((message.bytes, descriptors))
}

/// Lives as the zygote, on standard input, until the other end closes.
pub(crate) fn serve() -> anyhow::Result<()> {
    let socket = std::io::stdin().as_raw_fd();
    let mut number = [0; 1];
    loop {
        let (len, descriptors) = receive(socket, &mut number)?;
        if len == 0 {
            return Ok(());
        }
        match sibling()? {
            None => task(&descriptors),
            Some(pidfd) => send(socket, &number, &[pidfd.as_raw_fd()])?,
        }
    }
}

/// Forks a process whose parent is this process' parent; its pidfd, or `None` in the copy.
fn sibling() -> nix::Result<Option<OwnedFd>> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: plain integers, for which all zeroes is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_PARENT | libc::CLONE_PIDFD) as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    let size = size_of::<libc::clone_args>();
    // SAFETY: as fork: the copy has its own memory, and there is one thread. Both arguments outlive
    // the call.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) } {
        -1 => Err(nix::errno::Errno::last()),
        0 => Ok(None),
        // SAFETY: the kernel has just made it for us.
        _ => Ok(Some(unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

fn task(descriptors: &[OwnedFd]) -> ! {
    let mut bytes = [0; 2 * BYTES];
    let work = |from: BorrowedFd<'_>, to: BorrowedFd<'_>, bytes: &mut [u8]| {
        let len = read(from, bytes)?;
        write(to, &bytes[..len])
    };
    let done = match descriptors {
        [job, result] => work(job.as_fd(), result.as_fd(), &mut bytes).is_ok(),
        _ => false,
    };
    // SAFETY: _exit takes a number and ends this process at once.
    unsafe { libc::_exit(i32::from(!done)) }
}
