//! The supervisor's side of a warden: an init that stays above one task process after the other.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bulkhead_shared::codec;
use bulkhead_shared::frame::{Fork, FromZygote, InitReport, ReportedUsage, ToZygote};
use bulkhead_shared::pidfd::PidFd;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

use super::exit::{self, Exit};
use super::packet;

/// How long one may take to die.
const END_WITHIN: Duration = Duration::from_secs(2);

/// A warden while its task is there.
#[derive(Debug)]
pub(crate) struct Warden {
    socket: OwnedFd,
    /// Which zygote it is a copy of.
    zygote: u64,
    profile: u16,
    /// What its own end would count, when its last task ended.
    spent: ReportedUsage,
}

/// What a warden has said.
#[derive(Debug)]
pub(crate) enum Heard {
    Nothing,
    /// The task has ended, and so has all that it had started.
    Ended(InitReport, Exit),
    /// It has closed its end: it is about to die.
    Gone,
}

impl Warden {
    /// One that a zygote is about to start, heard through `socket`.
    pub(crate) fn new(socket: OwnedFd, zygote: u64, profile: u16) -> Self {
        Self {
            socket,
            zygote,
            profile,
            spent: ReportedUsage {
                cpu_user_us: 0,
                cpu_system_us: 0,
                max_rss_kb: None,
            },
        }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What it says of the task of this generation.
    pub(crate) fn hear(&mut self, generation: u64) -> Heard {
        let mut packet = [0; 128];
        loop {
            let len = match recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Heard::Gone,
                Ok(len) => len,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Heard::Nothing,
                Err(_) => return Heard::Gone,
            };
            match codec::decode(&packet[..len]) {
                Ok(FromZygote::Ended {
                    generation: of,
                    report,
                    usage,
                    whole,
                }) if of == generation => {
                    self.spent = whole;
                    return Heard::Ended(report, exit_of(report, usage));
                }
                _ => {}
            }
        }
    }

    /// Of a warden's own end that of the task it died with. Its peak is known if it is the largest so
    /// far.
    pub(crate) fn share(&self, exit: Exit) -> Exit {
        let spent = self.spent;
        Exit {
            cpu_user: exit
                .cpu_user
                .saturating_sub(Duration::from_micros(spent.cpu_user_us)),
            cpu_system: exit
                .cpu_system
                .saturating_sub(Duration::from_micros(spent.cpu_system_us)),
            max_rss_kb: exit
                .max_rss_kb
                .filter(|_| exit.max_rss_kb > spent.max_rss_kb),
            ..exit
        }
    }
}

fn exit_of(report: InitReport, usage: ReportedUsage) -> Exit {
    Exit {
        signal: report.signal,
        code: report.code,
        cpu_user: Duration::from_micros(usage.cpu_user_us),
        cpu_system: Duration::from_micros(usage.cpu_system_us),
        max_rss_kb: usage.max_rss_kb,
    }
}

/// A warden that waits for its next task.
#[derive(Debug)]
pub(crate) struct Idle {
    pub warden: Warden,
    pub pidfd: PidFd,
    pub pid: i32,
}

impl Idle {
    /// Whether it is a copy of this zygote.
    pub(crate) const fn is_of(&self, profile: u16, zygote: u64) -> bool {
        self.warden.profile == profile && self.warden.zygote == zygote
    }

    pub(crate) const fn profile(&self) -> u16 {
        self.warden.profile
    }

    /// Asks for the next task.
    pub(crate) fn fork(&self, fork: Fork<'_>, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        packet::send(self.warden.socket(), &ToZygote::Fork(fork), descriptors)
    }

    /// Lets go of it: it is about to be dead.
    pub(crate) fn dismiss(self) -> Dismissed {
        let Self { pidfd, pid, .. } = self;
        // It may be dead already.
        let _ = pidfd.signal(libc::SIGKILL);
        Dismissed { pidfd, pid }
    }
}

/// A warden that was let go, until it is reaped.
#[derive(Debug)]
pub(crate) struct Dismissed {
    pidfd: PidFd,
    pub pid: i32,
}

impl Dismissed {
    /// Reaps it if it is dead; whether it is gone.
    pub(crate) fn is_gone(&self) -> bool {
        !matches!(exit::reap(&self.pidfd), Ok(None))
    }

    /// Waits until it is dead, and reaps it.
    pub(crate) fn wait(&self) {
        let timeout = PollTimeout::try_from(END_WITHIN).unwrap_or(PollTimeout::MAX);
        let mut ended = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut ended, timeout);
        let _ = exit::reap(&self.pidfd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(cpu_user: u64, max_rss_kb: u64) -> Exit {
        Exit {
            signal: libc::SIGKILL,
            code: 0,
            cpu_user: Duration::from_micros(cpu_user),
            cpu_system: Duration::ZERO,
            max_rss_kb: Some(max_rss_kb),
        }
    }

    #[test]
    fn a_task_that_its_warden_dies_with_has_consumed_what_earlier_ones_have_not() {
        let socket = std::fs::File::open("/dev/null").unwrap().into();
        let mut warden = Warden::new(socket, 1, 0);
        assert_eq!(warden.share(exit(5, 70)), exit(5, 70));
        // A task of 3 us, and what the warden took itself.
        warden.spent = ReportedUsage {
            cpu_user_us: 4,
            cpu_system_us: 0,
            max_rss_kb: Some(60),
        };
        assert_eq!(warden.share(exit(5, 70)), exit(1, 70));
        // Whose peak it is cannot be told.
        let unknown = Exit {
            max_rss_kb: None,
            ..exit(1, 0)
        };
        assert_eq!(warden.share(exit(5, 60)), unknown);
    }
}
