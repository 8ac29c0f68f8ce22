//! Random moves beside a model that cannot be wrong: who holds what, how far it was passed, what is
//! kept.

use std::time::Duration;

use bulkhead_shared::broker::SupervisorId;
use bulkhead_shared::stream::keep::{
    Attendance, Duty, Hold, Pass, Read, Rest, Seek, Sent, Step, View,
};
use bulkhead_shared::stream::{EventId, Full, Place, StreamSpec};
use bulkhead_shared::{StreamName, TaskName};
use bulkhead_tests::{Kind, Scene, supervisor};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{record, trouble};

const PARTS: usize = 2;
const MEMBERS: usize = 3;
const PROCESSORS: usize = 2;
const SIZE: u64 = 8;
const LEASE_MS: u64 = 50;

#[derive(Debug, Clone, Copy)]
enum Act {
    Send(usize, usize),
    Attend(usize, usize),
    Take(usize, usize, usize),
    GiveBack(usize, usize, bool),
    Depart(usize, usize),
    Pass(usize, usize, bool, u64),
    Fail(usize, usize, Option<Rest>),
    Seek(usize, usize, Seek),
    Release(usize),
    Forget(usize),
    Time(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let part = || 0..PARTS;
    let of = || 0..PROCESSORS;
    let member = || 0..MEMBERS;
    let old = || prop::bool::weighted(0.2);
    let rest = prop_oneof![
        Just(None),
        Just(Some(Rest::Halted)),
        Just(Some(Rest::Quarantined))
    ];
    let to = prop_oneof![
        Just(Seek::Start),
        Just(Seek::End),
        (0..9u64).prop_map(Seek::Skip),
        (0..200u64, 0..3u64).prop_map(|(ms, seq)| Seek::Id(EventId {
            ms: 1_800_000_000_000 + ms,
            seq
        })),
    ];
    prop_oneof![
        6 => (part(), 1..6usize).prop_map(|(part, count)| Act::Send(part, count)),
        5 => (of(), member()).prop_map(|(of, member)| Act::Attend(of, member)),
        6 => (of(), member(), part()).prop_map(|(of, member, part)| Act::Take(of, member, part)),
        2 => (of(), part(), old()).prop_map(|(of, part, old)| Act::GiveBack(of, part, old)),
        1 => (of(), member()).prop_map(|(of, member)| Act::Depart(of, member)),
        8 => (of(), part(), old(), 0..7u64)
            .prop_map(|(of, part, old, ahead)| Act::Pass(of, part, old, ahead)),
        2 => (of(), part(), rest).prop_map(|(of, part, rest)| Act::Fail(of, part, rest)),
        2 => (of(), part(), to).prop_map(|(of, part, to)| Act::Seek(of, part, to)),
        1 => of().prop_map(Act::Release),
        1 => of().prop_map(Act::Forget),
        4 => (1..40u64).prop_map(Act::Time),
    ]
}

#[derive(Debug, Clone, Default)]
struct Share {
    fence: u64,
    /// Who took it last and has not given it back, and until when.
    owner: Option<(usize, u64)>,
    passed: u64,
    moved_to: Option<Seek>,
    trouble: Option<(u64, Option<Rest>)>,
}

#[derive(Debug, Clone, Default)]
struct Processor {
    members: Vec<(usize, u64)>,
    shares: [Share; PARTS],
}

#[derive(Debug, Default)]
struct Part {
    gone: u64,
    ids: Vec<EventId>,
}

impl Part {
    fn last(&self) -> u64 {
        u64::try_from(self.ids.len()).unwrap()
    }

    fn place(&self, position: u64) -> Place {
        let index = usize::try_from(position).unwrap();
        let id = index.checked_sub(1).map(|index| self.ids[index]);
        Place {
            position,
            id: id.unwrap_or_default(),
        }
    }
}

struct Play<'a> {
    scene: &'a Scene,
    spec: StreamSpec,
    members: [SupervisorId; MEMBERS],
    now: u64,
    parts: [Part; PARTS],
    processors: [Option<Processor>; PROCESSORS],
    /// The highest fence ever, of each partition as each processor sees it.
    highest: [[u64; PARTS]; PROCESSORS],
}

impl Play<'_> {
    fn duty(&self, of: usize) -> Duty {
        Duty {
            stream: self.spec.name.clone(),
            processor: TaskName::new(["audit", "ledger"][of]).unwrap(),
        }
    }

    fn hold(&self, of: usize, part: usize, old: bool) -> Hold {
        let fence = self.processors[of].as_ref().map(|it| it.shares[part].fence);
        let partition = u16::try_from(part).unwrap();
        let fence = fence.unwrap_or(0).saturating_sub(u64::from(old));
        Hold { partition, fence }
    }

    fn lives(&self, of: usize, member: usize) -> bool {
        let members = self.processors[of].iter().flat_map(|it| &it.members);
        let mut his = members.filter(|(one, _)| *one == member);
        his.any(|(_, till)| *till > self.now)
    }

    fn act(&mut self, act: Act) {
        let streams = &self.scene.store.streams;
        let lease = Duration::from_millis(LEASE_MS);
        let till = self.now + LEASE_MS;
        match act {
            Act::Send(part, count) => self.send(part, count),
            Act::Attend(of, member) => {
                let duty = self.duty(of);
                let holds = [self.hold(of, 0, false), self.hold(of, 1, false)];
                let attendance = Attendance {
                    duty: &duty,
                    member: self.members[member],
                    lease,
                    holds: &holds,
                };
                let view = streams.attend(attendance).unwrap();
                let parts = &self.parts;
                let processor = self.processors[of].get_or_insert_with(|| {
                    let mut new = Processor::default();
                    for (share, part) in new.shares.iter_mut().zip(parts) {
                        share.passed = part.gone;
                    }
                    new
                });
                let now = self.now;
                processor.members.retain(|(_, till)| *till > now);
                match processor.members.iter_mut().find(|(it, _)| *it == member) {
                    Some(known) => known.1 = till,
                    None => processor.members.push((member, till)),
                }
                for share in &mut processor.shares {
                    if let Some(owner) = &mut share.owner
                        && owner.0 == member
                    {
                        owner.1 = till;
                    }
                }
                self.check_view(of, &view);
            }
            Act::Take(of, member, part) => self.take(of, member, part),
            Act::GiveBack(of, part, old) => {
                let hold = self.hold(of, part, old);
                streams.give_back(&self.duty(of), &[hold]).unwrap();
                if let Some(it) = &mut self.processors[of]
                    && it.shares[part].fence == hold.fence
                {
                    it.shares[part].owner = None;
                }
            }
            Act::Depart(of, member) => {
                streams
                    .depart(&self.duty(of), self.members[member])
                    .unwrap();
                let Some(it) = &mut self.processors[of] else {
                    return;
                };
                it.members.retain(|(one, _)| *one != member);
                for share in &mut it.shares {
                    share.owner = share.owner.filter(|(one, _)| *one != member);
                }
            }
            Act::Pass(of, part, old, ahead) => {
                let passed = self.processors[of]
                    .as_ref()
                    .map(|it| it.shares[part].passed);
                let passed = passed.unwrap_or(0).max(self.parts[part].gone);
                let to = (passed + ahead)
                    .saturating_sub(1)
                    .min(self.parts[part].last());
                let is_made = self.step(of, part, old, Pass::To(self.parts[part].place(to)));
                let Some(it) = &mut self.processors[of] else {
                    return;
                };
                let share = &mut it.shares[part];
                if is_made && to > passed {
                    share.passed = to;
                    share.trouble = share.trouble.filter(|(at, _)| *at > to);
                }
            }
            Act::Fail(of, part, rest) => {
                let passed = self.processors[of]
                    .as_ref()
                    .map(|it| it.shares[part].passed);
                let next = passed.unwrap_or(0).max(self.parts[part].gone) + 1;
                if next > self.parts[part].last() {
                    return;
                }
                let place = self.parts[part].place(next);
                if self.step(of, part, false, Pass::Failed(trouble(place, 1, rest)))
                    && let Some(it) = &mut self.processors[of]
                {
                    it.shares[part].trouble = Some((next, rest));
                }
            }
            Act::Seek(of, part, to) => {
                let partitions = [u16::try_from(part).unwrap()];
                let done = streams.seek(&self.duty(of), &partitions, to);
                assert_eq!(done.is_ok(), self.processors[of].is_some());
                if let Some(it) = &mut self.processors[of] {
                    it.shares[part].moved_to = Some(to);
                    it.shares[part].trouble = it.shares[part].trouble.map(|(at, _)| (at, None));
                }
            }
            Act::Release(of) => {
                let released = streams.release(&self.duty(of), &[]);
                let Some(it) = &mut self.processors[of] else {
                    return assert!(released.is_err());
                };
                let mut rested = Vec::new();
                for (part, share) in it.shares.iter_mut().enumerate() {
                    let passed = share.passed.max(self.parts[part].gone);
                    if share
                        .trouble
                        .is_some_and(|(at, rest)| at > passed && rest.is_some())
                    {
                        share.trouble = None;
                        rested.push(u16::try_from(part).unwrap());
                    }
                }
                assert_eq!(released.unwrap(), rested);
            }
            Act::Forget(of) => {
                let is_served = (0..MEMBERS).any(|member| self.lives(of, member));
                match streams.forget(&self.duty(of)) {
                    Ok(was_known) => {
                        assert!(!is_served);
                        assert_eq!(was_known, self.processors[of].take().is_some());
                    }
                    Err(error) => assert!(is_served, "{error}"),
                }
            }
            Act::Time(ms) => {
                self.now += ms;
                self.scene.clock.pass(Duration::from_millis(ms));
            }
        }
    }

    fn send(&mut self, part: usize, count: usize) {
        let partition = u16::try_from(part).unwrap();
        let records: Vec<_> = (0..count)
            .map(|n| record(partition, &n.to_string()))
            .collect();
        let sent = self
            .scene
            .store
            .streams
            .send(&self.spec.name, &records)
            .unwrap();
        let known = self.processors.iter().flatten();
        let passed = known.map(|it| it.shares[part].passed).min().unwrap_or(0);
        let it = &mut self.parts[part];
        let removable = passed.max(it.gone);
        for sent in sent {
            let drops = self.spec.full == Full::DropOldest;
            if !drops && it.last() - removable >= SIZE {
                assert_eq!(sent, Sent::Full);
                continue;
            }
            let Sent::Stored(place) = sent else {
                panic!("{sent:?}");
            };
            assert_eq!(place.position, it.last() + 1);
            assert!(it.ids.last().is_none_or(|last| *last < place.id));
            it.ids.push(place.id);
        }
        let surplus = it.last().saturating_sub(SIZE);
        let to = match self.spec.full {
            Full::DropOldest => surplus,
            Full::Block | Full::Error => surplus.min(removable),
        };
        it.gone = it.gone.max(to);
    }

    fn take(&mut self, of: usize, member: usize, part: usize) {
        let partitions = [u16::try_from(part).unwrap()];
        let lease = Duration::from_millis(LEASE_MS);
        let streams = &self.scene.store.streams;
        let taken = streams.take(&self.duty(of), self.members[member], &partitions, lease);
        let mut taken = taken.unwrap();
        let lives = self.lives(of, member);
        let Some(it) = &mut self.processors[of] else {
            return assert!(taken.is_empty());
        };
        let (share, track) = (&mut it.shares[part], &self.parts[part]);
        share.passed = share.passed.max(track.gone);
        let passed = share.passed;
        share.trouble = share.trouble.filter(|(at, _)| *at > passed);
        let is_held = share
            .owner
            .is_some_and(|(who, till)| who != member && till > self.now);
        let is_resting = share
            .trouble
            .is_some_and(|(_, rest)| rest == Some(Rest::Quarantined));
        if !lives || is_held || is_resting {
            return assert_eq!(taken, []);
        }
        let taken = taken.remove(0);
        let highest = &mut self.highest[of][part];
        assert!(
            taken.hold.fence > *highest,
            "{} after {highest}",
            taken.hold.fence
        );
        if share.fence > 0 {
            assert_eq!(taken.hold.fence, share.fence + 1);
        }
        *highest = taken.hold.fence;
        share.fence = taken.hold.fence;
        share.owner = Some((member, self.now + LEASE_MS));
        let after = match share.moved_to.take() {
            None => passed,
            Some(to) => {
                share.trouble = None;
                match to {
                    Seek::Start => track.gone,
                    Seek::End => track.last(),
                    Seek::Skip(count) => (passed + count).min(track.last()),
                    Seek::Id(id) => {
                        let mut later = (track.gone + 1..=track.last()).rev();
                        let before = later.find(|at| track.place(*at).id < id);
                        before.unwrap_or(track.gone)
                    }
                }
            }
        };
        assert_eq!(taken.passed, track.place(after));
        share.passed = after;
        share.trouble = share.trouble.map(|(at, _)| (at, None));
        assert_eq!(
            taken.trouble.map(|it| it.place.position),
            share.trouble.map(|it| it.0)
        );
    }

    fn step(&self, of: usize, part: usize, old: bool, pass: Pass) -> bool {
        let hold = self.hold(of, part, old);
        let step = Step { hold, pass };
        let turn = self.scene.store.streams.step(&self.duty(of), &[step], &[]);
        let is_made = turn.unwrap().steps[0];
        let newest = self.hold(of, part, false).fence;
        assert_eq!(is_made, newest > 0 && hold.fence == newest);
        is_made
    }

    fn check_view(&self, of: usize, view: &View) {
        let it = self.processors[of].as_ref().unwrap();
        let members = it.members.iter().filter(|(_, till)| *till > self.now);
        let members: Vec<_> = members.map(|(member, _)| self.members[*member]).collect();
        assert_eq!(view.members, members);
        for ((seen, share), part) in view.shares.iter().zip(&it.shares).zip(&self.parts) {
            let owner = share.owner.filter(|(_, till)| *till > self.now);
            assert_eq!(seen.owner, owner.map(|(member, _)| self.members[member]));
            assert_eq!(seen.fence, share.fence);
            let passed = share.passed.max(part.gone);
            assert_eq!(seen.passed, part.place(passed));
            assert_eq!(seen.last, part.place(part.last()));
            assert_eq!(seen.moved_to, share.moved_to);
            assert_eq!(seen.waiting_since.is_some(), passed < part.last());
            let trouble = share.trouble.filter(|(at, _)| *at > passed);
            let shown = seen.trouble.as_ref().map(|it| (it.place.position, it.rest));
            assert_eq!(shown, trouble);
        }
    }

    fn check(&self) {
        let streams = &self.scene.store.streams;
        let overview = streams.streams(Some(&self.spec.name)).unwrap().remove(0);
        let known = (0..PROCESSORS).filter(|of| self.processors[*of].is_some());
        assert_eq!(overview.processors.len(), known.clone().count());
        for (of, (_, view)) in known.zip(&overview.processors) {
            self.check_view(of, view);
            // Nothing has gone that somebody has not passed.
            let shares = &self.processors[of].as_ref().unwrap().shares;
            for (kept, share) in overview.partitions.iter().zip(shares) {
                let first = kept.first.map_or(kept.last.position + 1, |it| it.position);
                assert!(self.spec.full == Full::DropOldest || first <= share.passed + 1);
            }
        }
        for (part, track) in self.parts.iter().enumerate() {
            let kept = overview.partitions[part];
            assert_eq!(kept.len, track.last() - track.gone);
            let read = Read {
                partition: u16::try_from(part).unwrap(),
                after: Place::default(),
                most: 100,
            };
            let turn = streams.step(&self.duty(0), &[], &[read]).unwrap();
            let places = turn.events[0].iter().map(|event| event.place);
            assert!(places.eq((track.gone + 1..=track.last()).map(|at| track.place(at))));
        }
    }
}

/// One scene for all cases, a stream for each.
fn play_many(kind: Kind, cases: u32) {
    let scene = Scene::new(kind);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let number = std::cell::Cell::new(0);
    let acts = prop::collection::vec(act(), 1..60);
    runner
        .run(&(acts, any::<bool>()), |(acts, drops)| {
            number.set(number.get() + 1);
            let name = StreamName::new(&format!("s{}", number.get())).unwrap();
            let spec = StreamSpec {
                partitions: u16::try_from(PARTS).unwrap(),
                size: SIZE,
                full: if drops { Full::DropOldest } else { Full::Block },
                ..StreamSpec::new(name)
            };
            scene.store.streams.declare(&spec).unwrap();
            let mut play = Play {
                scene: &scene,
                spec,
                members: [supervisor(), supervisor(), supervisor()],
                now: 0,
                parts: Default::default(),
                processors: Default::default(),
                highest: Default::default(),
            };
            for act in acts {
                play.act(act);
                play.check();
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn streams_keep_to_their_model_on_sqlite() {
    play_many(Kind::SqliteMemory, 150);
}

#[test]
fn streams_keep_to_their_model_on_redis() {
    play_many(Kind::Redis, 60);
}

#[test]
fn streams_keep_to_their_model_on_redis_cluster() {
    play_many(Kind::RedisCluster, 20);
}
