//! Random operations on a store and on a model of it, in virtual time: both must say the same.
#![allow(clippy::unwrap_used, reason = "all of this is tests")]

mod flows;
mod model;

use std::time::Duration;

use bulkhead_shared::broker::{Claim, Claimed, Overdue, Receipt, Selection, Settled};
use bulkhead_shared::catalog::State;
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_shared::sqlite::Clock;
use bulkhead_shared::{Message, QueueName, Timestamp, Uuid};
use bulkhead_tests::{Kind, LEASE, Scene, TestClock, queue, settlement, task};
use model::{Brought, Job, Model};
use proptest::prelude::*;

const QUEUES: [&str; 2] = ["a", "b"];
const TASKS: [&str; 3] = ["add", "sub", "strange"];

/// What may happen. Jobs and receipts are named by a number that is taken modulo how many there are.
#[derive(Debug, Clone)]
enum Step {
    Submit {
        queue: usize,
        task: usize,
        priority: u32,
        delay: u64,
        ttl: Option<u64>,
        expires: Option<u64>,
    },
    Resubmit(usize),
    Turn {
        settle: Vec<(usize, End)>,
        queues: Vec<usize>,
        room: usize,
    },
    Renew(usize),
    Revoke(usize, bool),
    TakeOverLeases,
    TakeOverExpired,
    RetryDead(usize),
    DropDead(usize),
    Remove(usize),
    Prune,
    Pass(u64),
    Back(u64),
}

#[derive(Debug, Clone)]
enum End {
    Succeed(Option<u64>),
    Retry(u64),
    Release,
    Bury(Option<u64>),
    Drop(Option<u64>),
}

fn end() -> impl Strategy<Value = End> {
    let kept = || proptest::option::of(0..60_000u64);
    prop_oneof![
        kept().prop_map(End::Succeed),
        (0..20_000u64).prop_map(End::Retry),
        Just(End::Release),
        kept().prop_map(End::Bury),
        kept().prop_map(End::Drop),
    ]
}

fn submission() -> impl Strategy<Value = Step> {
    let delay = prop_oneof![Just(0u64), 1..10_000u64];
    let ttl = proptest::option::weighted(0.2, 1..20_000u64);
    let expires = proptest::option::weighted(0.2, 10_001..40_000u64);
    (
        0..QUEUES.len(),
        0..TASKS.len(),
        0..3u32,
        delay,
        ttl,
        expires,
    )
        .prop_map(
            |(queue, task, priority, delay, ttl, expires)| Step::Submit {
                queue,
                task,
                priority,
                delay,
                ttl,
                expires,
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    let queues = prop_oneof![
        Just(vec![0]),
        Just(vec![1]),
        Just(vec![0, 1]),
        Just(vec![1, 0])
    ];
    let settle = proptest::collection::vec((any::<usize>(), end()), 0..3);
    prop_oneof![
        6 => submission(),
        1 => any::<usize>().prop_map(Step::Resubmit),
        8 => (settle, queues, 0..4usize)
            .prop_map(|(settle, queues, room)| Step::Turn { settle, queues, room }),
        2 => any::<usize>().prop_map(Step::Renew),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(job, skip)| Step::Revoke(job, skip)),
        1 => Just(Step::TakeOverLeases),
        1 => Just(Step::TakeOverExpired),
        1 => any::<usize>().prop_map(Step::RetryDead),
        1 => any::<usize>().prop_map(Step::DropDead),
        1 => any::<usize>().prop_map(Step::Remove),
        1 => Just(Step::Prune),
        4 => (0..40_000u64).prop_map(Step::Pass),
        1 => (0..40_000u64).prop_map(Step::Back),
    ]
}

/// A wall clock of SQLite that is set back by more than this, in milliseconds, is followed.
const STANDS_STILL: u64 = 10_000;

/// The store, the model, and what both have given out.
struct Pair {
    scene: Scene,
    model: Model,
    messages: Vec<Message>,
    /// Receipts, and which job of the model each is for.
    receipts: Vec<(Receipt, usize)>,
}

impl Pair {
    fn new(kind: Kind) -> Self {
        let mut pair = Self {
            scene: Scene::new(kind),
            model: Model::default(),
            messages: Vec::new(),
            receipts: Vec::new(),
        };
        pair.look_at_the_clock();
        pair
    }

    /// A store knows how late it is from its last write: let both look now.
    fn look_at_the_clock(&mut self) {
        self.scene.broker().note(&[]).unwrap();
        let (wall, seen) = (self.scene.clock.wall().as_millis(), self.model.now);
        let is_far_back = wall + STANDS_STILL < seen;
        self.model.now = match self.scene.kind {
            Kind::SqliteFile | Kind::SqliteMemory if is_far_back => wall,
            _ => wall.max(seen),
        };
        self.model.boot = u64::try_from(self.scene.clock.since_boot().as_millis()).unwrap();
    }

    fn uuid(&self, pick: usize) -> Uuid {
        match self.messages.len() {
            0 => Uuid::nil(),
            count => self.messages[pick % count].uuid,
        }
    }

    fn receipt(&self, pick: usize) -> Option<(Receipt, usize)> {
        let count = self.receipts.len();
        (count > 0).then(|| self.receipts[pick % count].clone())
    }

    fn offer(&mut self, message: &Message) {
        let now = self.model.now;
        let ready_at = message.ready_at.map_or(now, |at| at.as_millis().max(now));
        let job = Job {
            uuid: message.uuid,
            born: 0,
            queue: message.queue.clone().unwrap(),
            task: message.task.clone(),
            priority: message.priority,
            state: if ready_at > now {
                State::Delayed
            } else {
                State::Ready
            },
            ready_at,
            ttl: message.header.ttl_ms,
            expires_at: message.header.expires_at.map(Timestamp::as_millis),
            fence: 0,
            lease_end: 0,
            is_revoked: false,
            cause: None,
            purge_at: None,
        };
        assert_eq!(self.scene.offer(message), self.model.submit(job));
    }

    fn ending(&self, end: &End) -> Move {
        let after = |ms| Timestamp::from_millis(self.model.now).plus(Duration::from_millis(ms));
        match end {
            End::Succeed(kept) => Move::Succeed {
                // Long ones are kept in another way.
                result: Some(b"r".repeat(if kept.is_some_and(|ms| ms % 2 == 1) {
                    5000
                } else {
                    1
                })),
                result_until: kept.map(|ms| after(ms / 2)),
                purge_at: kept.map(after),
            },
            End::Retry(ms) => Move::Retry { at: after(*ms) },
            End::Release => Move::Release,
            End::Bury(kept) => Move::Bury {
                cause: Cause::Error,
                purge_at: kept.map(after),
            },
            End::Drop(kept) => Move::Drop {
                cause: Cause::Expired,
                purge_at: kept.map(after),
            },
        }
    }

    fn turn(&mut self, ends: &[(usize, End)], queues: &[usize], room: usize) {
        let mut settlements = Vec::new();
        let mut expected: Vec<Settled> = Vec::new();
        for (pick, end) in ends {
            let Some((receipt, born)) = self.receipt(*pick) else {
                continue;
            };
            let next = self.ending(end);
            expected.push(self.model.settle((born, receipt.fence), &next));
            let claimed = Claimed {
                receipt,
                task: task("add"),
                header: Vec::new(),
                payload: Vec::new(),
                history: Vec::new(),
            };
            let at = Timestamp::from_millis(self.model.now);
            settlements.push(bulkhead_shared::broker::Settlement {
                at,
                ..settlement(&claimed, next)
            });
        }
        let selection = Selection {
            queues: queues.iter().map(|index| queue(QUEUES[*index])).collect(),
            tasks: vec![task("add"), task("sub")],
        };
        let claim = Claim {
            owner: self.scene.me,
            selection: &selection,
            room,
            lease: LEASE,
        };
        let turned = self.scene.broker().turn(settlements, Some(claim)).unwrap();
        assert_eq!(turned.settled, expected);
        let brought = self.model.claim(&selection.queues, &selection.tasks, room);
        let next_due = turned
            .next_due
            .map(|due| u64::try_from(due.as_millis()).unwrap());
        let got = Brought {
            claimed: self.keep(&turned.claimed),
            more: turned.more,
            next_due,
        };
        assert_eq!(got, brought);
        // A store may tell of those in other queues too.
        let of_these = |queue: &QueueName| selection.queues.contains(queue);
        let in_these = |receipt: &&Receipt| of_these(&receipt.queue);
        let mut told: Vec<_> = turned
            .revoked
            .iter()
            .filter(in_these)
            .map(|receipt| (receipt.uuid, receipt.fence))
            .collect();
        let is_told =
            |job: &&Job| job.state == State::Leased && job.is_revoked && of_these(&job.queue);
        let mut revoked: Vec<_> = self
            .model
            .jobs
            .iter()
            .filter(is_told)
            .map(|job| (job.uuid, job.fence))
            .collect();
        told.sort();
        revoked.sort();
        assert_eq!(told, revoked);
    }

    fn keep(&mut self, claimed: &[Claimed]) -> Vec<(Uuid, u64)> {
        for job in claimed {
            let known = self.model.find(job.receipt.uuid);
            let born = known.map_or(0, |known| known.born);
            self.receipts.push((job.receipt.clone(), born));
        }
        claimed
            .iter()
            .map(|job| (job.receipt.uuid, job.receipt.fence))
            .collect()
    }

    fn taken(&mut self, what: &Overdue<'_>, mut expected: Vec<(Uuid, u64)>) {
        let taken = self.scene.take_over(what);
        let mut taken = self.keep(&taken);
        taken.sort();
        expected.sort();
        assert_eq!(taken, expected);
    }

    fn play(&mut self, step: Step) {
        let uuid = |pair: &Self, pick| pair.uuid(pick);
        match step {
            Step::Submit {
                queue,
                task,
                priority,
                delay,
                ttl,
                expires,
            } => {
                let mut message = Message::new(TASKS[task])
                    .queue(QUEUES[queue])
                    .priority(priority.into());
                if delay > 0 {
                    message = message.delay(Duration::from_millis(delay));
                }
                if let Some(ttl) = ttl {
                    message = message.ttl(Duration::from_millis(ttl));
                }
                if let Some(expires) = expires {
                    message = message.expires(Duration::from_millis(expires));
                }
                let message = self.scene.build(message);
                self.offer(&message);
                self.messages.push(message);
            }
            Step::Resubmit(pick) => {
                if !self.messages.is_empty() {
                    let message = self.messages[pick % self.messages.len()].clone();
                    self.offer(&message);
                }
            }
            Step::Turn {
                settle,
                queues,
                room,
            } => self.turn(&settle, &queues, room),
            Step::Renew(pick) => {
                if let Some((receipt, born)) = self.receipt(pick) {
                    let expected = self.model.renew((born, receipt.fence));
                    assert_eq!(
                        self.scene.broker().renew(&[receipt], LEASE).unwrap(),
                        [expected]
                    );
                }
            }
            Step::Revoke(pick, skip) => {
                let job = uuid(self, pick);
                let answer = self.scene.broker().revoke(job, skip).unwrap();
                assert_eq!(answer, self.model.revoke(job, skip));
            }
            Step::TakeOverLeases => {
                let expected = self.model.take_over_leases();
                self.taken(&Overdue::Lease, expected);
            }
            Step::TakeOverExpired => {
                let expected = self.model.take_over_expired();
                self.taken(&Overdue::Expired, expected);
            }
            Step::RetryDead(pick) => {
                let job = uuid(self, pick);
                assert_eq!(
                    self.scene.broker().retry_dead(&[job]).unwrap(),
                    self.model.retry_dead(job)
                );
            }
            Step::DropDead(pick) => {
                let job = uuid(self, pick);
                assert_eq!(
                    self.scene.broker().drop_dead(&[job]).unwrap(),
                    self.model.drop_dead(job)
                );
            }
            Step::Remove(pick) => {
                let job = uuid(self, pick);
                assert_eq!(
                    self.scene.broker().remove(&[job]).unwrap(),
                    self.model.remove(job)
                );
            }
            Step::Prune => {
                self.scene.broker().prune(1000).unwrap();
                self.model.prune();
            }
            Step::Pass(ms) => {
                self.scene.clock.pass(Duration::from_millis(ms));
                self.look_at_the_clock();
            }
            Step::Back(ms) => {
                let wall = self.scene.clock.wall().as_millis().saturating_sub(ms);
                let wall = Timestamp::from_millis(wall).max(TestClock::START);
                self.scene.clock.set_wall(wall);
                self.look_at_the_clock();
            }
        }
    }

    /// Both agree on every job and on the counts.
    fn check(&mut self) {
        let uuids: Vec<_> = self.messages.iter().map(|message| message.uuid).collect();
        let rows = self.scene.store.catalog.jobs_by_id(&uuids).unwrap();
        for (uuid, row) in uuids.into_iter().zip(rows) {
            let got = row.map(|row| (row.state, row.fence, row.cause, row.ready_at.as_millis()));
            let job = self.model.find(uuid);
            let expected = job.map(|job| (job.state, job.fence, job.cause, job.ready_at));
            assert_eq!(got, expected, "{uuid}");
        }
        let is_unfinished =
            |job: &&Job| matches!(job.state, State::Ready | State::Delayed | State::Leased);
        let unfinished = self.model.jobs.iter().filter(is_unfinished).count();
        let queues = QUEUES.map(queue);
        let counted = self.scene.store.catalog.unfinished(&queues).unwrap();
        assert_eq!(counted, u64::try_from(unfinished).unwrap());
    }
}

/// A failure is minimised and printed; its steps become a test with a name, not a file of seeds.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(count)
    }
}

fn agree(kind: Kind, steps: Vec<Step>) {
    let mut pair = Pair::new(kind);
    for step in steps {
        pair.play(step);
        pair.check();
    }
}

proptest! {
    #![proptest_config(cases(200))]
    #[test]
    fn a_store_in_memory_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..120)) {
        agree(Kind::SqliteMemory, steps);
    }
}

proptest! {
    #![proptest_config(cases(24))]
    #[test]
    fn a_store_in_a_file_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..120)) {
        agree(Kind::SqliteFile, steps);
    }
}

proptest! {
    #![proptest_config(cases(60))]
    #[test]
    fn a_store_on_a_redis_server_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..120)) {
        agree(Kind::Redis, steps);
    }
}

proptest! {
    #![proptest_config(cases(24))]
    #[test]
    fn a_store_on_a_redis_cluster_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..120)) {
        agree(Kind::RedisCluster, steps);
    }
}
