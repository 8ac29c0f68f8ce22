//! Processes that get their first job before they are there: it waits in their pipe while the zygote forks
//! them, and they neither ask for it nor wait.
//!
//! Only where the last process of the same zygote was ready. The pool knows nothing of it: it is told what
//! is about to be true. Should it not come true, the job was not begun, and is given back uncounted.

use bulkhead_shared::isolation::{Containment, Setup};
use bulkhead_shared::time::Now;
use tracing::debug;

use super::Reactor;
use super::place::{Process, SetUp};
use crate::pool::{End, Force, Input, LinkEvent, Seat};

impl Reactor {
    /// Takes a process that the zygote has just been asked for as ready, if that is likely.
    pub(super) fn trust(&mut self, seat: Seat, profile: u16, now: Now) {
        let plan = &self.menu.entry(profile).plan;
        // Elsewhere an init has to be there before anybody can be killed, or a process of which nobody has
        // heard is not yet where it is swept; a program that is executed may take any time to start.
        let Setup {
            containment,
            clone3,
            exec,
            ..
        } = plan.setup;
        let is_usual = containment == Containment::Cgroup && clone3 && !exec;
        let is_likely = is_usual && self.nurseries[usize::from(profile)].is_reliable();
        let Some(process) = self.process(seat).filter(|one| is_likely && !one.is_group) else {
            return;
        };
        process.set_up = SetUp::Expected;
        process.link.waives_hello();
        self.tell(now, Input::Spawned(seat));
        self.tell(now, Input::Link(seat, LinkEvent::Ready));
    }

    /// Forgets a process that was never started.
    pub(super) fn drop_unborn(&mut self, seat: Seat, now: Now) {
        let place = &mut self.places[usize::from(seat.slot)];
        let Some(process) = place.process(seat.generation) else {
            return;
        };
        if process.set_up == SetUp::Expected {
            debug!(
                slot = seat.slot,
                "a process that was counted on does not come"
            );
            // Its zygote may have died before it could say that it came after all; the sweep finds it.
            self.judge_set_up(seat);
            return self.come_to_nothing(seat, now);
        }
        let uid = process.uid;
        place.process = None;
        self.give_back_user(uid);
        self.tell(now, Input::SpawnFailed(seat));
    }

    fn come_to_nothing(&mut self, seat: Seat, now: Now) {
        if let Some(process) = self.process(seat) {
            let profile = process.profile;
            process.link.close();
            self.nurseries[usize::from(profile)].relies(false);
        }
        if let Some(watch) = &self.watch {
            watch.over(seat);
        }
        self.tell(now, Input::Link(seat, LinkEvent::Exited));
    }

    /// Takes the job of a process that is to be stopped before it is there out of its pipe. Without one it
    /// ends by itself when it comes, and nobody waits for it.
    pub(super) fn stop_unborn(&mut self, seat: Seat, force: Force, now: Now) {
        let Some(process) = self.process(seat) else {
            return;
        };
        if process.set_up != SetUp::Expected {
            return;
        }
        if process.link.withdraw() {
            debug!(slot = seat.slot, "a process is given up before it is there");
            self.come_to_nothing(seat, now);
        } else {
            // It has begun to read: word of it is on its way.
            if process.link.job().is_none() {
                process.set_up = SetUp::Done;
            }
            process.signal = Some(force);
        }
    }

    /// Ends processes that were taken for ready and have not read their job for too long.
    pub(super) fn end_stuck(&mut self, stuck: Vec<Seat>, now: Now) {
        for seat in stuck {
            if let Some(process) = self.process(seat) {
                let profile = process.profile;
                self.nurseries[usize::from(profile)].relies(false);
            }
            self.violate(seat, "is not ready for its job".into(), now);
        }
    }

    /// A process has ended: what it had made of what was expected of it.
    pub(super) fn judge_set_up(&mut self, seat: Seat) {
        let Some(process) = self.process(seat) else {
            return;
        };
        if process.set_up != SetUp::Expected {
            return;
        }
        if process.link.was_read() {
            process.set_up = SetUp::Done;
        } else if process.link.was_written_to() {
            let profile = process.profile;
            self.nurseries[usize::from(profile)].relies(false);
        }
    }
}

/// How an attempt ended, now that it is known whether it had begun.
pub(super) fn end_of(process: Option<&Process>, end: End) -> End {
    let is_begun = |process: &Process| matches!(process.set_up, SetUp::Unsaid | SetUp::Done);
    match end {
        End::Crashed | End::Protocol if !process.is_none_or(is_begun) => End::Released,
        end => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::link::Link;
    use crate::process::pipes;

    #[test]
    fn what_had_not_begun_is_given_back_if_nobody_wanted_its_end() {
        let (ours, _theirs) = pipes::open(false).unwrap();
        let mut process = Process::new(1, Link::new(ours, 0), 0);
        for end in [End::Crashed, End::Protocol] {
            for set_up in [SetUp::Unsaid, SetUp::Done] {
                process.set_up = set_up;
                assert_eq!(end_of(Some(&process), end), end, "{set_up:?}");
            }
            for set_up in [SetUp::Expected, SetUp::Failed] {
                process.set_up = set_up;
                assert_eq!(end_of(Some(&process), end), End::Released, "{set_up:?}");
            }
            assert_eq!(end_of(None, end), end);
        }
        for end in [End::TimedOut, End::Revoked, End::Forgotten, End::Unkillable] {
            assert_eq!(end_of(Some(&process), end), end);
        }
    }
}
