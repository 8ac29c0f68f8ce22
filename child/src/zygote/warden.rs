//! An init that stays: pid 1 above one task after the other, each with a user of its own, so that a task
//! costs one fork instead of two and finds its namespaces made.
//!
//! What a task could leave to the next is its own, as its user is, or is looked through before its end is
//! told, as `/tmp` and IPC are; every process below is dead by then. The warden itself it cannot touch,
//! being another user without a right. Single-threaded; runs no code of the user's.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use bulkhead_shared::frame::{self, FromZygote, InitReport, ReportedUsage, ToZygote};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::unistd::{Pid, setpgid};

use super::control::Control;
use super::init::{FOREVER, REAPED_AT_ONCE};
use super::leavings::Leavings;
use super::prepare::Prepared;
use super::rehearsal::Lesson;
use super::task::{self, Given};
use super::{Failed, REQUEST, Step, init, walls};
use crate::registry::Registry;
use crate::sys::{self, Ended, Reaped, Received};

/// Turns this fresh fork into a warden, which starts the task that was asked for and those that it will
/// be asked for.
pub(super) fn stay(
    registry: &Registry,
    prepared: &Prepared,
    (zygote, lesson): (&Control, Option<&Lesson>),
    fork: &frame::Fork<'_>,
    mut given: Given,
) -> ! {
    let Some(socket) = given.take_report() else {
        sys::leave(libc::EXIT_FAILURE)
    };
    let supervisor = Control::of(socket);
    let mut warden = Warden {
        registry,
        prepared,
        signals: init::signals(),
        leavings: Leavings::default(),
    };
    if let Err(failed) = warden.settle(zygote) {
        given.unfit(&failed);
    }
    let mut told = warden.run(&supervisor, fork, given);
    // Not before: whatever has run by now was mapped with its neighbours.
    let _ = lesson.map(Lesson::take);
    let mut packet = [0; REQUEST];
    while told.is_ok() {
        let mut received = Received::default();
        told = match supervisor.hear(&mut packet, &mut received) {
            Ok(Some(ToZygote::Fork(fork))) => match Given::sort_below(received, prepared) {
                Some(given) => warden.run(&supervisor, &fork, given),
                None => break,
            },
            Ok(_) | Err(_) => break,
        };
    }
    sys::leave(0)
}

struct Warden<'a> {
    registry: &'a Registry,
    prepared: &'a Prepared,
    signals: SigSet,
    leavings: Leavings,
}

impl Warden<'_> {
    /// What is done once.
    fn settle(&self, zygote: &Control) -> Result<(), Failed> {
        // It kills whatever it can see.
        if Pid::this().as_raw() != 1 {
            let error = io::Error::from_raw_os_error(libc::ESRCH);
            return Err(error).step("be the first of its pid namespace");
        }
        let own = Pid::from_raw(0);
        setpgid(own, own).step("lead a process group")?;
        prctl::set_dumpable(false).step("hide the init")?;
        prctl::set_pdeathsig(Signal::SIGKILL).step("follow the supervisor's death")?;
        // Whoever waits for these to close waits for the zygote.
        let null = self.prepared.null.as_fd();
        zygote.replace(null).step("let go of its zygote's socket")?;
        for output in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
            sys::place(null, output).step("let go of its zygote's outputs")?;
        }
        let Prepared { setup, raised, .. } = self.prepared;
        if let (Some(walls), Some(raised)) = (setup.walls.as_deref(), raised) {
            walls::furnish_proc(walls, raised)?;
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&self.signals), None).step("block signals")
    }

    /// Runs one task, and tells of its end.
    fn run(
        &mut self,
        supervisor: &Control,
        fork: &frame::Fork<'_>,
        given: Given,
    ) -> io::Result<()> {
        // What was meant for the task before.
        while sys::wait_for_signal(&self.signals, Duration::ZERO) != 0 {}
        let walls = self.prepared.setup.walls.as_deref();
        // Who is the warden's own user could do anything to it.
        let user = fork.uid.filter(|user| *user != 0);
        let user = user.ok_or_else(|| io::Error::from_raw_os_error(libc::EPERM));
        let started = user.step("run as root below an init that stays");
        let started = started.and_then(|user| {
            walls.map_or(Ok(()), |walls| {
                self.leavings.furnish(walls, self.prepared.owner(user))
            })?;
            self.prepared.fork_below().step("fork the task")
        });
        let task = match started {
            Ok(0) => {
                // What is said there is believed: the task is not to have it, whatever else fails.
                let closed = supervisor.replace(self.prepared.null.as_fd());
                match closed.step("let go of its warden's socket") {
                    Ok(()) => self.become_task(fork, given),
                    Err(failed) => given.unfit(&failed),
                }
            }
            Ok(task) => Pid::from_raw(task),
            Err(failed) => given.unfit(&failed),
        };
        // Its pipes would stay open after it.
        drop(given);
        let (report, usage) = self.watch(task);
        let cleared = walls.map_or(Ok(()), |walls| self.leavings.clear(walls));
        let ended = FromZygote::Ended {
            generation: fork.generation,
            report,
            usage,
            whole: sys::whole_usage(),
        };
        let told = supervisor.answer(&ended, None);
        if cleared.is_err() {
            // All of it goes with the namespaces.
            sys::leave(libc::EXIT_FAILURE);
        }
        told
    }

    fn become_task(&self, fork: &frame::Fork<'_>, given: Given) -> ! {
        task::begin(self.registry, self.prepared, fork, given, || {
            // A group of its own, so that the warden can signal all of it and not itself.
            let own = Pid::from_raw(0);
            setpgid(own, own).step("lead a process group")?;
            let walls = self.prepared.setup.walls.as_deref();
            walls.map_or(Ok(()), walls::furnish_network)
        })
    }

    /// Watches over `task` until it has ended, and then ends everything it has started: how it
    /// ended, and what all of them consumed.
    fn watch(&self, task: Pid) -> (InitReport, ReportedUsage) {
        let mut sum = ReportedUsage {
            cpu_user_us: 0,
            cpu_system_us: 0,
            max_rss_kb: None,
        };
        let mut report = None;
        let mut count = |ended: Ended| {
            sum.cpu_user_us = sum.cpu_user_us.saturating_add(ended.cpu_user_us);
            sum.cpu_system_us = sum.cpu_system_us.saturating_add(ended.cpu_system_us);
            sum.max_rss_kb = sum.max_rss_kb.max(Some(ended.max_rss_kb));
            if ended.pid == task.as_raw() {
                // Its number may come again, among those that it has left.
                report.get_or_insert(ended.how);
            }
            report.is_some()
        };
        let mut wait = FOREVER;
        let is_empty = loop {
            match sys::wait_for_signal(&self.signals, wait) {
                libc::SIGTERM => init::hand_on(task),
                libc::SIGHUP => kill_all(),
                _ => {}
            }
            // Not all at once: whoever makes orphans faster than they are reaped is to be killed, too.
            let looked = (0..REAPED_AT_ONCE).find_map(|_| match sys::reap_any() {
                Reaped::Ended(ended) if count(ended) => Some(Reaped::Ended(ended)),
                Reaped::Ended(_) => None,
                other => Some(other),
            });
            wait = match looked {
                Some(Reaped::Ended(_)) => break false,
                Some(Reaped::NoChildren) => break true,
                Some(Reaped::NobodyYet) => FOREVER,
                None => Duration::ZERO,
            };
        };
        let mut next = match is_empty {
            true => Reaped::NoChildren,
            false => sys::reap_any(),
        };
        if !matches!(next, Reaped::NoChildren) {
            // Whoever is left is below it, or an orphan and its own.
            kill_all();
        }
        while !matches!(next, Reaped::NoChildren) {
            if let Reaped::Ended(ended) = next {
                count(ended);
            }
            next = sys::reap_next();
        }
        let unknown = InitReport { signal: 0, code: 0 };
        (report.unwrap_or(unknown), sum)
    }
}

/// Kills every process of this pid namespace but this one, its first: all at once, so that none can
/// fork meanwhile.
fn kill_all() {
    // Nobody left is as good as killed.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
}
