//! The move itself: page by page, each step of a page only after the one before is certain.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bulkhead_shared::backend::Backend;
use bulkhead_shared::broker::BrokerError;
use bulkhead_shared::catalog::State;
use bulkhead_shared::fault;
use bulkhead_shared::time::Now;
use bulkhead_shared::transit::{Parcel, Received, Sent};

use super::looks::until_empty;
use super::stores::{Stores, say_progress};
use super::{bound, lost};
use crate::commands::CommandError;
use crate::source::groups;

/// Jobs that are on their way at once: enough to spread the cost of a commit, few enough that an
/// interruption leaves little behind.
const PAGE: usize = 500;

/// Jobs between two lines about the progress.
const SAY_EVERY: u64 = 1000;

/// Between signs of life, for stores that know the living by them.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(5);

/// Rows forgotten in one move before the first is sent off.
const PRUNE: usize = 1000;

/// What was moved.
#[derive(Debug, Default)]
pub(super) struct Moved {
    by_state: HashMap<State, u64>,
    /// Jobs the target knew already.
    pub known: u64,
    /// Registrations brought.
    pub tasks: usize,
    /// Schedules moved.
    pub schedules: usize,
    /// Jobs that could not be moved because somebody holds them.
    pub left: u64,
}

impl Moved {
    pub(super) fn count(&self, state: State) -> u64 {
        self.by_state.get(&state).copied().unwrap_or(0)
    }

    fn all(&self) -> u64 {
        self.by_state.values().sum()
    }
}

/// Moves all there is.
pub(super) fn run(stores: &Stores) -> Result<Moved, CommandError> {
    lost::settle(stores)?;
    leave_no_flow(stores)?;
    leave_no_journal(stores)?;
    until_empty(stores, || stores.source.broker.prune(PRUNE))?;
    bound::bind(stores)?;
    let mut moved = Moved {
        tasks: stores.bring_tasks()?,
        ..Moved::default()
    };
    let done = move_pages(stores, &mut moved).and_then(|()| admit(stores));
    // Last: the jobs of their firings are there already, which tells the target what has fired.
    let done = done.and_then(|()| {
        moved.schedules = stores.bring_schedules()?;
        Ok(())
    });
    done.and_then(|()| verify(stores, &mut moved))
        .map_err(|error| error.after(moved.all()))?;
    bound::unbind(stores)?;
    Ok(moved)
}

/// Jobs can be moved, groups cannot: their members would be counted in one store and end in another.
fn leave_no_flow(stores: &Stores) -> Result<(), CommandError> {
    let Stores { source, .. } = stores;
    until_empty(stores, || source.broker.deliver(PAGE))?;
    until_empty(stores, || groups::close(&*source.broker, Now::read().wall))?;
    let left = source.catalog.flows()?;
    if left.groups + left.errands == 0 {
        return Ok(());
    }
    Err(CommandError::Refused(format!(
        "groups of the source are open: {}, and errands between its queues are not done: {} (start \
         a supervisor for the source until they have ended, or revoke the members that wait, then \
         repeat the command)",
        left.groups, left.errands
    )))
}

/// What a job remembers does not travel yet, and without it the job would do again what it has done.
fn leave_no_journal(stores: &Stores) -> Result<(), CommandError> {
    let left = stores.source.journals.remembering()?;
    if left == 0 {
        return Ok(());
    }
    Err(CommandError::Refused(format!(
        "jobs of the source that have not ended remember durable calls or signals: {left} (start a \
         supervisor for the source until they have ended, or revoke them, then repeat the command)"
    )))
}

fn move_pages(stores: &Stores, moved: &mut Moved) -> Result<(), CommandError> {
    let Stores { source, target, .. } = stores;
    let (mut next_sign, mut next_line) = (Now::read().mono + ANNOUNCE_EVERY, SAY_EVERY);
    loop {
        let page = source.transit.send_off(PAGE)?;
        if page.is_empty() {
            return Ok(());
        }
        fault::point("sent-off");
        let received = target.transit.receive(&page)?;
        fault::point("received");
        check_receipt(target, &page)?;
        let sent: Vec<_> = page.iter().map(Sent::from).collect();
        let forgotten = source.transit.forget_sent(&sent)?;
        fault::point("forgotten");
        // What was revoked in the meantime has a newer fence, and comes again.
        if !forgotten.contains(&true) {
            return Err(CommandError::Refused(
                "somebody else moves these jobs at this moment (let that end, then repeat the \
                 command)"
                    .into(),
            ));
        }
        for ((parcel, received), is_gone) in page.iter().zip(received).zip(forgotten) {
            if is_gone {
                *moved.by_state.entry(parcel.state).or_default() += 1;
                moved.known += u64::from(received == Received::Known);
            }
        }
        if moved.all() >= next_line {
            next_line = moved.all() + SAY_EVERY;
            say_progress(moved.all(), waiting(source)?);
        }
        sign(stores, &mut next_sign)?;
    }
}

/// The target's own word that it has a page, before the source forgets it.
fn check_receipt(target: &Backend, page: &[Parcel]) -> Result<(), CommandError> {
    let uuids: Vec<_> = page.iter().map(|parcel| parcel.uuid).collect();
    let found = target.catalog.jobs_by_id(&uuids)?;
    let missing = uuids.iter().zip(found).find(|(_, row)| row.is_none());
    match missing {
        None => Ok(()),
        Some((uuid, _)) => Err(CommandError::Refused(format!(
            "the target has not kept job {uuid}, which stays in the source (see that nobody else \
             removes jobs from the target, then repeat the command)"
        ))),
    }
}

fn sign(stores: &Stores, next: &mut Instant) -> Result<(), BrokerError> {
    let now = Now::read().mono;
    if now >= *next {
        *next = now + ANNOUNCE_EVERY;
        stores.announce(&stores.source, Vec::new())?;
        stores.announce(&stores.target, Vec::new())?;
    }
    Ok(())
}

fn waiting(source: &Backend) -> Result<u64, BrokerError> {
    let queues = source.catalog.queues()?;
    let sum =
        |q: &bulkhead_shared::catalog::QueueCounts| q.ready + q.delayed + q.succeeded + q.dead;
    Ok(queues.iter().map(sum).sum())
}

/// Lets in what has arrived, now and in moves that were interrupted: the source has forgotten it.
fn admit(stores: &Stores) -> Result<(), CommandError> {
    let mut next_sign = Now::read().mono + ANNOUNCE_EVERY;
    while stores.target.transit.admit(PAGE)? > 0 {
        fault::point("admitted");
        sign(stores, &mut next_sign)?;
    }
    Ok(())
}

/// Nothing may be left on its way, and nothing in the source but what somebody holds.
fn verify(stores: &Stores, moved: &mut Moved) -> Result<(), CommandError> {
    let (leaving, arriving) = (
        stores.source.transit.underway()?.leaving,
        stores.target.transit.underway()?.arriving,
    );
    let waiting = waiting(&stores.source)?;
    if leaving + arriving + waiting > 0 {
        return Err(CommandError::Refused(format!(
            "the counts do not agree: {waiting} jobs wait in the source, {leaving} are on their \
             way, {arriving} are arriving (stop the source's producers, then repeat the command)"
        )));
    }
    moved.left = lost::held(stores)?;
    Ok(())
}
