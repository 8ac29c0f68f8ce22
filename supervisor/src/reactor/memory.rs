//! What a task's processes have together: kept by cgroups where there are some, else memory is
//! watched.

use std::io;

use bulkhead_shared::frame::ToTask;
use bulkhead_shared::limits::Limits;
use bulkhead_shared::time::Now;
use tracing::info;

use super::Reactor;
use crate::pool::{Input, LinkEvent, Seat, TicketId};
use crate::process::limits::Amounts;
use crate::process::memory::Members;
use crate::sandbox::lowered::Headcount;
use crate::watch::{Exceeded, Watched};

impl Reactor {
    /// The most memory that a process of this profile may have.
    pub(super) fn memory_of(&self, profile: u16) -> Option<u64> {
        match (self.memory, self.menu.entry(profile).plan.memory) {
            (Some(all), Some(own)) => Some(all.min(own)),
            (all, own) => all.or(own),
        }
    }

    /// Readies the cgroups that limit a slot's next process.
    pub(super) fn prepare_cage(
        &mut self,
        slot: u16,
        profile: u16,
        amounts: Amounts,
    ) -> io::Result<()> {
        let memory = amounts.memory.and_then(|_| self.memory_of(profile));
        let place = &mut self.places[usize::from(slot)];
        if memory.is_some()
            && let Some(cage) = place.cage.take_if(|cage| cage.is_used_up())
        {
            cage.remove();
        }
        if place.cage.is_none() {
            place.cage = self
                .cages
                .as_ref()
                .map(|cages| cages.cage(slot))
                .transpose()?;
        }
        let amounts = Amounts { memory, ..amounts };
        place
            .cage
            .as_ref()
            .map_or(Ok(()), |cage| cage.begin(amounts))
    }

    /// Has a process take the limits that its only job brings along.
    pub(super) fn lower(&mut self, seat: Seat, nonce: u64, lowered: &Limits, now: Now) {
        let place = &self.places[usize::from(seat.slot)];
        let Some(process) = &place.process else {
            return;
        };
        let plan = &self.menu.entry(process.profile).plan;
        let limits = plan.rlimits(lowered);
        let cage = place.cage.as_ref();
        let cage = cage.filter(|_| plan.headcount == Headcount::Cgroup);
        if let (Some(cage), Some(most)) = (cage, lowered.processes)
            && let Err(error) = cage.lower_processes(most)
        {
            return self.violate(seat, format!("its cgroup takes no limit: {error}"), now);
        }
        if !limits.is_empty() {
            self.write(seat, &ToTask::Limits { nonce, limits }, now);
        }
    }

    /// Has a process' cgroup keep the limit that its job has by itself: a process serves jobs of one
    /// limit only.
    pub(super) fn lower_memory(&mut self, seat: Seat, ticket: TicketId, now: Now) {
        let place = &self.places[usize::from(seat.slot)];
        let process = place.process.as_ref();
        let Some(process) = process.filter(|process| !process.is_group) else {
            return;
        };
        let amounts = self.menu.entry(process.profile).plan.amounts;
        let is_limited = amounts.is_some_and(|amounts| amounts.memory.is_some());
        let cage = place.cage.as_ref().filter(|_| is_limited);
        let own = self.jobs.get(&ticket).and_then(|job| job.policy.memory);
        let (Some(cage), Some(limit)) = (cage, own) else {
            return;
        };
        match cage.lower_memory(limit) {
            Ok(()) => {}
            // It has come to have more just now.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                let bytes = cage.bumps().peak.unwrap_or(limit);
                self.take_back_memory(seat, Exceeded { bytes, limit }, now);
            }
            Err(error) => self.violate(seat, format!("its cgroup takes no limit: {error}"), now),
        }
    }

    /// Has a process watched that has just been given a job, if nothing else limits its memory with
    /// that of all it starts.
    pub(super) fn watch_memory(&self, seat: Seat, ticket: TicketId) {
        let Some(watch) = &self.watch else { return };
        let place = &self.places[usize::from(seat.slot)];
        let Some(process) = &place.process else {
            return;
        };
        let plan = &self.menu.entry(process.profile).plan;
        let own = self.jobs.get(&ticket).and_then(|job| job.policy.memory);
        let own = own.filter(|_| !process.is_group);
        let all = self.memory_of(process.profile);
        let limit = own.into_iter().chain(all).min();
        if let Some(limit) = limit.filter(|_| plan.watches_memory) {
            let members = match &place.leaf {
                Some(leaf) if !plan.setup.containment.has_init() => {
                    Members::In(leaf.path().to_owned())
                }
                _ => Members::Below(process.pid),
            };
            let tmp = plan.tmp;
            let watched = Watched {
                members,
                limit,
                tmp,
            };
            watch.begin(seat, watched);
        }
    }

    /// Ends a process that has more memory than it may, with all it has started.
    pub(super) fn take_back_memory(&mut self, seat: Seat, exceeded: Exceeded, now: Now) {
        let Some(process) = self.process(seat) else {
            return;
        };
        if process.exit.is_none() {
            let Exceeded { bytes, limit } = exceeded;
            info!(
                slot = seat.slot,
                bytes, limit, "a task has more memory than it may"
            );
            process.exceeded = Some(exceeded);
            self.tell(now, Input::Link(seat, LinkEvent::Violation));
        }
    }
}
