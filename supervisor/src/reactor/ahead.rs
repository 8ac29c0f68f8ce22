//! Processes that get their first job before they are there: it waits in their pipe while the zygote forks
//! them, and they neither ask for it nor wait.
//!
//! Only where the last process of the same zygote was ready. The pool knows nothing of it: it is told what
//! is about to be true. Should it not come true, the job was not begun, and is given back uncounted.

use bulkhead_shared::isolation::Containment;
use bulkhead_shared::time::Now;
use tracing::debug;

use super::Reactor;
use super::place::{Process, SetUp};
use crate::pool::{End, Input, LinkEvent, Seat};

impl Reactor {
    /// Takes a process that the zygote has just been asked for as ready, if that is likely.
    pub(super) fn trust(&mut self, seat: Seat, profile: u16, now: Now) {
        let plan = &self.menu.entry(profile).plan;
        // Elsewhere an init has to be there before anybody can be killed; a program that is executed may
        // take any time to start.
        let is_usual = plan.setup.containment == Containment::Cgroup && !plan.setup.exec;
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
            process.link.close();
            return self.tell(now, Input::Link(seat, LinkEvent::Exited));
        }
        let uid = process.uid;
        place.process = None;
        self.give_back_user(uid);
        self.tell(now, Input::SpawnFailed(seat));
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
        End::Crashed if !process.is_none_or(is_begun) => End::Released,
        end => end,
    }
}
