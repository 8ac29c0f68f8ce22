//! Inits that stay: a slot's next process comes from the warden of the one before, if it is to be of
//! the same kind.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use bulkhead_shared::time::Now;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use tracing::{debug, error, warn};

use super::Reactor;
use super::nursery::Spawn;
use super::place::{Kind, Process, token};
use crate::pool::{Input, Seat};
use crate::process::warden::{Dismissed, Heard, Idle, Warden};

/// A warden that was told to kill everything below it, and says nothing for so long, is killed itself:
/// then the kernel does.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Those that are to end.
#[derive(Debug, Default)]
pub(super) struct Wardens {
    /// Told to kill everything below them, and until when they have to answer.
    told: VecDeque<(Seat, Instant)>,
    /// Let go, and not yet reaped.
    dismissed: Vec<Dismissed>,
}

impl Wardens {
    /// The one of this seat was told to kill everything below it.
    pub(super) fn is_told(&mut self, seat: Seat) {
        self.told
            .push_back((seat, Now::read().mono + ANSWER_WITHIN));
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.told.front().map(|&(_, at)| at)
    }

    /// Children of ours that nobody else knows.
    pub(super) fn pids(&self) -> impl Iterator<Item = i32> {
        self.dismissed.iter().map(|dismissed| dismissed.pid)
    }
}

impl Reactor {
    /// Whether the warden that waits in a slot can start the next process; one that cannot is let go.
    pub(super) fn keep_warden(&mut self, slot: u16, profile: u16, uid: Option<u32>) -> bool {
        let number = self.nurseries[usize::from(profile)].number;
        let can_stay = self.menu.entry(profile).plan.has_wardens(uid);
        let fits = |idle: &Idle| can_stay && idle.is_of(profile, number);
        let place = &self.places[usize::from(slot)];
        let is_fit = place.idle.as_ref().is_some_and(fits);
        if !is_fit {
            self.dismiss(slot);
        }
        is_fit
    }

    /// Has the warden of its slot start the process that `spawn` describes.
    pub(super) fn employ(&mut self, spawn: &Spawn, profile: u16, now: Now) {
        let seat = spawn.seat;
        let place = &self.places[usize::from(seat.slot)];
        let plan = &self.menu.entry(profile).plan;
        let (fork, descriptors) = spawn.request(place, plan, self.memory_of(profile));
        let asked = place
            .idle
            .as_ref()
            .map(|idle| idle.fork(fork, &descriptors));
        if let Some(Err(error)) = asked {
            debug!(%error, slot = seat.slot, "a warden is gone");
            self.dismiss(seat.slot);
        }
        self.nurseries[usize::from(profile)].is_used(now.mono);
        let Some(idle) = self.places[usize::from(seat.slot)].idle.take() else {
            return self.drop_unborn(seat, now);
        };
        let Idle { warden, pidfd, pid } = idle;
        let event =
            |kind| EpollEvent::new(EpollFlags::EPOLLIN, token(seat.slot, seat.generation, kind));
        // Watched already, under the name of the process before.
        let _ = self.epoll.modify(pidfd.as_fd(), &mut event(Kind::Exit));
        let _ = self.epoll.modify(warden.socket(), &mut event(Kind::Report));
        if let Some(process) = self.process(seat) {
            process.pid = pid;
            process.pidfd = Some(pidfd);
            process.warden = Some(warden);
        }
        if let Err(error) = self.watch_pipes(seat) {
            error!(%error, pid, "a process cannot be watched (raise fs.epoll.max_user_watches)");
        }
        self.tell(now, Input::Spawned(seat));
    }

    /// A warden has said something, or is about to die.
    pub(super) fn hear_warden(&mut self, seat: Seat, now: Now) {
        let place = &mut self.places[usize::from(seat.slot)];
        let Some(process) = place.process(seat.generation) else {
            return;
        };
        let Some(warden) = process.warden.as_mut() else {
            return;
        };
        let (report, exit) = match warden.hear(seat.generation) {
            Heard::Nothing => return,
            Heard::Ended(report, exit) => (report, exit),
            // The rest is told by its pidfd.
            Heard::Gone => {
                let _ = self.epoll.delete(warden.socket());
                return;
            }
        };
        process.exit = Some(exit);
        process.report = Some(report);
        let pid = process.pid;
        // Nobody is signalled any more, whatever is found in its pipes.
        if let (Some(warden), Some(pidfd)) = (process.warden.take(), process.pidfd.take()) {
            place.idle = Some(Idle { warden, pidfd, pid });
        }
        self.hear_rest(seat, now);
        let is_early = |process: &mut Process| {
            process.served == 0 && process.running.is_empty() && process.link.job().is_some()
        };
        if self.process(seat).is_some_and(is_early) {
            // Before it had a job, and nobody had asked it to: something may be wrong with its warden.
            self.dismiss(seat.slot);
        }
        self.exited(seat, now);
    }

    /// Lets go of the warden that waits in a slot.
    pub(super) fn dismiss(&mut self, slot: u16) {
        if let Some(idle) = self.places[usize::from(slot)].idle.take() {
            // A zygote may hold copies of these for a moment, which would keep the watches alive.
            let _ = self.epoll.delete(idle.pidfd.as_fd());
            let _ = self.epoll.delete(idle.warden.socket());
            self.wardens.dismissed.push(idle.dismiss());
        }
    }

    /// Lets go of those whose zygote is gone for want of work.
    pub(super) fn let_idle_wardens_go(&mut self) {
        for slot in 0..self.places.len() {
            let idle = self.places[slot].idle.as_ref();
            let profile = idle.map(|idle| usize::from(idle.profile()));
            if profile.is_some_and(|profile| self.nurseries[profile].is_dormant()) {
                self.dismiss(u16::try_from(slot).unwrap_or(u16::MAX));
            }
        }
    }

    /// Kills those that have not answered in time, and reaps those that are dead.
    pub(super) fn tend_wardens(&mut self, now: Instant) {
        self.wardens
            .dismissed
            .retain(|dismissed| !dismissed.is_gone());
        while self.wardens.wake_at().is_some_and(|at| at <= now) {
            let told = self.wardens.told.pop_front();
            let process = told.and_then(|(seat, _)| self.process(seat));
            if let Some(pidfd) = process.and_then(|process| process.pidfd.as_ref()) {
                warn!("an init does not end its task: it is ended itself");
                // Its end is heard like every other.
                let _ = pidfd.signal(libc::SIGKILL);
            }
        }
    }

    /// Ends those that wait, and waits for the end of all.
    pub(super) fn end_wardens(&mut self) {
        for slot in 0..self.places.len() {
            self.dismiss(u16::try_from(slot).unwrap_or(u16::MAX));
        }
        self.wardens.dismissed.iter().for_each(Dismissed::wait);
    }
}

/// A warden has died with its task, or right after that had ended.
pub(super) fn warden_died(process: &mut Process, mut warden: Warden) {
    match warden.hear(process.generation) {
        Heard::Ended(report, exit) => {
            process.report = Some(report);
            process.exit = Some(exit);
        }
        Heard::Nothing | Heard::Gone => process.exit = process.exit.map(|exit| warden.share(exit)),
    }
}
