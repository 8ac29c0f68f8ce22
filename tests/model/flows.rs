//! Random flows whose jobs end in every way there is, on each store: whatever happens, every step is
//! there once if it was to be and not at all if not, with what came before it, and every group has
//! counted its members once.

mod laws;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bulkhead_shared::broker::{Claimed, Overdue, Revocation, Settled};
use bulkhead_shared::flow::{Chain, Flow, Group, OnFailed};
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_shared::{Message, QueueName, Uuid};
use bulkhead_tests::flow::{close_all, header_of, with_errands};
use bulkhead_tests::{Kind, LEASE, Scene};
use proptest::prelude::*;
use serde_json::json;

const QUEUES: [&str; 2] = ["default", "other"];

/// Longer than any random flow takes to end once nobody disturbs it.
const ROUNDS: usize = 200;

/// A step of a flow.
#[derive(Debug, Clone)]
enum Plan {
    Job {
        uuid: Uuid,
        queue: usize,
        ttl: bool,
    },
    Group {
        uuid: Uuid,
        members: Vec<Vec<Self>>,
        join: Vec<Self>,
        on_failed: OnFailed,
    },
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let job = (0..QUEUES.len(), prop::bool::weighted(0.2)).prop_map(|(queue, ttl)| Plan::Job {
        uuid: Uuid::nil(),
        queue,
        ttl,
    });
    let plan = job.prop_recursive(2, 10, 3, |inner| {
        let members = prop::collection::vec(prop::collection::vec(inner.clone(), 1..3), 1..4);
        let on_failed = prop_oneof![
            Just(OnFailed::Stop),
            Just(OnFailed::Null),
            Just(OnFailed::Error)
        ];
        let join = prop::collection::vec(inner, 0..2);
        (members, join, on_failed).prop_map(|(members, join, on_failed)| Plan::Group {
            uuid: Uuid::nil(),
            members,
            join,
            on_failed,
        })
    });
    prop::collection::vec(plan, 1..4)
}

/// Gives every step an id of its own.
fn name(steps: &mut [Plan]) {
    for step in steps {
        match step {
            Plan::Job { uuid, .. } => *uuid = Uuid::now_v7(),
            Plan::Group {
                uuid,
                members,
                join,
                ..
            } => {
                *uuid = Uuid::now_v7();
                members.iter_mut().for_each(|line| name(line));
                name(join);
            }
        }
    }
}

fn chain(steps: &[Plan]) -> Chain {
    let part = |step: &Plan| match step {
        Plan::Job { uuid, queue, ttl } => {
            let message = Message::new("add").uuid(*uuid).queue(QUEUES[*queue]);
            Chain::from(match ttl {
                true => message.ttl(Duration::from_secs(40)),
                false => message,
            })
        }
        Plan::Group {
            uuid,
            members,
            join,
            on_failed,
        } => {
            let group = Group::new().uuid(*uuid).on_failed(*on_failed);
            let group = group.members(members.iter().map(|line| chain(line)));
            Chain::from(match join.is_empty() {
                true => group,
                false => group.join(chain(join)),
            })
        }
    };
    steps.iter().map(part).collect()
}

/// How an attempt ends, or does not.
#[derive(Debug, Clone, Copy)]
enum End {
    Succeed,
    Bury,
    Drop,
    Retry,
    Release,
}

/// What may happen. Jobs and claims are named by a number that is taken modulo how many there are.
#[derive(Debug, Clone)]
enum Happening {
    Submit(Vec<Plan>),
    Claim(usize, usize),
    Settle(usize, End),
    /// Once more, with a receipt that was settled already.
    Again(usize, End),
    Revoke(usize),
    Remove(usize),
    /// Time passes: leases end, jobs wait too long.
    Pass(u64),
    Rescue(End),
    Expire,
    Close,
    Deliver,
}

fn happenings() -> impl Strategy<Value = Happening> {
    let end = || {
        prop_oneof![
            8 => Just(End::Succeed),
            1 => Just(End::Bury),
            1 => Just(End::Drop),
            2 => Just(End::Retry),
            1 => Just(End::Release),
        ]
    };
    prop_oneof![
        3 => plans().prop_map(Happening::Submit),
        8 => (0..QUEUES.len(), 1..5_usize).prop_map(|(queue, room)| Happening::Claim(queue, room)),
        14 => (any::<usize>(), end()).prop_map(|(pick, end)| Happening::Settle(pick, end)),
        2 => (any::<usize>(), end()).prop_map(|(pick, end)| Happening::Again(pick, end)),
        1 => any::<usize>().prop_map(Happening::Revoke),
        1 => any::<usize>().prop_map(Happening::Remove),
        2 => (1..30_000_u64).prop_map(Happening::Pass),
        2 => end().prop_map(Happening::Rescue),
        1 => Just(Happening::Expire),
        3 => Just(Happening::Close),
        1 => Just(Happening::Deliver),
    ]
}

/// What became of a job for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Succeeded,
    Failed,
    /// Failed, and forgotten.
    Removed,
}

struct World {
    scene: Scene,
    flows: Vec<Vec<Plan>>,
    /// Those that have been claimed at some time.
    seen: Vec<Uuid>,
    held: Vec<Claimed>,
    settled: Vec<Claimed>,
    fates: HashMap<Uuid, Fate>,
}

impl World {
    fn new(kind: Kind) -> Self {
        Self {
            scene: Scene::new(kind),
            flows: Vec::new(),
            seen: Vec::new(),
            held: Vec::new(),
            settled: Vec::new(),
            fates: HashMap::new(),
        }
    }

    fn submit(&mut self, mut steps: Vec<Plan>) {
        name(&mut steps);
        match chain(&steps).build().unwrap() {
            Flow::Job(message) => drop(self.scene.offer(&message)),
            Flow::Group(group) => {
                use bulkhead_shared::sqlite::Clock;
                let now = self.scene.clock.wall();
                let opening = group.opening(now, &|_| QueueName::default()).unwrap();
                self.scene.broker().open(&opening).unwrap();
            }
        }
        self.seen.extend(steps.iter().filter_map(|step| match step {
            Plan::Job { uuid, .. } => Some(*uuid),
            Plan::Group { .. } => None,
        }));
        self.flows.push(steps);
    }

    fn claim(&mut self, queue: usize, room: usize) {
        let claimed = self.scene.claim_from(QUEUES[queue], room);
        self.take(claimed);
    }

    fn take(&mut self, claimed: Vec<Claimed>) {
        self.seen.extend(claimed.iter().map(|one| one.receipt.uuid));
        // Whoever had it before has it no more.
        let fences: HashSet<_> = claimed.iter().map(|one| one.receipt.uuid).collect();
        let (old, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|one| fences.contains(&one.receipt.uuid));
        self.held = held;
        self.settled.extend::<Vec<Claimed>>(old);
        self.held.extend(claimed);
    }

    /// What a supervisor makes of an attempt that ended so.
    fn settle(&mut self, claimed: &Claimed, end: End) -> Settled {
        let uuid = claimed.receipt.uuid;
        // As a supervisor does: what was refused is not run.
        let is_refused = header_of(claimed).refusal.is_some();
        let end = if is_refused { End::Bury } else { end };
        let result = json!(uuid).to_string().into_bytes();
        let next = match end {
            End::Succeed => Move::Succeed {
                result: Some(result.clone()),
                result_until: None,
                purge_at: None,
            },
            End::Bury => Move::Bury {
                cause: Cause::Error,
                purge_at: None,
            },
            End::Drop => Move::Drop {
                cause: Cause::Expired,
                purge_at: None,
            },
            End::Retry => Move::Retry {
                at: bulkhead_tests::TestClock::START,
            },
            End::Release => Move::Release,
        };
        let settlement = with_errands(&self.scene, claimed, next, &result);
        let settled = self
            .scene
            .broker()
            .turn(vec![settlement], None)
            .unwrap()
            .settled[0];
        let fate = match (settled, end) {
            (Settled::Stale, _) | (Settled::Applied, End::Retry | End::Release) => return settled,
            (Settled::Applied, End::Succeed) => Fate::Succeeded,
            (Settled::Applied, End::Bury | End::Drop) | (Settled::Revoked, _) => Fate::Failed,
        };
        let before = self.fates.insert(uuid, fate);
        assert_eq!(before, None, "{uuid} has ended twice");
        settled
    }

    fn settle_held(&mut self, pick: usize, end: End) {
        if !self.held.is_empty() {
            let claimed = self.held.swap_remove(pick % self.held.len());
            self.settle(&claimed, end);
            self.settled.push(claimed);
        }
    }

    fn rescue(&mut self, what: &Overdue<'_>, end: End) {
        let taken = self.scene.take_over(what);
        self.take(taken.clone());
        for claimed in taken {
            self.held
                .retain(|one| one.receipt.uuid != claimed.receipt.uuid);
            self.settle(&claimed, end);
            self.settled.push(claimed);
        }
    }

    fn happen(&mut self, what: Happening) {
        let pick = |list: &[Uuid], n: usize| (!list.is_empty()).then(|| list[n % list.len()]);
        match what {
            Happening::Submit(steps) => self.submit(steps),
            Happening::Claim(queue, room) => self.claim(queue, room),
            Happening::Settle(n, end) => self.settle_held(n, end),
            Happening::Again(n, end) => {
                if !self.settled.is_empty() {
                    let claimed = self.settled[n % self.settled.len()].clone();
                    assert_eq!(self.settle(&claimed, end), Settled::Stale);
                }
            }
            Happening::Revoke(n) => {
                if let Some(uuid) = pick(&self.seen, n)
                    && self.scene.broker().revoke(uuid, false).unwrap() == Revocation::Ended
                {
                    assert_eq!(self.fates.insert(uuid, Fate::Failed), None);
                }
            }
            Happening::Remove(n) => {
                if let Some(uuid) = pick(&self.seen, n)
                    && !self.fates.contains_key(&uuid)
                    && self.scene.broker().remove(&[uuid]).unwrap() == 1
                {
                    self.fates.insert(uuid, Fate::Removed);
                }
            }
            Happening::Pass(ms) => self.scene.clock.pass(Duration::from_millis(ms)),
            Happening::Rescue(end) => self.rescue(&Overdue::Lease, end),
            Happening::Expire => self.rescue(&Overdue::Expired, End::Drop),
            Happening::Close => drop(close_all(&self.scene)),
            Happening::Deliver => drop(self.scene.broker().deliver(100).unwrap()),
        }
    }

    /// Everybody who died is followed by one who goes on, until nothing is left to do.
    fn finish(&mut self) {
        for _ in 0..ROUNDS {
            self.scene.clock.pass(LEASE);
            self.rescue(&Overdue::Lease, End::Release);
            self.rescue(&Overdue::Expired, End::Drop);
            self.scene.broker().deliver(1000).unwrap();
            let closed = close_all(&self.scene).len();
            let mut ran = 0;
            for queue in 0..QUEUES.len() {
                self.claim(queue, 100);
                while !self.held.is_empty() {
                    self.settle_held(0, End::Succeed);
                    ran += 1;
                }
            }
            if ran + closed == 0 {
                return;
            }
        }
        panic!("the flows do not end");
    }
}

fn play(kind: Kind, happenings: Vec<Happening>) {
    let mut world = World::new(kind);
    for what in happenings {
        world.happen(what);
    }
    world.finish();
    world.check();
}

fn many() -> impl Strategy<Value = Vec<Happening>> {
    prop::collection::vec(happenings(), 1..80)
}

proptest! {
    #![proptest_config(super::cases(96))]

    #[test]
    fn flows_end_as_their_jobs_do_in_sqlite(happenings in many()) {
        play(Kind::SqliteMemory, happenings);
    }
}

proptest! {
    #![proptest_config(super::cases(24))]

    #[test]
    fn flows_end_as_their_jobs_do_in_a_sqlite_file(happenings in many()) {
        play(Kind::SqliteFile, happenings);
    }

    #[test]
    fn flows_end_as_their_jobs_do_on_redis(happenings in many()) {
        play(Kind::Redis, happenings);
    }

    #[test]
    fn flows_end_as_their_jobs_do_on_a_redis_cluster(happenings in many()) {
        play(Kind::RedisCluster, happenings);
    }
}
