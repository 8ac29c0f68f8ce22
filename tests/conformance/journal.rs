//! What jobs remember, and what wakes them.

use bulkhead_shared::broker::{Claimed, Overdue, Revocation, Settled};
use bulkhead_shared::catalog::State;
use bulkhead_shared::journal::{
    BYTES_MOST, ENTRY_LIMIT, PAGE, Record, Recorded, SIGNALS_MOST, Signal, Signalled, Taken,
};
use bulkhead_shared::name::Key;
use bulkhead_shared::retry::Move;
use bulkhead_shared::{Timestamp, Uuid};
use bulkhead_tests::{KEPT, Scene, TestClock, for_each_backend, job, secs, succeed, uuids};

fn entry(claimed: &Claimed, key: &str, body: &[u8]) -> Record {
    Record {
        receipt: claimed.receipt.clone(),
        key: key.into(),
        body: body.to_vec(),
        is_first: false,
    }
}

fn record(scene: &Scene, record: Record) -> Recorded {
    scene.store.journals.record(&[record]).unwrap()[0]
}

fn written(at: Timestamp, now: Timestamp) -> Recorded {
    Recorded::Written { at, now }
}

/// Keys and bodies, as the attempt reads them.
fn recalled(scene: &Scene, claimed: &Claimed) -> Option<Vec<(String, Vec<u8>)>> {
    let page = scene.store.journals.recall(&claimed.receipt, 0).unwrap()?;
    assert!(!page.more);
    let pair = |one: bulkhead_shared::journal::Entry| (one.key, one.body);
    Some(page.entries.into_iter().map(pair).collect())
}

fn name(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn signal(scene: &Scene, uuid: Uuid, text: &str, key: &str, payload: &[u8]) -> Signalled {
    let signal = Signal {
        name: name(text),
        key: key.into(),
        payload: payload.to_vec(),
    };
    scene.store.journals.signal(uuid, &signal).unwrap()
}

fn take(scene: &Scene, claimed: &Claimed, text: &str, by: &str) -> Option<Vec<u8>> {
    let taken = scene.store.journals.take(&claimed.receipt, &name(text), by);
    match taken.unwrap() {
        Taken::Signal { payload, .. } => Some(payload),
        Taken::Nothing { .. } => None,
        Taken::Lost => panic!("it is not held"),
    }
}

fn snooze(scene: &Scene, claimed: &Claimed, seconds: u64, signal: Option<&str>) {
    let until = TestClock::START.plus(secs(seconds));
    let signal = signal.map(name);
    let settled = scene.settle(claimed, Move::Snooze { until, signal });
    assert_eq!(settled, Settled::Applied);
}

for_each_backend!(
    an_entry_keeps_its_time_and_place_when_it_is_written_again,
    |scene| {
        scene.submit(job());
        let held = scene.claim_one();
        let start = TestClock::START;
        assert_eq!(
            record(scene, entry(&held, "a", b"1")),
            written(start, start)
        );
        scene.clock.pass(secs(5));
        let later = start.plus(secs(5));
        assert_eq!(record(scene, entry(&held, "b", b"")), written(later, later));
        assert_eq!(
            record(scene, entry(&held, "a", b"22")),
            written(start, later)
        );
        let expected = [("a", &b"22"[..]), ("b", b"")];
        let expected = expected.map(|(key, body)| (key.to_owned(), body.to_vec()));
        assert_eq!(recalled(scene, &held).unwrap(), expected);
        let journal = scene
            .store
            .journals
            .journal(held.receipt.uuid)
            .unwrap()
            .unwrap();
        let seen: Vec<_> = journal
            .entries
            .iter()
            .map(|one| (one.number, one.at))
            .collect();
        assert_eq!(seen, [(1, start), (2, later)]);
    }
);

for_each_backend!(
    who_takes_a_journal_for_empty_writes_nothing_if_it_is_not,
    |scene| {
        scene.submit(job());
        let first = scene.claim_one();
        let blind = |held: &Claimed, key: &str| Record {
            is_first: true,
            ..entry(held, key, b"x")
        };
        assert!(matches!(
            record(scene, blind(&first, "a")),
            Recorded::Written { .. }
        ));
        scene.settle(&first, Move::Release);
        let again = scene.claim_one();
        assert_eq!(record(scene, blind(&again, "a")), Recorded::Behind);
        assert_eq!(record(scene, blind(&again, "b")), Recorded::Behind);
        assert_eq!(recalled(scene, &again).unwrap().len(), 1);
    }
);

for_each_backend!(an_attempt_that_lost_its_job_writes_nothing, |scene| {
    let uuid = scene.submit(job());
    let stale = scene.claim_one();
    scene.settle(&stale, Move::Release);
    let held = scene.claim_one();
    signal(scene, uuid, "go", "", b"1");
    assert_eq!(record(scene, entry(&stale, "a", b"1")), Recorded::Lost);
    assert_eq!(
        scene.store.journals.recall(&stale.receipt, 0).unwrap(),
        None
    );
    let taken = scene.store.journals.take(&stale.receipt, &name("go"), "a");
    assert_eq!(taken.unwrap(), Taken::Lost);
    // Nor one that is to end.
    assert_eq!(
        scene.broker().revoke(uuid, false).unwrap(),
        Revocation::Told
    );
    assert_eq!(record(scene, entry(&held, "a", b"1")), Recorded::Lost);
    let taken = scene.store.journals.take(&held.receipt, &name("go"), "a");
    assert_eq!(taken.unwrap(), Taken::Lost);
    scene.settle(&held, succeed(b"1"));
    assert_eq!(record(scene, entry(&held, "a", b"1")), Recorded::Lost);
    let journal = scene.store.journals.journal(uuid).unwrap().unwrap();
    assert_eq!((journal.entries.len(), journal.signals.len()), (0, 1));
});

for_each_backend!(entries_of_several_jobs_are_written_together, |scene| {
    scene.submit(job());
    scene.submit(job().queue("other"));
    let mut held = scene.claim(1);
    held.extend(scene.claim_from("other", 1));
    let batch: Vec<_> = (0..6)
        .map(|n| {
            entry(
                &held[n % 2],
                &format!("k{n}"),
                &[b'0' + u8::try_from(n).unwrap()],
            )
        })
        .collect();
    let all = scene.store.journals.record(&batch).unwrap();
    assert!(
        all.iter()
            .all(|one| matches!(one, Recorded::Written { .. }))
    );
    for (n, held) in held.iter().enumerate() {
        let keys: Vec<_> = recalled(scene, held)
            .unwrap()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(keys, [n, n + 2, n + 4].map(|n| format!("k{n}")));
    }
});

for_each_backend!(a_long_journal_is_read_page_by_page, |scene| {
    scene.submit(job());
    let held = scene.claim_one();
    let batch: Vec<_> = (0..PAGE * 2 + 7)
        .map(|n| entry(&held, &format!("{n}"), b"x"))
        .collect();
    scene.store.journals.record(&batch).unwrap();
    let mut keys = Vec::new();
    loop {
        let after = u32::try_from(keys.len()).unwrap();
        let page = scene
            .store
            .journals
            .recall(&held.receipt, after)
            .unwrap()
            .unwrap();
        keys.extend(page.entries.into_iter().map(|one| one.key));
        if !page.more {
            break;
        }
    }
    let all: Vec<_> = (0..PAGE * 2 + 7).map(|n| n.to_string()).collect();
    assert_eq!(keys, all);
});

for_each_backend!(a_journal_has_room_for_so_many_bytes_and_no_more, |scene| {
    scene.submit(job());
    let held = scene.claim_one();
    let large = vec![7; ENTRY_LIMIT];
    let fit = usize::try_from(BYTES_MOST).unwrap() / ENTRY_LIMIT;
    for n in 0..fit {
        let became = record(scene, entry(&held, &n.to_string(), &large));
        assert!(matches!(became, Recorded::Written { .. }), "{became:?}");
    }
    assert_eq!(record(scene, entry(&held, "more", b"1")), Recorded::Full);
    // What is written again takes the room of what was there.
    assert!(matches!(
        record(scene, entry(&held, "0", b"1")),
        Recorded::Written { .. }
    ));
    assert!(matches!(
        record(scene, entry(&held, "more", b"1")),
        Recorded::Written { .. }
    ));
    // Pages are cut by their bytes, and nothing is missing.
    let page = scene
        .store
        .journals
        .recall(&held.receipt, 0)
        .unwrap()
        .unwrap();
    assert!(
        page.more && page.entries.len() < 4,
        "{}",
        page.entries.len()
    );
});

for_each_backend!(a_job_sleeps_until_its_time_and_is_claimed_then, |scene| {
    let uuid = scene.submit(job());
    let held = scene.claim_one();
    record(scene, entry(&held, "a", b"1"));
    snooze(scene, &held, 10, None);
    assert_eq!(scene.state(uuid), Some(State::Delayed));
    assert!(scene.claim(1).is_empty());
    scene.clock.pass(secs(9));
    assert!(scene.claim(1).is_empty());
    // A signal is kept, and is nothing that it waits for.
    assert_eq!(signal(scene, uuid, "go", "", b"1"), Signalled::Kept);
    assert_eq!(scene.state(uuid), Some(State::Delayed));
    scene.clock.pass(secs(1));
    let again = scene.claim_one();
    assert_eq!(again.receipt.fence, held.receipt.fence + 1);
    assert_eq!(recalled(scene, &again).unwrap().len(), 1);
});

for_each_backend!(a_time_that_has_come_is_no_sleep, |scene| {
    let uuid = scene.submit(job());
    let held = scene.claim_one();
    scene.clock.pass(secs(20));
    snooze(scene, &held, 10, None);
    assert_eq!(scene.state(uuid), Some(State::Ready));
    let _ = scene.claim_one();
});

for_each_backend!(a_signal_wakes_the_job_that_sleeps_for_it, |scene| {
    let uuid = scene.submit(job());
    let held = scene.claim_one();
    snooze(scene, &held, 1000, Some("go"));
    assert_eq!(signal(scene, uuid, "other", "", b"0"), Signalled::Kept);
    assert_eq!(scene.state(uuid), Some(State::Delayed));
    scene.clock.pass(secs(3));
    assert_eq!(signal(scene, uuid, "go", "k", b"7"), Signalled::Kept);
    assert_eq!(scene.state(uuid), Some(State::Ready));
    assert_eq!(scene.row(uuid).ready_at, TestClock::START.plus(secs(3)));
    let woken = scene.claim_one();
    assert_eq!(take(scene, &woken, "go", "a"), Some(b"7".to_vec()));
});

for_each_backend!(
    a_job_that_a_signal_wakes_waits_no_longer_than_its_ttl,
    |scene| {
        let uuid = scene.submit(job().ttl(secs(10)));
        let held = scene.claim_one();
        snooze(scene, &held, 1000, Some("go"));
        scene.clock.pass(secs(100));
        assert_eq!(signal(scene, uuid, "go", "", b"1"), Signalled::Kept);
        scene.clock.pass(secs(9));
        assert!(scene.take_over(&Overdue::Expired).is_empty());
        scene.clock.pass(secs(1));
        assert_eq!(uuids(&scene.take_over(&Overdue::Expired)), [uuid]);
    }
);

for_each_backend!(a_signal_that_came_before_lets_nobody_sleep, |scene| {
    let uuid = scene.submit(job());
    assert_eq!(signal(scene, uuid, "go", "", b"1"), Signalled::Kept);
    let held = scene.claim_one();
    snooze(scene, &held, 1000, Some("go"));
    assert_eq!(scene.state(uuid), Some(State::Ready));
    let held = scene.claim_one();
    assert_eq!(take(scene, &held, "go", "a"), Some(b"1".to_vec()));
    // That one is taken: it wakes nobody again.
    snooze(scene, &held, 1000, Some("go"));
    assert_eq!(scene.state(uuid), Some(State::Delayed));
});

for_each_backend!(
    signals_are_taken_in_their_order_and_given_again_to_who_took_them,
    |scene| {
        let uuid = scene.submit(job());
        for (key, payload) in [("1", b"a"), ("2", b"b"), ("1", b"c")] {
            let expected = match payload {
                b"c" => Signalled::Known,
                _ => Signalled::Kept,
            };
            assert_eq!(signal(scene, uuid, "go", key, payload), expected);
        }
        assert_eq!(signal(scene, uuid, "go2", "1", b"d"), Signalled::Kept);
        let held = scene.claim_one();
        assert_eq!(take(scene, &held, "go", "x"), Some(b"a".to_vec()));
        assert_eq!(take(scene, &held, "go", "y"), Some(b"b".to_vec()));
        assert_eq!(take(scene, &held, "go", "x"), Some(b"a".to_vec()));
        assert_eq!(take(scene, &held, "go", "z"), None);
        scene.settle(&held, Move::Release);
        let again = scene.claim_one();
        assert_eq!(take(scene, &again, "go", "y"), Some(b"b".to_vec()));
        let journal = scene.store.journals.journal(uuid).unwrap().unwrap();
        let taken: Vec<_> = journal
            .signals
            .iter()
            .map(|one| (one.key.as_str(), one.taken_by.as_deref()))
            .collect();
        assert_eq!(taken, [("1", Some("x")), ("2", Some("y")), ("1", None)]);
    }
);

for_each_backend!(a_retry_is_not_hurried_by_what_the_job_slept_for, |scene| {
    let uuid = scene.submit(job());
    let held = scene.claim_one();
    snooze(scene, &held, 10, Some("go"));
    scene.clock.pass(secs(10));
    let held = scene.claim_one();
    let at = TestClock::START.plus(secs(1000));
    scene.settle(&held, Move::Retry { at });
    assert_eq!(signal(scene, uuid, "go", "", b"1"), Signalled::Kept);
    assert_eq!(scene.state(uuid), Some(State::Delayed));
});

for_each_backend!(jobs_that_ended_take_no_signals, |scene| {
    let uuid = scene.submit(job());
    let held = scene.claim_one();
    scene.settle(&held, succeed(b"1"));
    assert_eq!(signal(scene, uuid, "go", "", b"1"), Signalled::Ended);
    assert_eq!(
        signal(scene, Uuid::now_v7(), "go", "", b"1"),
        Signalled::Unknown
    );
    assert_eq!(scene.store.journals.journal(Uuid::now_v7()).unwrap(), None);
});

for_each_backend!(a_job_keeps_so_many_signals_and_no_more, |scene| {
    let uuid = scene.submit(job());
    for n in 0..SIGNALS_MOST {
        assert_eq!(
            signal(scene, uuid, "go", &n.to_string(), b""),
            Signalled::Kept
        );
    }
    assert_eq!(signal(scene, uuid, "go", "more", b""), Signalled::Full);
    assert_eq!(signal(scene, uuid, "go", "0", b""), Signalled::Known);
});

for_each_backend!(what_a_job_remembers_lives_as_long_as_its_verdict, |scene| {
    let uuid = scene.submit(job());
    let held = scene.claim_one();
    record(scene, entry(&held, "a", b"1"));
    signal(scene, uuid, "go", "", b"1");
    scene.settle(&held, succeed(b"1"));
    scene.clock.pass(KEPT - secs(1));
    let journal = scene.store.journals.journal(uuid).unwrap().unwrap();
    assert_eq!((journal.entries.len(), journal.signals.len()), (1, 1));
    scene.clock.pass(secs(1));
    scene.broker().prune(100).unwrap();
    assert_eq!(scene.store.journals.journal(uuid).unwrap(), None);
    // A job of the same name begins anew.
    let message = scene.build(job().uuid(uuid));
    scene.offer(&message);
    let held = scene.claim_one();
    assert_eq!(recalled(scene, &held).unwrap(), []);
});

for_each_backend!(a_dead_letter_that_is_retried_still_knows, |scene| {
    let uuid = scene.submit(job());
    let held = scene.claim_one();
    record(scene, entry(&held, "a", b"1"));
    let cause = bulkhead_shared::outcome::Cause::Error;
    let purge_at = Some(TestClock::START.plus(KEPT));
    scene.settle(&held, Move::Bury { cause, purge_at });
    assert_eq!(scene.broker().retry_dead(&[uuid]).unwrap(), 1);
    let again = scene.claim_one();
    assert_eq!(recalled(scene, &again).unwrap().len(), 1);
});

for_each_backend!(what_is_removed_or_cleared_remembers_nothing, |scene| {
    let uuid = scene.submit(job());
    let held = scene.claim_one();
    record(scene, entry(&held, "a", b"1"));
    scene.settle(&held, Move::Release);
    assert_eq!(scene.broker().remove(&[uuid]).unwrap(), 1);
    let message = scene.build(job().uuid(uuid));
    scene.offer(&message);
    let held = scene.claim_one();
    assert_eq!(recalled(scene, &held).unwrap(), []);
});

for_each_backend!(jobs_that_remember_are_counted_until_they_end, |scene| {
    let count = || scene.store.journals.remembering().unwrap();
    let (first, second) = (scene.submit(job()), scene.submit(job()));
    assert_eq!(count(), 0);
    signal(scene, second, "go", "", b"1");
    let held = scene.claim(1).remove(0);
    assert_eq!(held.receipt.uuid, first);
    record(scene, entry(&held, "a", b"1"));
    signal(scene, first, "go", "", b"1");
    assert_eq!(count(), 2);
    scene.settle(&held, succeed(b"1"));
    assert_eq!(count(), 1);
});
