//! The store for many machines: Redis 7 or Valkey.
//!
//! Every move is one script, and every key of a queue begins with the same tag,
//! `{namespace|queue}`, so that in a cluster a queue lies in one slot and a script touches one
//! slot. Only jobs that are ready at once are also stored by plain commands, in one transaction. The
//! server's clock is the only one. No time to live removes a job that has not ended.
//!
//! Jobs of one priority run in the order of their numbers, which are times of the server's clock. A
//! client numbers what it submits by what it knows of that clock: its own jobs keep their order, and
//! those of several clients as far as they are further apart than a round trip. Where that clock is set
//! back, what comes next stands before what came then.
//!
//! | key | what |
//! |---|---|
//! | `T s:uuid` | a job: its record, message and result |
//! | `T m:uuid`, `T o:uuid` | its message and its result if they are long |
//! | `T r:task` | ready jobs, by priority, then age; `T t` names the tasks that have some |
//! | `T d` | delayed jobs, by when they are ready |
//! | `T x` | waiting jobs that expire, by when; `T p` those of them passed over by a claim |
//! | `T l` | leases, by their end |
//! | `T v:owner` | leases of a supervisor that were revoked |
//! | `T e:S`, `e:D`, `e:O` | succeeded, dead, dropped jobs, by when they are forgotten |
//! | `T u` | results that are forgotten before their jobs, by when |
//! | `T b:task` | the doorbell, a few elements at the most |
//! | `T a`, `T z` | which supervisors know which tasks, and since when nobody knows one |
//! | `T g`, `T i` | jobs on their way to another store, and those that arrive from one |
//! | `T h` | lines of jobs that are to go, for an hour |
//! | `T c:process` | what its last claim gave it, for a while |
//! | `T gate` | what the queue lets through, unless all |
//! | `T cap` | how many may run at once: of the queue (`q`), of tasks (`t:task`) |
//! | `T run:gate` | jobs that run and use up such a number: `:key`, `!lock`, `^task` |
//! | `T park:gate` | jobs whose gate is shut, by priority, then age; `T parked` names all of them |
//! | `T once:key` | the job that has a unique key; `T onces` those kept until its end, by the next look |
//! | `T w` | somebody waits for jobs to change |
//! | `T f`, `T y` | errands for other queues that are still to be done, and since when they wait |
//! | `T j:group`, `T k:group` | a group whose home is this queue, and what its members returned |
//! | `T n`, `T q` | groups that are open, and those whose members have all ended |
//! | `T times`, `T due` | schedules by name: version, due, body; and by when they are due |
//! | `N schedules`, `N scheduled` | the queue of each schedule, and queues that had some |
//! | `N born` | a name that the store got when it was new |
//! | `N locks`, `N lends` | locks, and when they end; `N fence` is the last fence of any lock |
//! | `N checkpoints` | checkpoints by name: version, body |
//! | `N streams` | the streams' names; of each, with `S` = `{namespace|~stream}`, in a slot of its own: |
//! | `S spec`, `S at`, `S by` | what it is, how far each partition is, its processors |
//! | `S ev:partition` | its events, as a Redis stream |
//! | `S member:P`, `S share:P` | who serves the processor P, and how far it has come in each partition |
//! | `S dead:partition:P` | its dead letters, by position |
//! | `N queues`, `N tasks`, `N fleet`, `N s:owner` | of the namespace, `N` = `{namespace|}` |

mod address;
mod amend;
mod answer;
mod bell;
mod broker;
mod call;
mod checkpoint;
mod clock;
mod control;
mod door;
mod doubt;
mod ear;
mod ended;
mod errand;
pub mod evidence;
mod examine;
mod facts;
mod flow;
mod foreign;
mod journal;
mod line;
mod lines;
mod linked;
mod lock;
mod masters;
mod needed;
mod optimistic;
mod overdue;
mod presence;
mod read;
mod record;
mod schedule;
mod script;
mod sentinel;
mod store;
mod stream;
mod submit;
mod transit;
mod trouble;
mod turn;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Backend, Options};
use crate::broker::BrokerError;
use crate::time::Timestamp;
use store::Store;

/// Stands in for the server's clock: the time of day, and the time that leases are counted by.
pub type Time = Arc<dyn Fn() -> (Timestamp, Duration) + Send + Sync>;

/// Opens the store at `url`.
///
/// # Errors
/// [`BrokerError::Refused`] with a way out if the URL makes no sense or the server cannot be used,
/// [`BrokerError::Away`] if it does not answer.
pub fn open(url: &str, options: &Options) -> Result<Backend, BrokerError> {
    backend(url, options, None)
}

/// [`open`] with another clock than the server's, for tests.
///
/// # Errors
/// As [`open`].
pub fn open_with_clock(url: &str, options: &Options, time: Time) -> Result<Backend, BrokerError> {
    backend(url, options, Some(time))
}

fn backend(url: &str, options: &Options, time: Option<Time>) -> Result<Backend, BrokerError> {
    let store = Arc::new(Store::open(url, options, time)?);
    Ok(Backend {
        broker: Arc::clone(&store) as _,
        catalog: Arc::clone(&store) as _,
        control: Arc::clone(&store) as _,
        transit: Arc::clone(&store) as _,
        schedules: Arc::clone(&store) as _,
        namespace: options.namespace.clone(),
        locks: Arc::clone(&store) as _,
        journals: Arc::clone(&store) as _,
        checkpoints: Arc::clone(&store) as _,
        streams: store,
    })
}
