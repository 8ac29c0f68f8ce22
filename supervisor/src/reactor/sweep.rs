//! Clears away what a process has left: other processes first, then its directory. Only then is
//! its verdict written.

use std::io;
use std::os::fd::AsFd;

use bulkhead_shared::isolation::Containment;
use bulkhead_shared::time::Now;
use nix::sys::epoll::EpollFlags;
use tracing::{error, warn};

use super::nursery::Nursery;
use super::place::{Kind, Place, Process, earlier, token};
use super::{Reactor, SWEEP_AGAIN, watch};
use crate::pool::{Input, Seat, Sweep};
use crate::process::cgroup::Leaf;
use crate::process::{exit, home, orphans};

impl Reactor {
    /// Clears away what the process has left: other processes first, then its directory.
    pub(super) fn sweep(&mut self, seat: Seat, now: Now) {
        if let Some(process) = self.process(seat) {
            process.is_sweeping = true;
        }
        self.look_at_sweep(seat.slot, now);
    }

    /// A process is dead, and another traces it, which alone can reap it before it dies itself. Kills
    /// that one, if the process has started it, and looks again later: until then its pidfd says the same.
    pub(super) fn end_tracer(&mut self, seat: Seat, now: Now) {
        let place = &mut self.places[usize::from(seat.slot)];
        if let Some(Err(error)) = place.leaf.as_ref().map(Leaf::kill) {
            warn!(%error, slot = seat.slot, "what a task left behind could not be killed");
        }
        let Some(process) = place.process(seat.generation) else {
            return;
        };
        process.is_traced = true;
        if let Some(pidfd) = &process.pidfd {
            // Done already, if this is not the first look.
            let _ = self.epoll.delete(pidfd.as_fd());
        }
        self.sweeping.push(seat.slot);
        self.sweep_due = earlier(self.sweep_due, Some(now.mono + SWEEP_AGAIN));
    }

    pub(super) fn look_at_sweep(&mut self, slot: u16, now: Now) {
        let Some(place) = self.places.get_mut(usize::from(slot)) else {
            return;
        };
        let traced = place.process.as_ref().filter(|process| process.is_traced);
        if let Some(process) = traced.filter(|process| process.pidfd.is_some()) {
            let generation = process.generation;
            return self.hear_exit(Seat { slot, generation }, now);
        }
        // While its home is being removed, that is what its sweep waits for.
        let is_due = |process: &&Process| process.is_sweeping && !process.is_clearing;
        let Some(process) = place.process.as_ref().filter(is_due) else {
            return;
        };
        let (generation, profile) = (process.generation, process.profile);
        if let Some(leaf) = &place.leaf {
            match leaf.is_populated() {
                Ok(false) => {}
                populated => {
                    let killed = populated.and_then(|_| leaf.kill());
                    if let Err(error) = killed {
                        warn!(%error, slot, "what a task left behind could not be killed");
                    }
                    let id = token(slot, generation, Kind::Cgroup);
                    // Watched already, if this is not the first look.
                    let _ = watch(&self.epoll, leaf.events(), EpollFlags::EPOLLPRI, id);
                    self.sweeping.push(slot);
                    self.sweep_due = earlier(self.sweep_due, Some(now.mono + SWEEP_AGAIN));
                    return;
                }
            }
            if leaf.is_used_up() {
                // Not watched, if its first look found it empty.
                let _ = self.epoll.delete(leaf.events());
                self.renew_leaf(slot, generation);
                self.reap_strangers(now);
            }
        } else if self.has_orphans(slot, now) {
            self.sweeping.push(slot);
            self.sweep_due = earlier(self.sweep_due, Some(now.mono + SWEEP_AGAIN));
            return;
        }
        let home = self.home(slot, profile);
        let kept = &mut self.places[usize::from(slot)].home;
        match home {
            Some(home) if !home::is_as_new(&home, kept) => {
                kept.forget();
                let seat = Seat { slot, generation };
                if let Some(process) = self.process(seat) {
                    process.is_clearing = true;
                }
                self.cleaner.remove(generation, home);
                self.tell(now, Input::Swept(seat, Sweep::Files));
            }
            _ => self.swept(Seat { slot, generation }, Sweep::Clean, now),
        }
    }

    /// Where only an init stood above the task, and something has killed that init: its orphans are
    /// ours now. Kills them; whether there were any, or may be.
    fn has_orphans(&mut self, slot: u16, now: Now) -> bool {
        let process = self.places[usize::from(slot)].process.as_ref();
        let init_was_killed = process
            .and_then(|process| process.exit)
            .is_some_and(|exit| exit.signal != 0);
        let containment = process.map(|process| self.menu.containment(process.profile));
        // As PID 1 we adopt strangers as well, who must be left alone.
        if !init_was_killed
            || containment != Some(Containment::Subreaper)
            || std::process::id() == 1
        {
            return false;
        }
        // A process that was forked and not yet reported would be taken for an orphan.
        if self.nurseries.iter().any(Nursery::has_unanswered) {
            return true;
        }
        self.reap_strangers(now);
        let known = self.known_pids();
        orphans::kill(&known) > 0
    }

    /// Reaps orphans that this process has adopted; the rest, if there are many, in the next turn.
    pub(super) fn reap_strangers(&mut self, now: Now) {
        // A process that was forked and not yet reported would be taken for a stranger.
        if self.nurseries.iter().any(Nursery::has_unanswered) {
            return;
        }
        self.nurseries.iter_mut().for_each(Nursery::reap_retired);
        let known = self.known_pids();
        if exit::reap_strangers(|pid| known.contains(&pid)) {
            self.reap_due = now.mono;
        }
    }

    /// Children of ours whose end somebody waits for.
    fn known_pids(&self) -> Vec<i32> {
        self.places
            .iter()
            .flat_map(Place::pids)
            .chain(self.wardens.pids())
            .chain(self.nurseries.iter().flat_map(Nursery::pids))
            .collect()
    }

    fn renew_leaf(&mut self, slot: u16, generation: u64) {
        let Some(cgroups) = &self.cgroups else { return };
        match cgroups.leaf(slot, generation) {
            Ok(fresh) => {
                let old = self.places[usize::from(slot)].leaf.replace(fresh);
                if let Some(old) = old {
                    old.remove();
                }
            }
            // The old one stays: on kernels that allow it, it serves again.
            Err(error) => error!(%error, slot, "a slot's cgroup could not be renewed"),
        }
    }

    fn swept(&mut self, seat: Seat, sweep: Sweep, now: Now) {
        if let Some(process) = self.process(seat) {
            process.is_sweeping = false;
            let uid = process.uid;
            if sweep == Sweep::Clean {
                self.give_back_user(uid);
            }
        }
        self.tell(now, Input::Swept(seat, sweep));
    }

    pub(super) fn cleaned(&mut self, generation: u64, removed: io::Result<()>, now: Now) {
        let is_it = |process: &Process| process.generation == generation && process.is_sweeping;
        let slot = self
            .places
            .iter()
            .position(|p| p.process.as_ref().is_some_and(is_it));
        let Some(slot) = slot.and_then(|slot| u16::try_from(slot).ok()) else {
            return;
        };
        let sweep = match removed {
            Ok(()) => Sweep::Clean,
            Err(error) => {
                error!(%error, slot, "a private directory could not be removed");
                Sweep::Unkillable
            }
        };
        self.swept(Seat { slot, generation }, sweep, now);
    }
}
