//! All groups, and who waits for a place in one: which process is started for whom, and which is
//! let go when there is nothing for it to do.
//!
//! The last group is for those who ride alone: jobs that others took down too often.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::event::{Action, Actions, Input, Lane, Limits, Seat, Snapshot, Ticket, TicketId};
use super::group::Group;
use super::plan::Waiting;
use super::room::Recent;
use super::slot::{Refill, Slot, Turn};
use super::state::later;

/// A group that nobody has used for so long is let go, if it is above the floor.
const IDLE: Duration = Duration::from_secs(10);

/// Tickets that wait to ride alone; more are given back.
const ALONE_MOST: usize = 64;

/// The groups.
#[derive(Debug)]
pub(super) struct Groups {
    /// The last one is for those who ride alone.
    groups: Vec<Group>,
    waiting: VecDeque<Waiting>,
    /// Of threads, futures, the main thread.
    recent: [Recent; Lane::COUNT],
    look_at: Option<Instant>,
    /// The profile of all groups.
    pub(super) profile: u16,
}

impl Groups {
    /// Groups whose seats begin behind those of the slots.
    pub(super) fn new(limits: &Limits, profile: u16) -> Self {
        let all = match limits.groups {
            0 => 0..0,
            groups => limits.slots..limits.slots + groups + 1,
        };
        let recent =
            |lane: Lane| Recent::of(limits, limits.groups.saturating_mul(lane.most(limits)));
        Self {
            groups: all.map(Group::new).collect(),
            waiting: VecDeque::new(),
            recent: Lane::ALL.map(recent),
            look_at: None,
            profile,
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.groups.iter().all(Group::is_gone)
    }

    /// Whether jobs of some lane, or those that ride alone, will never find a place again.
    pub(super) fn are_spent(&self) -> bool {
        let spent = |(lone, shared): (&Group, &[Group])| {
            lone.is_gone() || shared.iter().all(Group::is_gone)
        };
        self.groups.split_last().is_some_and(spent)
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        let groups = self.groups.iter().filter_map(Group::wake_at);
        groups.chain(self.look_at).min()
    }

    /// How many more tickets of this lane can be used.
    pub(super) fn room(&self, lane: Lane, limits: &Limits, now: Instant) -> usize {
        let most = usize::from(lane.most(limits));
        let places = self.shared().iter().map(|group| {
            if group.is_open() {
                most.saturating_sub(riding(group, lane))
            } else if group.is_vacant() && group.slot.is_troubled() {
                // One to try again with.
                most.min(1)
            } else if group.is_vacant() || (group.is_coming() && !group.slot.is_troubled()) {
                most
            } else {
                0
            }
        });
        let free: usize = places.sum();
        let waits = |one: &&Waiting| one.ticket.lane == lane && !one.ticket.is_alone;
        let waiting = self.waiting.iter().filter(waits).count();
        let ahead = self.recent[lane.index()].prefetch(now);
        if waiting > free + ahead - ahead / 4 {
            return 0;
        }
        (free + ahead).saturating_sub(waiting)
    }

    fn shared(&self) -> &[Group] {
        self.groups.split_last().map_or(&[], |(_, shared)| shared)
    }

    pub(super) fn has(&self, id: TicketId) -> bool {
        self.groups.iter().any(|group| group.has(id)) || self.waits(id)
    }

    fn waits(&self, id: TicketId) -> bool {
        self.waiting.iter().any(|one| one.ticket.id == id)
    }

    pub(super) fn offer(&mut self, ticket: Ticket, since: Instant) {
        self.waiting.push_back(Waiting { ticket, since });
    }

    pub(super) fn count(&self, counts: &mut Snapshot) {
        counts.waiting += self.waiting.len();
        for group in &self.groups {
            counts.riding += group.rides.len();
        }
    }

    /// Takes one input and appends what is to be done about it.
    pub(super) fn step(
        &mut self,
        input: &Input,
        refill: Refill,
        generation: &mut u64,
        at: Step<'_, '_>,
    ) {
        let Step { now, limits, out } = at;
        match *input {
            Input::Spawned(seat) => self.at(
                seat,
                None,
                Step { now, limits, out },
                refill,
                |group, turn| {
                    group.lead(turn, Slot::spawned);
                },
            ),
            Input::SpawnFailed(seat) => self.at(
                seat,
                None,
                Step { now, limits, out },
                refill,
                |group, turn| {
                    group.lead(turn, Slot::spawn_failed);
                },
            ),
            Input::Link(seat, event) => self.at(
                seat,
                None,
                Step { now, limits, out },
                refill,
                |group, turn| {
                    group.link(event, turn);
                },
            ),
            Input::Swept(seat, sweep) => self.at(
                seat,
                None,
                Step { now, limits, out },
                refill,
                |group, turn| {
                    group.swept(sweep, turn);
                },
            ),
            Input::Answered(seat, id, answer) => {
                self.at(
                    seat,
                    Some(id),
                    Step { now, limits, out },
                    refill,
                    |group, turn| {
                        group.answered(id, answer, turn);
                    },
                );
            }
            Input::Revoked(id) if self.waits(id) => {
                self.waiting.retain(|one| one.ticket.id != id);
                out.push(Action::Release(id));
            }
            Input::LeaseLost(id) if self.waits(id) => {
                self.waiting.retain(|one| one.ticket.id != id);
                out.push(Action::Forget(id));
            }
            Input::Revoked(id) => self.each(Step { now, limits, out }, refill, |group, turn| {
                group.revoke(id, turn)
            }),
            Input::LeaseLost(id) => self.each(Step { now, limits, out }, refill, |group, turn| {
                group.lose(id, turn)
            }),
            Input::Tick => self.each(Step { now, limits, out }, refill, Group::tick),
            Input::Offered(_) | Input::Stop(_) | Input::Timed(..) => {}
        }
        self.plan(Step { now, limits, out }, refill, generation);
    }

    pub(super) fn drain(&mut self, at: Step<'_, '_>) {
        self.each(at, Refill::No, Group::drain);
    }

    pub(super) fn close(&mut self, at: Step<'_, '_>) {
        self.each(at, Refill::No, Group::close);
    }

    fn at(
        &mut self,
        seat: Seat,
        id: Option<TicketId>,
        at: Step<'_, '_>,
        refill: Refill,
        what: impl FnOnce(&mut Group, &mut Turn<'_>),
    ) {
        let Some(group) = self.groups.iter_mut().find(|group| group.seat() == seat) else {
            return;
        };
        let lane = id.and_then(|id| group_lane(group, id));
        let mut turn = at.turn(refill, &mut self.recent[lane.map_or(0, Lane::index)]);
        what(group, &mut turn);
    }

    fn each(&mut self, at: Step<'_, '_>, refill: Refill, what: impl Fn(&mut Group, &mut Turn<'_>)) {
        let mut turn = at.turn(refill, &mut self.recent[0]);
        for group in &mut self.groups {
            what(group, &mut turn);
        }
    }

    /// Serves those who wait, starts processes for the rest, lets idle ones go.
    fn plan(&mut self, at: Step<'_, '_>, refill: Refill, generation: &mut u64) {
        let Step { now, limits, out } = at;
        self.look_at = None;
        if refill == Refill::No || self.is_gone() {
            let ids = self.waiting.drain(..).map(|one| one.ticket.id);
            ids.for_each(|id| out.push(Action::Release(id)));
            return;
        }
        let mut turn = Step { now, limits, out }.turn(refill, &mut self.recent[0]);
        let mut wanted = Wanted::default();
        let hold = limits.prefetch_hold;
        let profile = self.profile;
        let groups = &mut self.groups;
        let is_lone_able = groups.last().is_some_and(Group::is_able);
        let look_at = &mut self.look_at;
        // Full lanes stay full for the rest of this walk.
        let mut full = [false; Lane::COUNT];
        self.waiting.retain(|one| {
            let Waiting { ticket, since } = *one;
            let is_expired = ticket.expires.is_some_and(|expires| expires <= now);
            let lane = ticket.lane.index();
            let is_full = !ticket.is_alone && full[lane];
            if !is_expired
                && !is_full
                && let Some(group) = place(groups, &ticket, limits)
            {
                group.send(ticket, &mut turn);
                return false;
            }
            full[lane] |= !ticket.is_alone;
            let is_hopeful = match ticket.is_alone {
                true => wanted.alone() && is_lone_able,
                false => wanted.seat(groups, ticket.lane, limits),
            };
            if is_expired || (!is_hopeful && since + hold <= now) {
                turn.out.push(Action::Release(ticket.id));
                return false;
            }
            if !is_hopeful {
                *look_at = earliest(*look_at, later(since, hold));
            }
            if let Some(expires) = ticket.expires {
                *look_at = earliest(*look_at, expires);
            }
            true
        });
        let mut spawn = |group: &mut Group, turn: &mut Turn<'_>| {
            *generation += 1;
            group.spawn(*generation, profile, turn);
        };
        let Some((lone, shared)) = groups.split_last_mut() else {
            return;
        };
        if wanted.alone > 0 && lone.is_vacant() {
            spawn(lone, &mut turn);
        }
        let present = |group: &&mut Group| group.is_open() || group.is_coming();
        let mut there = shared.iter_mut().filter(present).count();
        let floor = usize::from(limits.group_floor);
        for group in shared.iter_mut().filter(|group| group.is_vacant()) {
            if wanted.groups > 0 || there < floor {
                wanted.groups = wanted.groups.saturating_sub(1);
                there += 1;
                spawn(group, &mut turn);
            }
        }
        let mut prune = |group: &mut Group, spare: bool| {
            let Some(since) = group.idle_since().filter(|_| spare) else {
                return false;
            };
            let due = later(since, IDLE);
            if due > now {
                *look_at = earliest(*look_at, due);
                return false;
            }
            group.prune(&mut turn);
            true
        };
        for group in shared {
            if prune(group, there > floor) {
                there -= 1;
            }
        }
        // A process of one who rode alone serves nobody else.
        prune(lone, true);
    }
}

/// What a step of the groups may know and touch.
#[derive(Debug)]
pub(super) struct Step<'a, 'b> {
    pub now: Instant,
    pub limits: &'a Limits,
    pub out: &'b mut Actions,
}

impl<'a, 'b> Step<'a, 'b> {
    fn turn<'c>(self, refill: Refill, recent: &'c mut Recent) -> Turn<'c>
    where
        'a: 'c,
        'b: 'c,
    {
        Turn {
            now: self.now,
            limits: self.limits,
            refill,
            recent,
            out: self.out,
        }
    }
}

/// What those who found no place wait for.
#[derive(Debug, Default)]
struct Wanted {
    alone: usize,
    /// Processes to be started.
    groups: usize,
    /// Places, by lane, in groups that are on their way.
    promised: [usize; Lane::COUNT],
}

impl Wanted {
    fn alone(&mut self) -> bool {
        self.alone += 1;
        self.alone <= ALONE_MOST
    }

    /// Whether there will be a place in a group that is coming, or that can be started.
    fn seat(&mut self, groups: &[Group], lane: Lane, limits: &Limits) -> bool {
        let shared = groups.split_last().map_or(&[][..], |(_, shared)| shared);
        let most = usize::from(lane.most(limits));
        let coming = shared.iter().filter(|group| group.is_coming()).count();
        let vacant = shared.iter().filter(|group| group.is_vacant()).count();
        let promised = &mut self.promised[lane.index()];
        *promised += 1;
        let needed = promised.div_ceil(most.max(1));
        if needed > coming + vacant {
            return false;
        }
        self.groups = self.groups.max(needed.saturating_sub(coming));
        true
    }
}

fn group_lane(group: &Group, id: TicketId) -> Option<Lane> {
    let mut rides = group.rides.iter();
    rides
        .find(|ride| ride.ticket.id == id)
        .map(|ride| ride.ticket.lane)
}

fn riding(group: &Group, lane: Lane) -> usize {
    let rides = group.rides.iter();
    rides.filter(|ride| ride.ticket.lane == lane).count()
}

/// The first open group with a place for `ticket`.
fn place<'a>(groups: &'a mut [Group], ticket: &Ticket, limits: &Limits) -> Option<&'a mut Group> {
    let (lone, shared) = groups.split_last_mut()?;
    if ticket.is_alone {
        return Some(lone).filter(|lone| lone.is_open() && lone.rides.is_empty());
    }
    let most = usize::from(ticket.lane.most(limits));
    shared
        .iter_mut()
        .find(|group| group.is_open() && riding(group, ticket.lane) < most)
}

fn earliest(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}
