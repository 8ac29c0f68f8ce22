//! How far holders come, and what they fail at.

use bulkhead_shared::stream::keep::{DEAD_MOST, Pass, Read, Step};
use bulkhead_shared::stream::{Full, Place};
use bulkhead_tests::{Kind, for_each_backend, supervisor};

use super::*;

/// A member that holds partition 0 of a stream with so many events.
fn holder(scene: &Scene, count: usize) -> (SupervisorId, Hold, Vec<Place>) {
    declare(scene, 2);
    let places = fill(scene, 0, count);
    let member = supervisor();
    attend(scene, member, &[]);
    (member, take_one(scene, member, 0).hold, places)
}

for_each_backend!(what_was_passed_stays_passed, |scene| {
    let (_, hold, places) = holder(scene, 9);
    assert!(step(scene, hold, Pass::To(places[3])));
    let seen = share(scene, 0);
    assert_eq!((seen.passed, seen.last), (places[3], places[8]));
    let since = Timestamp::from_millis(places[4].id.ms);
    assert_eq!(seen.waiting_since, Some(since));
    // Made again, or for less: it is so already.
    for place in [places[3], places[0], Place::default()] {
        assert!(step(scene, hold, Pass::To(place)));
        assert_eq!(share(scene, 0).passed, places[3]);
    }
    // Nobody passes what is not there.
    let far = Place {
        position: u64::MAX,
        ..places[8]
    };
    assert!(step(scene, hold, Pass::To(far)));
    let seen = share(scene, 0);
    assert_eq!((seen.passed, seen.waiting_since), (places[8], None));
    assert_eq!(fill(scene, 0, 1)[0].position, 10);
});

for_each_backend!(only_the_newest_hold_passes_anything, |scene| {
    let (one, hold, places) = holder(scene, 9);
    let two = supervisor();
    let stale = Hold {
        fence: hold.fence + 1,
        ..hold
    };
    let never = Hold {
        partition: 1,
        fence: 0,
    };
    assert!(!step(scene, stale, Pass::To(places[3])));
    assert!(!step(scene, never, Pass::To(places[3])));
    assert_eq!(share(scene, 0).passed, Place::default());
    // Its lease has run out, and nobody has taken it.
    scene.clock.pass(LEASE * 2);
    assert!(step(scene, hold, Pass::To(places[3])));
    attend(scene, two, &[]);
    let taken = take_one(scene, two, 0);
    assert_eq!(taken.passed, places[3]);
    for pass in [
        Pass::To(places[5]),
        Pass::Failed(trouble(places[4], 1, None)),
        Pass::Buried {
            to: places[5],
            events: kept(scene, 0)[4..6].to_vec(),
            trouble: trouble(places[5], 1, None),
        },
    ] {
        assert!(!step(scene, hold, pass));
    }
    let seen = share(scene, 0);
    assert_eq!((seen.passed, seen.trouble, seen.dead), (places[3], None, 0));
    assert!(step(scene, taken.hold, Pass::To(places[4])));
    attend(scene, one, &[]);
    let error = refusal(scene.store.streams.step(
        &ledger(),
        &[Step {
            hold: Hold {
                partition: 2,
                fence: 1,
            },
            pass: Pass::To(places[8]),
        }],
        &[],
    ));
    assert!(error.contains("no partition 2"), "{error}");
    // Who serves nothing passes nothing.
    let steps = [Step {
        hold,
        pass: Pass::To(places[8]),
    }];
    let turn = scene.store.streams.step(&duty("nobody"), &steps, &[]);
    assert_eq!(turn.unwrap().steps, [false]);
});

for_each_backend!(a_turn_makes_steps_and_then_reads, |scene| {
    let (member, hold, places) = holder(scene, 30);
    let other = take_one(scene, member, 1);
    let stale = Hold {
        fence: hold.fence - 1,
        ..hold
    };
    let to = |hold, to| Step {
        hold,
        pass: Pass::To(to),
    };
    let steps = [
        to(hold, places[1]),
        to(stale, places[9]),
        to(other.hold, places[0]),
        to(hold, places[2]),
    ];
    for most in [2, 20] {
        let read = Read {
            partition: 0,
            after: places[2],
            most,
        };
        let turn = scene
            .store
            .streams
            .step(&ledger(), &steps, &[read])
            .unwrap();
        assert_eq!(turn.steps, [true, false, true, true]);
        let most = u64::from(most);
        assert_eq!(
            positions(&turn.events[0]),
            (4..4 + most).collect::<Vec<_>>()
        );
    }
    assert_eq!(share(scene, 0).passed, places[2]);
    assert_eq!(share(scene, 1).passed, Place::default());
});

for_each_backend!(a_failure_is_kept_until_its_event_is_passed, |scene| {
    let (member, hold, places) = holder(scene, 9);
    assert!(step(scene, hold, Pass::To(places[1])));
    let first = trouble(places[2], 1, None);
    assert!(step(scene, hold, Pass::Failed(first.clone())));
    assert_eq!(share(scene, 0).trouble, Some(first));
    let second = trouble(places[2], 2, None);
    assert!(step(scene, hold, Pass::Failed(second.clone())));
    let seen = share(scene, 0);
    assert_eq!(
        (seen.trouble, seen.passed),
        (Some(second.clone()), places[1])
    );
    assert_eq!(seen.owner, Some(member));
    // The next holder learns of it.
    let taken = take_one(scene, member, 0);
    assert_eq!(taken.trouble, Some(second.clone()));
    // Of what comes before it nothing is forgotten.
    assert!(step(scene, taken.hold, Pass::To(places[1])));
    assert_eq!(share(scene, 0).trouble, Some(second));
    assert!(step(scene, taken.hold, Pass::To(places[2])));
    assert_eq!(share(scene, 0).trouble, None);
    // What is passed already is no trouble.
    let late = trouble(places[0], 1, Some(Rest::Quarantined));
    assert!(step(scene, taken.hold, Pass::Failed(late)));
    assert_eq!(share(scene, 0).trouble, None);
});

for_each_backend!(a_halted_partition_rests_until_it_is_held_anew, |scene| {
    let (one, hold, places) = holder(scene, 9);
    let halted = trouble(places[0], 3, Some(Rest::Halted));
    assert!(step(scene, hold, Pass::Failed(halted.clone())));
    scene.store.streams.give_back(&ledger(), &[hold]).unwrap();
    assert_eq!(share(scene, 0).trouble, Some(halted));
    let two = supervisor();
    attend(scene, two, &[]);
    let taken = take_one(scene, two, 0);
    let fresh = trouble(places[0], 0, None);
    assert_eq!(taken.trouble, Some(fresh.clone()));
    assert_eq!(share(scene, 0).trouble, Some(fresh));
    assert_eq!(take(scene, one, &[0]), []);
});

for_each_backend!(
    a_quarantined_partition_rests_until_it_is_released,
    |scene| {
        let (one, hold, places) = holder(scene, 9);
        let resting = trouble(places[0], 3, Some(Rest::Quarantined));
        assert!(step(scene, hold, Pass::Failed(resting.clone())));
        assert_eq!(take(scene, one, &[0]), []);
        let streams = &scene.store.streams;
        streams.give_back(&ledger(), &[hold]).unwrap();
        assert_eq!(take(scene, one, &[0]), []);
        let seen = share(scene, 0);
        assert_eq!((seen.trouble, seen.owner), (Some(resting), None));
        assert_eq!(streams.release(&ledger(), &[1]).unwrap(), [0; 0]);
        assert_eq!(streams.release(&ledger(), &[0, 1]).unwrap(), [0]);
        assert_eq!(streams.release(&ledger(), &[]).unwrap(), [0; 0]);
        let taken = take_one(scene, one, 0);
        assert_eq!((taken.trouble, taken.passed), (None, Place::default()));
    }
);

for_each_backend!(dead_letters_are_kept_as_they_lay_there, |scene| {
    let (_, hold, places) = holder(scene, 9);
    let streams = &scene.store.streams;
    let events = kept(scene, 0);
    let bury = |from: usize, to: usize, tries: u32| Pass::Buried {
        to: places[to],
        events: events[from..=to].to_vec(),
        trouble: trouble(places[to], tries, None),
    };
    let failed = trouble(places[0], 1, None);
    assert!(step(scene, hold, Pass::Failed(failed)));
    assert!(step(scene, hold, bury(0, 1, 3)));
    assert!(step(scene, hold, Pass::To(places[4])));
    assert!(step(scene, hold, bury(5, 5, 4)));
    // Once is enough.
    assert!(step(scene, hold, bury(0, 1, 9)));
    let seen = share(scene, 0);
    assert_eq!((seen.passed, seen.dead, seen.trouble), (places[5], 3, None));
    let dead = streams.dead(&ledger(), 0, 10).unwrap();
    let expected = [(0, places[1], 3), (1, places[1], 3), (5, places[5], 4)];
    for (dead, (index, at, tries)) in dead.iter().zip(expected) {
        assert_eq!((dead.partition, &dead.event), (0, &events[index]));
        assert_eq!(dead.trouble, trouble(at, tries, None));
    }
    assert_eq!(dead.len(), 3);
    assert_eq!(streams.dead(&ledger(), 0, 2).unwrap(), dead[..2]);
    assert_eq!(streams.dead(&ledger(), 1, 2).unwrap(), []);
    assert_eq!(streams.dead(&duty("nobody"), 0, 2).unwrap(), []);
    assert_eq!(streams.drop_dead(&ledger(), 0, places[0]).unwrap(), 1);
    assert_eq!(share(scene, 0).dead, 2);
    assert_eq!(streams.drop_dead(&ledger(), 0, places[8]).unwrap(), 2);
    assert_eq!(streams.drop_dead(&ledger(), 0, places[8]).unwrap(), 0);
    assert_eq!(streams.drop_dead(&duty("nobody"), 0, places[8]).unwrap(), 0);
    assert_eq!(share(scene, 0).dead, 0);
    let error = refusal(streams.dead(&ledger(), 2, 1));
    assert!(error.contains("no partition 2"), "{error}");
    let error = refusal(streams.drop_dead(&ledger(), 2, places[0]));
    assert!(error.contains("no partition 2"), "{error}");
});

fn keeps_the_newest(kind: Kind) {
    let scene = &Scene::new(kind);
    let most = usize::try_from(DEAD_MOST).unwrap();
    let spec = spec(1, DEAD_MOST * 2, Full::Block);
    scene.store.streams.declare(&spec).unwrap();
    let places = fill(scene, 0, most + 5);
    let member = supervisor();
    attend(scene, member, &[]);
    let hold = take_one(scene, member, 0).hold;
    let mut after = Place::default();
    loop {
        let events = read_from(&scene.store, 0, after, u32::MAX);
        let Some(last) = events.last() else { break };
        after = last.place;
        let buried = Pass::Buried {
            to: after,
            events,
            trouble: trouble(after, 1, None),
        };
        assert!(step(scene, hold, buried));
    }
    assert_eq!(share(scene, 0).dead, DEAD_MOST);
    let dead = scene.store.streams.dead(&ledger(), 0, 1).unwrap();
    assert_eq!(dead[0].event.place, places[5]);
}

#[test]
fn of_too_many_dead_letters_the_oldest_go_on_sqlite() {
    keeps_the_newest(Kind::SqliteMemory);
}

#[test]
fn of_too_many_dead_letters_the_oldest_go_on_redis() {
    keeps_the_newest(Kind::Redis);
}
