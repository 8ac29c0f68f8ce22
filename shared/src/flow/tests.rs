//! Flattening, and the pure decision, against a store that is a few maps.

use std::collections::{HashMap, HashSet, VecDeque};

use proptest::prelude::*;
use uuid::Uuid;

use super::follow::{self, About, Thread};
use super::*;
use crate::message::Message;
use crate::name::TaskName;
use crate::outcome::Cause;
use crate::retry::Move;
use crate::time::Timestamp;

fn job(n: u32) -> crate::message::MessageBuilder {
    Message::new("add").arg(n)
}

fn usual(_: &TaskName) -> QueueName {
    QueueName::default()
}

const ABOUT: About<'static> = About {
    wants_callback: true,
    now: Timestamp::from_millis(5),
    queue_of: &usual,
};

/// What a flow is made of, before it is built.
#[derive(Debug, Clone)]
enum Shape {
    Job,
    Nested(Vec<Self>),
    Group(Vec<Self>, Vec<Self>, OnFailed),
}

impl Shape {
    fn jobs(&self) -> usize {
        let sum = |shapes: &[Self]| shapes.iter().map(Self::jobs).sum::<usize>();
        match self {
            Self::Job => 1,
            Self::Nested(next) => 1 + sum(next),
            Self::Group(members, join, _) => sum(members) + sum(join),
        }
    }

    fn chain(&self) -> Chain {
        let all = |shapes: &[Self]| shapes.iter().map(Self::chain).collect::<Chain>();
        match self {
            Self::Job => job(1).into(),
            Self::Nested(next) => job(2).callback(all(next)).into(),
            Self::Group(members, join, on_failed) => Group::new()
                .members(members.iter().map(Self::chain))
                .join(all(join))
                .on_failed(*on_failed)
                .into(),
        }
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let on_failed = prop_oneof![
        Just(OnFailed::Stop),
        Just(OnFailed::Null),
        Just(OnFailed::Error)
    ];
    Just(Shape::Job).prop_recursive(4, 24, 4, move |inner| {
        let several = proptest::collection::vec(inner.clone(), 0..4);
        let members = proptest::collection::vec(inner, 1..4);
        prop_oneof![
            several.clone().prop_map(Shape::Nested),
            (members, several, on_failed.clone())
                .prop_map(|(members, join, on_failed)| Shape::Group(members, join, on_failed)),
        ]
    })
}

/// A store, as far as flows need one.
#[derive(Default)]
struct World {
    waiting: VecDeque<Message>,
    submitted: HashSet<Uuid>,
    groups: HashMap<Uuid, (Opening, HashMap<u32, MemberEnd>)>,
    closed: HashSet<Uuid>,
    refused: usize,
}

impl World {
    fn run(&mut self, errands: Vec<Errand>) {
        for errand in errands {
            match errand {
                Errand::Submit { message, .. } => {
                    assert!(self.submitted.insert(message.uuid), "submitted twice");
                    self.waiting.push_back(*message);
                }
                Errand::Count(count) => {
                    assert!(
                        !self.closed.contains(&count.member.group),
                        "counted too late"
                    );
                    let (_, ends) = self.groups.get_mut(&count.member.group).unwrap();
                    let before = ends.insert(count.member.index, count.end);
                    assert_eq!(before, None, "counted twice");
                }
                Errand::Open(mut opening) => {
                    let members = std::mem::take(&mut opening.members);
                    let known = self.groups.insert(opening.uuid, (*opening, HashMap::new()));
                    assert!(known.is_none(), "opened twice");
                    self.run(members);
                }
            }
        }
    }

    fn close_one(&mut self) -> bool {
        let is_complete =
            |(uuid, (opening, ends)): &(&Uuid, &(Opening, HashMap<u32, MemberEnd>))| {
                ends.len() == opening.record.members.len() && !self.closed.contains(uuid)
            };
        let found = self.groups.iter().find(is_complete);
        let Some((uuid, (opening, ends))) = found else {
            return false;
        };
        let places = 0..u32::try_from(ends.len()).unwrap();
        let ends: Vec<MemberEnd> = places.map(|place| ends[&place].clone()).collect();
        let complete = Complete {
            uuid: *uuid,
            home: opening.home.clone(),
            record: serde_json::to_vec(&opening.record).unwrap(),
            bytes: ends.iter().map(|end| end.body.len() as u64).sum(),
            ends,
        };
        self.closed.insert(complete.uuid);
        let errands = follow::complete(&complete, &ABOUT).unwrap();
        self.run(errands);
        true
    }

    /// Ends the next job: well, unless it must not run or its turn is to fail.
    fn end_one(&mut self, fails: bool) -> bool {
        let Some(message) = self.waiting.pop_front() else {
            return false;
        };
        let is_refused = message.header.refusal.is_some();
        self.refused += usize::from(is_refused);
        let (arguments, previous) = message.parts();
        serde_json::from_slice::<serde_json::Value>(arguments).unwrap();
        let previous = previous.map(serde_json::from_slice::<serde_json::Value>);
        assert!(previous.is_none_or(|json| json.is_ok()));
        let Some(thread) = Thread::of(message.uuid, &message.header) else {
            return true;
        };
        let next = if fails || is_refused {
            Move::Bury {
                cause: Cause::Error,
                purge_at: None,
            }
        } else {
            Move::Succeed {
                result: None,
                result_until: None,
                purge_at: None,
            }
        };
        let errands = thread.follow(&next, b"[1]", None, &ABOUT).unwrap();
        let revoked = errands.revoked.len();
        assert_eq!(revoked, usize::from(message.header.member.is_some()));
        self.run(errands.applied);
        true
    }
}

fn play(flow: Flow, mut fails: impl FnMut() -> bool) -> World {
    let mut world = World::default();
    let first = match flow {
        Flow::Job(message) => Errand::Submit {
            queue: QueueName::default(),
            message,
        },
        Flow::Group(group) => Errand::Open(Box::new(group.opening(ABOUT.now, &usual).unwrap())),
    };
    world.run(vec![first]);
    while world.end_one(fails()) || world.close_one() {}
    assert_eq!(world.closed.len(), world.groups.len(), "a group stays open");
    world
}

proptest! {
    #[test]
    fn everything_of_a_flow_is_submitted_once_if_nothing_fails(shape in shapes()) {
        let flow = shape.chain().build().unwrap();
        let mut all: Vec<Uuid> = match &flow {
            Flow::Job(message) => message.descendants().unwrap(),
            Flow::Group(group) => group.descendants(),
        };
        if let Flow::Job(message) = &flow {
            all.push(message.uuid);
        }
        prop_assert_eq!(all.len(), shape.jobs());
        let world = play(flow, || false);
        prop_assert_eq!(world.submitted, all.into_iter().collect::<HashSet<_>>());
        prop_assert_eq!(world.refused, 0);
    }

    #[test]
    fn whatever_fails_nothing_is_done_twice_and_no_group_stays_open(
        shape in shapes(),
        fails in proptest::collection::vec(any::<bool>(), 1..40),
    ) {
        let mut fails = fails.into_iter().cycle();
        let _ = play(shape.chain().build().unwrap(), || fails.next().unwrap_or(false));
    }

    #[test]
    fn a_plan_comes_back_as_it_was_written(shape in shapes()) {
        let steps: Vec<Step> = shape.chain().into_steps().unwrap().into();
        let written = write_plan(steps.iter()).unwrap().unwrap();
        let again = read_plan(Some(&written)).unwrap();
        let twice = write_plan(again.iter()).unwrap().unwrap();
        prop_assert_eq!(written.get(), twice.get());
    }
}

#[test]
fn ten_thousand_callbacks_within_each_other_are_laid_flat() {
    let mut inner = job(0).callback(Chain::new());
    for n in 1..10_000 {
        inner = job(n).callback(inner);
    }
    let message = inner.build().unwrap();
    assert_eq!(message.descendants().unwrap().len(), 9_999);
    let thread = Thread::of(message.uuid, &message.header).unwrap();
    let succeed = Move::Succeed {
        result: None,
        result_until: None,
        purge_at: None,
    };
    let errands = thread.follow(&succeed, b"0", None, &ABOUT).unwrap();
    let Some(Errand::Submit { message: next, .. }) = errands.applied.first() else {
        panic!("{errands:?}")
    };
    assert_eq!(next.descendants().unwrap().len(), 9_998);
    let copy = message.duplicate().unwrap();
    let of = |message: &Message| {
        message
            .descendants()
            .unwrap()
            .into_iter()
            .collect::<HashSet<_>>()
    };
    assert!(of(&copy).is_disjoint(&of(&message)));
}

#[test]
fn a_declined_callback_ends_the_chain_and_counts_as_a_success() {
    let group = Group::new().member((job(1), job(2))).build().unwrap();
    let mut opening = group.opening(ABOUT.now, &usual).unwrap();
    let Some(Errand::Submit { message, .. }) = opening.members.pop() else {
        panic!("{opening:?}")
    };
    let thread = Thread::of(message.uuid, &message.header).unwrap();
    let declined = About {
        wants_callback: false,
        ..ABOUT
    };
    let succeed = Move::Succeed {
        result: None,
        result_until: None,
        purge_at: None,
    };
    let errands = thread.follow(&succeed, b"7", None, &declined).unwrap();
    let [Errand::Count(count)] = &errands.applied[..] else {
        panic!("{errands:?}")
    };
    assert_eq!(
        (count.end.is_failed, &count.end.body[..]),
        (false, &b"7"[..])
    );
}

#[test]
fn what_cannot_be_is_refused_with_a_way_out() {
    let says = |chain: Chain, words: &str| {
        let error = chain.build().unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    };
    says(Group::new().into(), "no members");
    says(Chain::new(), "no messages");
    says(Group::new().member(Chain::new()).into(), "no messages");
    says(job(1).priority(-1).into(), "lower runs first");
    says((job(1), job(2).queue("a b")).into(), "' '");
    says(
        job(1).callback(job(2).arg("x".repeat(5 << 20))).into(),
        "paths or keys",
    );
    let many = Group::new().members((0..10_001).map(job));
    says(many.into(), "10000");
    let large = (0..5).map(|n| job(n).arg("x".repeat(7 << 20)));
    says(Group::new().members(large).into(), "paths or keys");
    let deep = (0..17).fold(Chain::from(job(1)), |inner, _| {
        Group::new().member(inner).into()
    });
    says(deep, "16");
    let within = (0..16).fold(Chain::from(job(1)), |inner, _| {
        Group::new().member(inner).into()
    });
    assert!(within.build().is_ok());
}

/// What a chain's first message brings when it returns `len` bytes.
fn opened_by(chain: impl Into<Chain>, len: usize) -> Errand {
    let Flow::Job(message) = chain.into().build().unwrap() else {
        panic!("it begins with a message");
    };
    let thread = Thread::of(message.uuid, &message.header).unwrap();
    let succeed = Move::Succeed {
        result: None,
        result_until: None,
        purge_at: None,
    };
    let large = format!("\"{}\"", "x".repeat(len));
    let mut errands = thread
        .follow(&succeed, large.as_bytes(), None, &ABOUT)
        .unwrap();
    errands.applied.remove(0)
}

/// The messages that an errand submits, those of groups within groups too.
fn leaves(errand: Errand) -> Vec<Message> {
    match errand {
        Errand::Submit { message, .. } => vec![*message],
        Errand::Open(opening) => opening.members.into_iter().flat_map(leaves).collect(),
        Errand::Count(count) => panic!("{count:?}"),
    }
}

#[test]
fn too_many_copies_of_a_result_are_refused_by_name() {
    let three = || Group::new().members([job(2), job(3), job(4)]);
    let nested = Group::new().members([three(), three(), three()]);
    for (group, len) in [(three(), 12 << 20), (nested, 6 << 20)] {
        let leaves = leaves(opened_by(job(1).callback(group), len));
        assert!(leaves.len() >= 3);
        for message in leaves {
            let refusal = message.header.refusal.as_ref().unwrap();
            assert_eq!(refusal.name, "previous-result");
            assert_eq!(message.parts().1, None);
        }
    }
}

#[test]
fn a_uuid_that_occurs_twice_is_refused_with_a_way_out() {
    let says = |built: Result<Flow, FlowError>, uuid: Uuid| {
        let error = built.unwrap_err().to_string();
        assert!(error.contains(&uuid.to_string()), "{error}");
        assert!(error.contains("its own"), "{error}");
    };
    let message = job(1).build().unwrap();
    let (one, uuid) = (|| message.clone(), message.uuid);
    says(Chain::from((one(), one())).build(), uuid);
    says(
        Chain::from(Group::new().members([one(), one()])).build(),
        uuid,
    );
    let deep = Group::new().member((job(2), Group::new().member(one())));
    says(Chain::from(deep.join(one())).build(), uuid);
    let named = || Group::new().uuid(uuid).member(job(3));
    says(
        Chain::from(Group::new().members([named(), named()])).build(),
        uuid,
    );
    says(Chain::from((one(), named())).build(), uuid);
    let again = job(4).uuid(uuid).callback(one()).build();
    assert!(again.unwrap_err().to_string().contains("occurs twice"));
    let sent = Chain::from((one(), job(5), one())).to_json().unwrap();
    says(Chain::from_json(&sent).unwrap().build(), uuid);
    let copy = message.duplicate().unwrap();
    assert!(Chain::from((one(), copy)).build().is_ok());
}

#[test]
fn copies_are_counted_for_what_starts_at_once() {
    let later = job(2).callback([job(3), job(4), job(5), job(6)]);
    let group = Group::new().member(later).join([job(7), job(8)]);
    for message in leaves(opened_by(job(1).callback(group), 12 << 20)) {
        assert!(message.header.refusal.is_none());
        assert!(message.parts().1.is_some());
    }
}
