//! Jobs whose end brings others, as a supervisor would end them.

use bulkhead_shared::broker::{Claimed, Settled, Settlement};
use bulkhead_shared::client::Client;
use bulkhead_shared::flow::follow::{self, About, Thread};
use bulkhead_shared::flow::{Chain, Flow, OnFailed};
use bulkhead_shared::flow::{Complete, Group};
use bulkhead_shared::message::Header;
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_shared::sqlite::Clock;
use bulkhead_shared::{Message, QueueName, TaskName, Timestamp, Uuid};
use serde_json::Value;

use crate::work::{Job, Kind};
use crate::{Scene, queue, settlement, succeed};

/// A second queue, so that flows go from one to another.
pub const OTHER: &str = "other";

/// Members of a planned group.
const MEMBERS: usize = 10;

/// Everything that names no queue goes to `default`.
fn usual(_: &TaskName) -> QueueName {
    QueueName::default()
}

/// What a claimed job's header says.
///
/// # Panics
/// If it says nothing.
#[must_use]
pub fn header_of(claimed: &Claimed) -> Header {
    serde_json::from_slice(&claimed.header).unwrap()
}

/// What came from the job before a claimed one.
#[must_use]
pub fn previous_of(claimed: &Claimed) -> Option<String> {
    let header = header_of(claimed);
    let (_, previous) = header.split(&claimed.payload);
    previous.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

/// A settlement with what it brings.
#[must_use]
pub fn with_errands(scene: &Scene, claimed: &Claimed, next: Move, result: &[u8]) -> Settlement {
    with_errands_at(scene.clock.wall(), claimed, next, result)
}

/// A settlement at `now` with what it brings.
///
/// # Panics
/// If what follows cannot be read.
#[must_use]
pub fn with_errands_at(now: Timestamp, claimed: &Claimed, next: Move, result: &[u8]) -> Settlement {
    let about = About {
        wants_callback: true,
        now,
        queue_of: &usual,
    };
    let thread = Thread::of(claimed.receipt.uuid, &header_of(claimed));
    let errands = thread.map(|thread| thread.follow(&next, result, None, &about).unwrap());
    Settlement {
        errands: errands.unwrap_or_default(),
        ..settlement(claimed, next)
    }
}

/// Ends a job well.
pub fn give(scene: &Scene, claimed: &Claimed, result: &[u8]) -> Settled {
    let settlement = with_errands(scene, claimed, succeed(result), result);
    let turned = scene.broker().turn(vec![settlement], None).unwrap();
    turned.settled[0]
}

/// Ends a job badly.
pub fn fail(scene: &Scene, claimed: &Claimed) -> Settled {
    let next = Move::Bury {
        cause: Cause::Error,
        purge_at: None,
    };
    let settlement = with_errands(scene, claimed, next, b"");
    let turned = scene.broker().turn(vec![settlement], None).unwrap();
    turned.settled[0]
}

/// Opens a group.
pub fn open(scene: &Scene, group: Group) -> Uuid {
    let group = group.build().unwrap();
    let opening = group.opening(scene.clock.wall(), &usual).unwrap();
    scene.broker().open(&opening).unwrap();
    group.uuid()
}

/// Closes all groups that are complete; which ones were.
pub fn close_all(scene: &Scene) -> Vec<Uuid> {
    let complete = scene.broker().complete(100).unwrap();
    let close = |group: &Complete| {
        let closed = close(scene, group);
        assert!(closed, "it was listed as complete");
        group.uuid
    };
    complete.iter().map(close).collect()
}

/// Closes a group, if nobody has done so.
pub fn close(scene: &Scene, group: &Complete) -> bool {
    let about = About {
        wants_callback: true,
        now: scene.clock.wall(),
        queue_of: &usual,
    };
    let errands = follow::complete(group, &about).unwrap();
    scene.broker().close(group, errands).unwrap()
}

/// A flow for the suites that kill supervisors, and what must become of it.
#[derive(Debug)]
pub struct Planned {
    /// To be submitted.
    pub flow: Flow,
    /// All its jobs.
    pub jobs: Vec<Job>,
    /// The join, and the places of members that fail.
    join: Option<(Uuid, Vec<usize>)>,
}

impl Planned {
    /// Chains, and groups spread evenly among them.
    pub fn mixed(chains: usize, groups: usize, make: &mut dyn FnMut(Kind) -> Message) -> Vec<Self> {
        let every = chains / groups;
        let mut flows = Vec::with_capacity(chains + groups);
        for n in 0..chains {
            if n.is_multiple_of(every) && n / every < groups {
                flows.push(Self::group(n / every, make));
            }
            flows.push(Self::chain(n, make));
        }
        flows
    }

    /// The `n`-th chain of three, through two queues; `make` makes the message of a job.
    ///
    /// # Panics
    /// If it cannot be built.
    pub fn chain(n: usize, make: &mut dyn FnMut(Kind) -> Message) -> Self {
        let nap = Kind::Nap {
            ms: u64::try_from(n % 7).unwrap(),
        };
        let mut jobs = Vec::new();
        let mut step = |kind, queue| one(kind, queue, &mut jobs, make);
        let steps = [
            step(Kind::Give, None),
            step(nap, Some(OTHER)),
            step(Kind::Give, n.is_multiple_of(2).then_some(OTHER)),
        ];
        let flow = steps.into_iter().collect::<Chain>().build().unwrap();
        Self {
            flow,
            jobs,
            join: None,
        }
    }

    /// The `n`-th group of ten with a join. Every third has a member that fails.
    ///
    /// # Panics
    /// If it cannot be built.
    pub fn group(n: usize, make: &mut dyn FnMut(Kind) -> Message) -> Self {
        let (mut jobs, mut failed) = (Vec::new(), Vec::new());
        let mut members = Vec::new();
        for place in 0..MEMBERS {
            let kind = if n.is_multiple_of(3) && place == n % MEMBERS {
                failed.push(place);
                Kind::Fail { retries: 0 }
            } else {
                Kind::Give
            };
            let queue = place.is_multiple_of(2).then_some(OTHER);
            members.push(one(kind, queue, &mut jobs, make));
        }
        let join = one(
            Kind::Give,
            n.is_multiple_of(4).then_some(OTHER),
            &mut jobs,
            make,
        );
        let uuid = join.uuid;
        let group = Group::new().members(members).join(join);
        let flow = Chain::from(group.on_failed(OnFailed::Null))
            .build()
            .unwrap();
        Self {
            flow,
            jobs,
            join: Some((uuid, failed)),
        }
    }

    /// Looks whether the join, if there is one, was given what its members returned.
    ///
    /// # Panics
    /// If it was not.
    pub fn check_join(&self, client: &Client) {
        let Some((join, failed)) = &self.join else {
            return;
        };
        let catalog = &client.backend().catalog;
        let row = catalog.jobs_by_id(&[*join]).unwrap().remove(0).unwrap();
        let header: Header = serde_json::from_slice(&row.header).unwrap();
        let payload = catalog.payload(*join).unwrap().unwrap();
        let (_, previous) = header.split(&payload);
        let results: Vec<Value> = serde_json::from_slice(previous.unwrap()).unwrap();
        assert_eq!(results.len(), MEMBERS, "{join}");
        for (place, result) in results.iter().enumerate() {
            assert_eq!(
                result.is_null(),
                failed.contains(&place),
                "{join}: {results:?}"
            );
        }
    }
}

fn one(
    kind: Kind,
    name: Option<&str>,
    jobs: &mut Vec<Job>,
    make: &mut dyn FnMut(Kind) -> Message,
) -> Message {
    let message = Message {
        queue: name.map(queue),
        ..make(kind)
    };
    let uuid = message.uuid;
    jobs.push(Job { uuid, kind });
    message
}
