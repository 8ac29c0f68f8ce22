//! Jobs of the source whose supervisor is dead: they are ended as lost attempts, as any
//! supervisor would do, so that their budgets know of it, and can then move.

use std::collections::hash_map::RandomState;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_shared::Timestamp;
use bulkhead_shared::broker::{BrokerError, Overdue};
use bulkhead_shared::outcome::Outcome;
use bulkhead_shared::policy::Defaults;

use super::looks::until_empty;
use super::stores::Stores;
use crate::commands::CommandError;
use crate::job::{DEFAULT_TIMEOUT, Rules};
use crate::pool::TicketId;
use crate::source::queue::ended_unrun;
use crate::source::{Place, decide};

/// Jobs taken over in one move.
const BATCH: usize = 256;

/// How long they are ours: they are ended in the very next move.
const LEASE: Duration = Duration::from_secs(30);

/// Ends what is lost; refuses if jobs are held all the same.
pub(super) fn settle(stores: &Stores) -> Result<(), CommandError> {
    let rules = rules(stores)?;
    let place = Place {
        host: String::new(),
    };
    let random = RandomState::new();
    let broker = &stores.source.broker;
    until_empty(stores, || {
        let taken = broker.take_over(&Overdue::Lease, stores.me, BATCH, LEASE)?;
        let count = taken.len();
        let now = Timestamp::now();
        let settlements = taken.into_iter().map(|claimed| {
            let (job, _) = rules.resolve(TicketId(u64::MAX), claimed);
            decide(*job, ended_unrun(Outcome::LeaseLost, now), &place, &random).0
        });
        if count > 0 {
            broker.turn(settlements.collect(), None)?;
        }
        Ok::<_, BrokerError>(count)
    })?;
    match held(stores)? {
        0 => Ok(()),
        held => Err(CommandError::Refused(format!(
            "jobs of the source are held by supervisors that may still live: {held} (wait until \
             their leases end, 30 s unless `--lease` says otherwise, and repeat the command)"
        ))),
    }
}

/// Jobs of the source that somebody holds.
pub(super) fn held(stores: &Stores) -> Result<u64, BrokerError> {
    let queues = stores.source.catalog.queues()?;
    Ok(queues.iter().map(|queue| queue.leased).sum())
}

fn rules(stores: &Stores) -> Result<Rules, BrokerError> {
    let specs = stores.source.catalog.tasks()?;
    let specs = specs.into_iter().map(|spec| (spec.name.clone(), spec));
    Ok(Rules {
        defaults: Defaults {
            timeout: DEFAULT_TIMEOUT,
            patience: Duration::from_secs(1),
            memory: None,
            profile: "process".into(),
        },
        specs: Arc::new(specs.collect()),
        extras: Arc::default(),
        // Nothing is run.
        menu: None,
        most_memory: None,
    })
}
