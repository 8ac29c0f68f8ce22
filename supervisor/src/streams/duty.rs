//! One processor: the partitions of its stream that this supervisor holds, and what the store is asked
//! and told about them.

mod turn;

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::time::{Duration, Instant};

use bulkhead_shared::TaskName;
use bulkhead_shared::broker::{BrokerError, SupervisorId};
use bulkhead_shared::outcome::{Cause, Ended, Outcome};
use bulkhead_shared::stream::keep::{Attendance, Duty as Name, Hold, Streams, View};
use bulkhead_shared::stream::{DEFAULT_PREFETCH, ProcessorSpec};
use bulkhead_shared::task::TaskSpec;
use bulkhead_shared::time::Now;
use tracing::{error, info, warn};

use super::judge::{Failure, Rules, Then, judge};
use super::partition::{Allowed, At, Deed, Partition, Want};
use super::share;
use crate::pool::TicketId;

/// Between signs of life, at the most: a member that comes or goes is noticed within this.
const ATTEND_EVERY: Duration = Duration::from_secs(1);

/// Between signs of life, at the least.
const ATTEND_APART: Duration = Duration::from_millis(10);

/// A processor that the store refuses, since its stream is another than it takes it for or is damaged, is
/// left alone for so long.
const REFUSED: Duration = Duration::from_secs(5);

/// What the child calls the failure of a record that cannot be read: always the first not passed.
const UNREADABLE: &str = "record";

/// How long a call may go on with what it has in hand when its partition is to go to somebody else.
const GRACE: Duration = Duration::from_secs(10);

/// One processor.
#[derive(Debug)]
pub(super) struct Duty {
    pub name: Name,
    pub task: TaskName,
    spec: ProcessorSpec,
    pub rules: Rules,
    pub lease: Duration,
    pub partitions: BTreeMap<u16, Partition>,
    /// Who comes first when there is room for a process: the one behind who had it last.
    turn: u16,
    is_declared: bool,
    joined: Option<Instant>,
    /// When the store was asked that renewed the leases last.
    pub renewed: Option<Instant>,
    attend_at: Instant,
    /// Partitions that are its due are still somebody else's.
    lacks: bool,
    paused: Option<String>,
    /// It is not served any more.
    pub is_ending: bool,
    /// The store refuses it until then, and nobody else has to wait for that.
    refused_until: Option<Instant>,
    /// When the store was told last how far calls have come.
    said: Option<Instant>,
}

impl Duty {
    pub(super) fn new(
        spec: &TaskSpec,
        processor: &ProcessorSpec,
        lease: Duration,
        now: Instant,
    ) -> Self {
        let ms = |ms: Option<u64>| ms.map(Duration::from_millis);
        Self {
            name: Name {
                stream: processor.stream.name.clone(),
                processor: spec.name.clone(),
            },
            task: spec.name.clone(),
            spec: processor.clone(),
            rules: Rules::of(spec, processor),
            lease: ms(processor.lock_expiry_ms).unwrap_or(lease),
            partitions: BTreeMap::new(),
            turn: 0,
            is_declared: false,
            joined: None,
            renewed: None,
            attend_at: now,
            lacks: false,
            paused: None,
            is_ending: false,
            refused_until: None,
            said: None,
        }
    }

    /// Tells and asks the store whatever is due. Returns whether the leases were renewed, and whether
    /// there was anything.
    ///
    /// # Errors
    /// When the store is away. What it refuses is said, and asked again later.
    pub(super) fn ask(
        &mut self,
        streams: &dyn Streams,
        me: SupervisorId,
        now: Instant,
    ) -> Result<(bool, bool), BrokerError> {
        if self.refused_until.is_some_and(|until| until > now) {
            return Ok((false, false));
        }
        let asked = self
            .attend(streams, me, now)
            .and_then(|is_renewed| Ok((is_renewed, self.step(streams, now)? || is_renewed)));
        match asked {
            Err(error) if !error.is_transient() => {
                error!(stream = %self.name.stream, processor = %self.task, %error, "the processor cannot be served; trying again");
                self.refused_until = Some(now + REFUSED);
                Ok((false, false))
            }
            other => other,
        }
    }

    /// Whether it is as `spec` says.
    pub(super) fn is_as(&self, processor: &ProcessorSpec) -> bool {
        self.spec == *processor
    }

    fn grace(&self) -> Duration {
        (self.spec.grace_period_ms).map_or(GRACE, Duration::from_millis)
    }

    fn attend_every(&self) -> Duration {
        ATTEND_EVERY.min(self.lease / 4)
    }

    /// Gives everything back, and is served no more.
    pub(super) fn end(&mut self, now: Instant) {
        self.is_ending = true;
        let by = now + self.grace();
        self.partitions.values_mut().for_each(|one| one.leave(by));
    }

    pub(super) fn is_hungry(&self) -> bool {
        self.delivers(Now::read().mono) && self.partitions.values().any(Partition::is_hungry)
    }

    /// Whether events may be given: the leases are sure for a good while still.
    fn delivers(&self, now: Instant) -> bool {
        let is_sure = self.renewed.is_some_and(|at| now < at + self.lease / 2);
        self.paused.is_none() && is_sure
    }

    /// Says that it is served, if that is due; takes and gives back partitions. Returns whether it was, so
    /// that the leases are renewed.
    fn attend(
        &mut self,
        streams: &dyn Streams,
        me: SupervisorId,
        now: Instant,
    ) -> Result<bool, BrokerError> {
        if self.attend_at > now {
            return Ok(false);
        }
        if !self.is_declared {
            streams.declare(&self.spec.stream)?;
            self.is_declared = true;
        }
        let holds: Vec<_> = self.holds(|_| true);
        let view = streams.attend(Attendance {
            duty: &self.name,
            member: me,
            lease: self.lease,
            holds: &holds,
        })?;
        self.renewed = Some(now);
        self.attend_at = now + self.attend_every();
        let joined = *self.joined.get_or_insert(now);
        self.look(&view, me);
        let delay = self
            .spec
            .join_delay_ms
            .map_or(Duration::ZERO, Duration::from_millis);
        if self.is_ending || now < joined + delay {
            return Ok(true);
        }
        let mine: Vec<u16> = (self.partitions.iter())
            .filter(|(_, one)| !one.is_leaving())
            .map(|(&partition, _)| partition)
            .collect();
        let plan = share::plan(&view, me, &mine);
        let by = now + self.grace();
        for partition in plan.give_back {
            if let Some(one) = self.partitions.get_mut(&partition) {
                one.leave(by);
            }
        }
        let mut take = plan.take;
        // What is on its way out comes back when it is gone.
        take.retain(|partition| !self.partitions.contains_key(partition));
        self.lacks = plan.lacks > 0;
        if take.is_empty() {
            return Ok(true);
        }
        let asked = Now::read().mono;
        let taken = streams.take(&self.name, me, &take, self.lease)?;
        self.lacks = taken.len() < plan.lacks;
        if !taken.is_empty() {
            info!(stream = %self.name.stream, processor = %self.task, partitions = taken.len(), "partitions taken");
        }
        let prefetch = self.spec.prefetch.unwrap_or(DEFAULT_PREFETCH);
        for one in taken {
            let partition = one.hold.partition;
            self.partitions
                .insert(partition, Partition::new(one, prefetch, asked));
        }
        Ok(true)
    }

    fn look(&mut self, view: &View, me: SupervisorId) {
        let (was, is) = (self.paused.is_some(), view.paused.is_some());
        if let (false, Some(why)) = (was, &view.paused) {
            info!(stream = %self.name.stream, processor = %self.task, why, "paused");
        } else if was && !is {
            info!(stream = %self.name.stream, processor = %self.task, "goes on");
        }
        self.paused.clone_from(&view.paused);
        let by = Now::read().mono + self.grace();
        for share in &view.shares {
            let Some(one) = self.partitions.get_mut(&share.partition) else {
                continue;
            };
            if share.owner != Some(me) || share.fence != one.hold.fence {
                if one.lose().is_some() {
                    warn!(stream = %self.name.stream, processor = %self.task, partition = share.partition, "a partition was lost to another supervisor");
                }
                continue;
            }
            if share.moved_to.is_some() {
                one.leave(by);
            }
            one.more_to(share.last.position);
            one.told(share.trouble.as_ref());
        }
        self.partitions.retain(|_, one| !one.is_gone());
    }

    fn holds(&self, which: impl Fn(&Partition) -> bool) -> Vec<Hold> {
        let ours = self.partitions.values().filter(|one| which(one));
        ours.map(|one| one.hold).collect()
    }

    /// What is to be done for each partition now.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        mut room: usize,
        crowded: bool,
        mut perform: impl FnMut(&mut Partition, Deed),
    ) {
        let deliver = self.delivers(now);
        let first = self.turn;
        for range in [(Included(first), Unbounded), (Unbounded, Excluded(first))] {
            for (&partition, one) in self.partitions.range_mut(range) {
                loop {
                    let allowed = Allowed {
                        deliver,
                        offer: room > 0,
                        crowded,
                    };
                    let Some(deed) = one.advance(now, allowed) else {
                        break;
                    };
                    if matches!(deed, Deed::Offer) {
                        room -= 1;
                        self.turn = partition.wrapping_add(1);
                    }
                    // Its call may have asked for more than this.
                    let is_given = matches!(deed, Deed::Give(..));
                    perform(one, deed);
                    if !is_given {
                        break;
                    }
                }
            }
        }
        self.partitions.retain(|_, one| !one.is_gone());
    }

    pub(super) fn wants(&mut self, partition: u16, want: Want, now: Instant) {
        if let Some(one) = self.partitions.get_mut(&partition) {
            one.wants(want, now);
        }
    }

    pub(super) fn pass(&mut self, partition: u16, position: u64) {
        if let Some(one) = self.partitions.get_mut(&partition) {
            one.pass(position);
        }
    }

    /// A call makes two of a batch of a partition.
    pub(super) fn part(&mut self, partition: u16, position: u64) {
        if let Some(one) = self.partitions.get_mut(&partition) {
            one.part(position);
        }
    }

    /// The call for a partition has ended.
    pub(super) fn ended(&mut self, partition: u16, ended: Option<Ended>, now: Instant) {
        let Some(one) = self.partitions.get_mut(&partition) else {
            return;
        };
        let stream = &self.name.stream;
        let processor = &self.task;
        match ended.map(|ended| (ended.outcome, ended.finished_at)) {
            None | Some((Outcome::Released | Outcome::Displaced | Outcome::LeaseLost, _)) => {
                one.over();
            }
            // It was stopped, since the partition is to go.
            Some((
                Outcome::Failed {
                    cause: Cause::Revoked,
                    ..
                },
                _,
            )) => {
                one.over();
            }
            Some((Outcome::Failed { cause, error, .. }, at)) => {
                let place = one.in_hand().map(|event| event.place);
                let Some(place) = place else {
                    one.over();
                    let rest = one.rest(now);
                    error!(%stream, %processor, partition, %cause, error = error.text, ?rest, "the processor failed without an event; it is tried again");
                    return;
                };
                let failure = Failure {
                    place,
                    cause,
                    error: &error,
                    at,
                };
                let (trouble, then) = judge(&self.rules, one.trouble(), failure);
                let id = place.id;
                warn!(%stream, %processor, partition, event = %id, %cause, error = error.text, tries = trouble.tries, ?then, "the processor failed at an event");
                let at_what = match error.name.as_str() {
                    UNREADABLE => At::First,
                    _ => At::All,
                };
                one.failed(trouble, then, at_what, now);
                one.over();
                if then == Then::Pass {
                    one.look_again();
                }
            }
            Some((Outcome::Returned(_) | Outcome::Snoozed { .. }, _)) => {
                if !one.over() {
                    let rest = one.rest(now);
                    warn!(%stream, %processor, partition, ?rest, "the processor returned without having passed an event; it is called again (let it go on until the events end)");
                }
            }
        }
        if one.is_gone() {
            self.partitions.remove(&partition);
        }
    }

    /// Something has happened: there may be events, or partitions to be had.
    pub(super) fn look_again(&mut self, now: Instant) {
        if self.lacks {
            let soon = self.renewed.map_or(now, |at| at + ATTEND_APART);
            self.attend_at = self.attend_at.min(soon.max(now));
        }
        self.partitions.values_mut().for_each(Partition::look_again);
    }

    /// What runs.
    pub(super) fn tickets(&self) -> impl Iterator<Item = TicketId> {
        self.partitions.values().filter_map(Partition::ticket)
    }

    /// When to look again, if nothing happens.
    pub(super) fn due(&self) -> Instant {
        let deliver = self.paused.is_none();
        let ours = self.partitions.values();
        let ours = ours.filter_map(|one| one.due(deliver));
        let news = self.partitions.values().filter(|one| one.has_news());
        let news = news.filter_map(|one| self.say_at().max(one.damaged_until));
        let due = ours.chain(news).fold(self.attend_at, Instant::min);
        self.refused_until.map_or(due, |until| due.max(until))
    }

    /// Whether the store knows that it is served.
    pub(super) const fn has_joined(&self) -> bool {
        self.joined.is_some()
    }

    /// Everything is given back, and the store knows that it is not served any more.
    pub(super) fn depart(
        &self,
        streams: &dyn Streams,
        me: SupervisorId,
    ) -> Result<(), BrokerError> {
        match self.joined {
            Some(_) => streams.depart(&self.name, me),
            None => Ok(()),
        }
    }
}
