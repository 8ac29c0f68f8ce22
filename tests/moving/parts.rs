//! Two stores in one place, and words for what is in them.

use std::path::Path;
use std::process::Command;

use bulkhead_shared::backend::{Backend, Options, open};
use bulkhead_shared::broker::{Claim, Claimed, Presence, Selection, Submission, SupervisorId};
use bulkhead_shared::catalog::QueueCounts;
use bulkhead_shared::message::MessageBuilder;
use bulkhead_shared::retry::Move;
use bulkhead_shared::task::TaskSpec;
use bulkhead_shared::{QueueName, TaskName, Timestamp, Uuid};
use bulkhead_tests::cli::{Place, Ran};
use bulkhead_tests::{KEPT, LEASE, supervisor};

/// The URL of the store called `name`.
pub(crate) fn url(place: &Place, name: &str) -> String {
    format!("sqlite:{}", place.path(name).display())
}

/// The command that moves everything from the place's own store to `target.db`.
pub(crate) fn migration(place: &Place) -> Command {
    migration_to(place, &url(place, "target.db"))
}

/// The command that moves everything from the place's own store to the one at `to`.
pub(crate) fn migration_to(place: &Place, to: &str) -> Command {
    let from = place.url();
    let mut command = place.command(&["migrate", "--from", &from, "--to", to, "--json"]);
    command.env_remove("BULKHEAD_STORE");
    command
}

pub(crate) fn migrate(place: &Place) -> Ran {
    Ran::of(migration(place))
}

pub(crate) fn source(place: &Place) -> Backend {
    open(&Options::new(&place.url())).unwrap()
}

pub(crate) fn target(place: &Place) -> Backend {
    open(&Options::new(&url(place, "target.db"))).unwrap()
}

/// How many of these jobs a store knows.
pub(crate) fn known(store: &Backend, uuids: &[Uuid]) -> usize {
    let count = |some| {
        let rows = store.catalog.jobs_by_id(some).unwrap();
        rows.iter().flatten().count()
    };
    uuids.chunks(500).map(count).sum()
}

/// How many jobs a store has, but for dropped ones.
pub(crate) fn all(store: &Backend) -> u64 {
    let queues = store.catalog.queues().unwrap();
    let sum = |q: &QueueCounts| q.ready + q.delayed + q.leased + q.succeeded + q.dead;
    queues.iter().map(sum).sum()
}

pub(crate) fn at(path: &Path) -> Backend {
    open(&Options::new(&format!("sqlite:{}", path.display()))).unwrap()
}

pub(crate) fn submit(store: &Backend, messages: Vec<MessageBuilder>) -> Vec<Uuid> {
    let messages: Vec<_> = messages.into_iter().map(|m| m.build().unwrap()).collect();
    for some in messages.chunks(500) {
        let queues: Vec<_> = some
            .iter()
            .map(|m| m.queue.clone().unwrap_or_default())
            .collect();
        let batch: Vec<_> = some
            .iter()
            .zip(&queues)
            .map(|(message, queue)| Submission { message, queue })
            .collect();
        store.broker.submit(&batch).unwrap();
    }
    messages.iter().map(|message| message.uuid).collect()
}

pub(crate) fn selection() -> Selection {
    Selection {
        queues: vec![QueueName::default(), QueueName::new("mail").unwrap()],
        tasks: vec![TaskName::new("add").unwrap()],
    }
}

pub(crate) fn claim(store: &Backend, owner: SupervisorId, room: usize) -> Vec<Claimed> {
    let selection = selection();
    let claim = Claim {
        owner,
        selection: &selection,
        room,
        lease: LEASE,
    };
    store.broker.turn(Vec::new(), Some(claim)).unwrap().claimed
}

/// Claims up to `room` jobs, and ends them by `next`.
pub(crate) fn run(store: &Backend, room: usize, next: &Move) -> Vec<Claimed> {
    let claimed = claim(store, supervisor(), room);
    let settle = |job: &Claimed| bulkhead_shared::broker::Settlement {
        receipt: job.receipt.clone(),
        next: next.clone(),
        history: job.history.clone(),
        at: Timestamp::now(),
        errands: Default::default(),
    };
    let settlements = claimed.iter().map(settle).collect();
    store.broker.turn(settlements, None).unwrap();
    claimed
}

pub(crate) fn succeed() -> Move {
    let until = Some(Timestamp::now().plus(KEPT));
    Move::Succeed {
        result: Some(b"[1]".to_vec()),
        result_until: until,
        purge_at: until,
    }
}

/// A supervisor that serves [`selection`].
pub(crate) fn presence(id: SupervisorId, tasks: Vec<TaskSpec>) -> Presence {
    Presence {
        id,
        host: "here".into(),
        pid: 4711,
        selection: selection(),
        tasks,
        version: "1".into(),
        slots: 2,
        started_at: Timestamp::now(),
    }
}
