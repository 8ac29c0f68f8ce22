mod story;

use bulkhead_shared::Timestamp;
use bulkhead_shared::stream::{EventId, Fields};

use super::*;
use crate::pool::Seat;

const ALLOWED: Allowed = Allowed {
    deliver: true,
    offer: true,
    crowded: false,
};

const MS: Duration = Duration::from_millis(1);

fn place(position: u64) -> Place {
    let id = EventId {
        ms: position,
        seq: 0,
    };
    Place { position, id }
}

fn event(position: u64) -> Event {
    Event {
        place: place(position),
        fields: Fields::default(),
    }
}

fn want(most: u32, within_ms: Option<u64>, as_one: bool) -> Want {
    let seat = Seat {
        slot: 1,
        generation: 1,
    };
    let asker = Asker {
        seat,
        nonce: 1,
        id: 1,
    };
    Want {
        asker,
        most,
        within_ms,
        as_one,
    }
}

fn trouble(position: u64) -> Trouble {
    Trouble {
        place: place(position),
        tries: 1,
        at: Timestamp::from_millis(0),
        cause: "crash".into(),
        error: "{}".into(),
        rest: None,
    }
}

fn partition(now: Instant) -> Partition {
    let hold = Hold {
        partition: 3,
        fence: 1,
    };
    let taken = Taken {
        hold,
        passed: Place::default(),
        trouble: None,
    };
    Partition::new(taken, 8, now)
}

fn now() -> Instant {
    bulkhead_shared::time::Now::read().mono
}

/// Reads the events of these positions.
fn fill(partition: &mut Partition, positions: std::ops::RangeInclusive<u64>, now: Instant) {
    let wish = partition.wish().expect("it wants to read");
    let dropped = partition.read(wish, positions.map(event).collect(), now);
    assert_eq!(dropped, 0);
}

#[track_caller]
fn given(deed: Option<Deed>) -> Vec<u64> {
    match deed {
        Some(Deed::Give(_, events)) => events.iter().map(|event| event.place.position).collect(),
        other => panic!("nothing was given: {other:?}"),
    }
}

/// One whose call runs.
fn going(now: Instant) -> Partition {
    let mut partition = partition(now);
    fill(&mut partition, 1..=5, now);
    assert!(matches!(partition.advance(now, ALLOWED), Some(Deed::Offer)));
    partition.began(TicketId::of_stream(7), now);
    partition
}

#[test]
fn a_process_is_wanted_when_there_is_something_for_it() {
    let now = now();
    let mut partition = partition(now);
    assert!(partition.advance(now, ALLOWED).is_none());
    fill(&mut partition, 1..=1, now);
    let full = Allowed {
        offer: false,
        ..ALLOWED
    };
    assert!(partition.advance(now, full).is_none());
    let paused = Allowed {
        deliver: false,
        ..ALLOWED
    };
    assert!(partition.advance(now, paused).is_none());
    assert!(matches!(partition.advance(now, ALLOWED), Some(Deed::Offer)));
}

#[test]
fn what_is_given_is_passed_one_by_one_and_said_together() {
    let now = now();
    let mut partition = going(now);
    partition.wants(want(3, None, false), now);
    assert_eq!(given(partition.advance(now, ALLOWED)), [1, 2, 3]);
    assert!(partition.unsaid().is_empty());
    partition.pass(1);
    partition.pass(2);
    assert_eq!(partition.unsaid(), [Pass::To(place(2))]);
    partition.said(place(2));
    assert!(partition.unsaid().is_empty());
    // What it had not passed comes again, in order.
    assert!(partition.over());
    assert!(matches!(partition.advance(now, ALLOWED), Some(Deed::Offer)));
    partition.began(TicketId::of_stream(8), now);
    partition.wants(want(8, None, false), now);
    assert_eq!(given(partition.advance(now, ALLOWED)), [3, 4, 5]);
}

#[test]
fn a_batch_waits_until_it_is_full_or_its_time_is_over() {
    let now = now();
    let mut partition = going(now);
    partition.wants(want(6, Some(50), true), now);
    assert!(partition.advance(now + 49 * MS, ALLOWED).is_none());
    assert_eq!(partition.due(true), Some(now + 50 * MS));
    assert_eq!(
        given(partition.advance(now + 50 * MS, ALLOWED)),
        [1, 2, 3, 4, 5]
    );
    assert_eq!(partition.in_hand(), Some(&event(1)));
    partition.pass(5);
    let later = now + Duration::from_secs(5);
    partition.wants(want(2, Some(50), true), later);
    partition.look_again();
    fill(&mut partition, 6..=6, later + 30 * MS);
    // Its time begins with the first event.
    assert!(partition.advance(later + 79 * MS, ALLOWED).is_none());
    partition.look_again();
    fill(&mut partition, 7..=7, later + 79 * MS);
    assert_eq!(given(partition.advance(later + 79 * MS, ALLOWED)), [6, 7]);
}

#[test]
fn batches_asked_for_ahead_are_given_each_by_itself() {
    let now = now();
    let mut partition = going(now);
    for _ in 0..3 {
        partition.wants(want(2, Some(50), true), now);
    }
    assert_eq!(given(partition.advance(now, ALLOWED)), [1, 2]);
    assert_eq!(given(partition.advance(now, ALLOWED)), [3, 4]);
    assert!(partition.advance(now, ALLOWED).is_none());
    // It fails at one of them; the other one is given again with what came after.
    let mut failed = partition;
    failed.failed(trouble(1), Then::Bury, At::All, now);
    failed.over();
    let burial = Pass::Buried {
        to: place(2),
        events: vec![event(1), event(2)],
        trouble: trouble(1),
    };
    assert_eq!(failed.unsaid(), [burial]);
    failed.said(place(2));
    assert!(matches!(failed.advance(now, ALLOWED), Some(Deed::Offer)));
    failed.began(TicketId::of_stream(8), now);
    failed.wants(want(3, None, true), now);
    assert_eq!(given(failed.advance(now, ALLOWED)), [3, 4, 5]);
    // When it is to end, each ask is told so, and none that comes late is given anything.
    failed.leave(now + MS);
    failed.wants(want(1, None, true), now);
    failed.wants(want(1, None, true), now);
    assert!(given(failed.advance(now, ALLOWED)).is_empty());
    assert!(given(failed.advance(now, ALLOWED)).is_empty());
    assert!(failed.advance(now, ALLOWED).is_none());
}

#[test]
fn who_fails_at_the_first_part_of_a_batch_fails_at_nothing_else() {
    let now = now();
    let mut partition = going(now);
    partition.wants(want(4, Some(50), true), now);
    partition.wants(want(1, Some(50), true), now);
    assert_eq!(given(partition.advance(now, ALLOWED)), [1, 2, 3, 4]);
    assert_eq!(given(partition.advance(now, ALLOWED)), [5]);
    // Where a batch ends anyway, and behind all of them, there is nothing to be parted.
    for position in [4, 2, 5, 9] {
        partition.part(position);
    }
    partition.failed(trouble(1), Then::Bury, At::All, now);
    partition.over();
    let burial = Pass::Buried {
        to: place(2),
        events: vec![event(1), event(2)],
        trouble: trouble(1),
    };
    assert_eq!(partition.unsaid(), [burial]);
    partition.said(place(2));
    assert!(matches!(partition.advance(now, ALLOWED), Some(Deed::Offer)));
    partition.began(TicketId::of_stream(8), now);
    partition.wants(want(8, None, false), now);
    assert_eq!(given(partition.advance(now, ALLOWED)), [3, 4, 5]);
}

#[test]
fn a_call_with_something_in_hand_is_not_idle_however_long_it_takes() {
    let now = now();
    let mut partition = going(now);
    partition.wants(want(5, Some(0), true), now);
    partition.wants(want(5, Some(0), true), now);
    assert_eq!(given(partition.advance(now, ALLOWED)), [1, 2, 3, 4, 5]);
    assert!(partition.advance(now + 2 * IDLE, ALLOWED).is_none());
    assert_eq!(partition.due(true), None);
    partition.pass(5);
    assert_eq!(partition.due(true), Some(now + IDLE));
    assert!(given(partition.advance(now + 2 * IDLE, ALLOWED)).is_empty());
}

#[test]
fn a_call_that_waits_for_a_batch_to_fill_is_not_idle() {
    let now = now();
    let mut partition = going(now);
    partition.wants(want(5, None, true), now);
    assert_eq!(given(partition.advance(now, ALLOWED)), [1, 2, 3, 4, 5]);
    partition.pass(5);
    partition.wants(want(10, Some(60_000), true), now);
    let came = now + IDLE - 1000 * MS;
    partition.look_again();
    fill(&mut partition, 6..=6, came);
    assert!(partition.advance(came, ALLOWED).is_none());
    assert!(partition.advance(now + IDLE, ALLOWED).is_none());
    assert_eq!(given(partition.advance(came + IDLE, ALLOWED)), [6]);
}

#[test]
fn a_batch_that_fills_is_not_ended_for_others_before_the_turn_is_over() {
    let now = now();
    let crowded = Allowed {
        crowded: true,
        offer: false,
        ..ALLOWED
    };
    let mut partition = going(now);
    partition.wants(want(100, Some(50), true), now);
    partition.wants(want(100, Some(50), true), now);
    assert!(partition.advance(now, crowded).is_none());
    let full = now + 50 * MS;
    assert_eq!(given(partition.advance(full, crowded)), [1, 2, 3, 4, 5]);
    // With a batch in hand it goes on; with nothing at all it makes room.
    assert!(partition.advance(full, crowded).is_none());
    partition.pass(5);
    assert!(given(partition.advance(full, crowded)).is_empty());
}

#[test]
fn what_is_left_of_a_batch_waits_for_its_own_time() {
    let now = now();
    let mut partition = going(now);
    partition.wants(want(3, Some(50), true), now);
    partition.wants(want(3, Some(50), true), now);
    let later = now + 20 * MS;
    assert_eq!(given(partition.advance(later, ALLOWED)), [1, 2, 3]);
    assert!(partition.advance(now + 69 * MS, ALLOWED).is_none());
    assert_eq!(given(partition.advance(now + 70 * MS, ALLOWED)), [4, 5]);
}

#[test]
fn nothing_is_due_for_a_call_that_waits_while_nothing_may_be_given() {
    let now = now();
    for within in [None, Some(0)] {
        let mut partition = going(now);
        partition.wants(want(1, within, within.is_some()), now);
        assert!(partition.due(true).is_some());
        assert_eq!(partition.due(false), None);
    }
}

#[test]
fn events_that_were_not_passed_are_not_read_ahead_without_end() {
    let now = now();
    let mut partition = going(now);
    let large = |position| Event {
        fields: [("f", vec![0; 1 << 20])].into_iter().collect(),
        ..event(position)
    };
    let mut read = 5;
    for _ in 0..100 {
        partition.look_again();
        partition.wants(want(1_000, Some(0), true), now);
        if let Some(wish) = partition.wish() {
            read += 1;
            partition.read(wish, vec![large(read)], now);
        }
        let _ = partition.advance(now, ALLOWED);
    }
    assert!((8..=10).contains(&read), "{read}");
    partition.pass(read);
    assert!(partition.wish().is_some());
}

#[test]
fn what_it_failed_at_is_what_it_had_in_hand() {
    let now = now();
    let fail_at = |then, as_one, at| {
        let mut partition = going(now);
        partition.wants(want(3, as_one, as_one.is_some()), now);
        assert_eq!(given(partition.advance(now + MS, ALLOWED)).len(), 3);
        partition.failed(trouble(1), then, at, now);
        partition.over();
        partition
    };
    let fail = |then, as_one| fail_at(then, as_one, At::All);
    let ignored = fail(Then::Pass, None);
    assert_eq!(ignored.unsaid(), [Pass::To(place(1))]);
    let ignored = fail(Then::Pass, Some(1));
    assert_eq!(ignored.unsaid(), [Pass::To(place(3))]);
    // A record that cannot be read is the first one, whatever comes with it.
    let unreadable = fail_at(Then::Pass, Some(1), At::First);
    assert_eq!(unreadable.unsaid(), [Pass::To(place(1))]);
    let buried = fail(Then::Bury, None);
    let burial = Pass::Buried {
        to: place(1),
        events: vec![event(1)],
        trouble: trouble(1),
    };
    assert_eq!(buried.unsaid(), [burial]);
    // Nobody processes it before that is written.
    assert!(!buried.is_hungry());
    let mut again = fail(Then::Again(20 * MS), None);
    assert_eq!(again.unsaid(), [Pass::Failed(trouble(1))]);
    again.said(Place::default());
    assert!(again.advance(now + 19 * MS, ALLOWED).is_none());
    assert_eq!(again.due(true), Some(now + 20 * MS));
    assert!(matches!(
        again.advance(now + 20 * MS, ALLOWED),
        Some(Deed::Offer)
    ));
}

#[test]
fn a_halted_partition_goes_on_when_somebody_releases_it() {
    let now = now();
    let mut partition = going(now);
    partition.wants(want(1, None, false), now);
    assert_eq!(given(partition.advance(now, ALLOWED)), [1]);
    let halted = Trouble {
        rest: Some(Rest::Halted),
        ..trouble(1)
    };
    partition.failed(halted.clone(), Then::Rest(Rest::Halted), At::All, now);
    partition.over();
    // What the store knew before it was told.
    partition.told(None);
    partition.said(Place::default());
    assert!(partition.advance(now, ALLOWED).is_none());
    partition.told(Some(&halted));
    assert!(partition.advance(now, ALLOWED).is_none());
    partition.told(None);
    assert!(matches!(partition.advance(now, ALLOWED), Some(Deed::Offer)));
    assert_eq!(partition.trouble(), None);
}

#[test]
fn a_partition_that_is_to_go_ends_its_call_and_stops_it_at_the_end_of_its_grace() {
    let now = now();
    let mut polite = going(now);
    polite.wants(want(8, None, false), now);
    polite.leave(now + 10 * MS);
    assert!(given(polite.advance(now, ALLOWED)).is_empty());
    assert!(!polite.can_go());
    assert!(polite.over(), "it was told to end");
    assert!(polite.can_go());
    let mut busy = going(now);
    busy.wants(want(1, None, false), now);
    assert_eq!(given(busy.advance(now, ALLOWED)), [1]);
    busy.leave(now + 10 * MS);
    assert!(busy.advance(now + 9 * MS, ALLOWED).is_none());
    assert_eq!(busy.due(true), Some(now + 10 * MS));
    let late = now + 10 * MS;
    assert!(matches!(busy.advance(late, ALLOWED), Some(Deed::Stop(_))));
    assert!(busy.advance(late, ALLOWED).is_none(), "once is enough");
    busy.pass(1);
    busy.over();
    assert!(!busy.can_go(), "what it passed is to be written first");
    busy.said(place(1));
    assert!(busy.can_go());
}

#[test]
fn a_lost_partition_says_nothing_and_its_call_is_killed() {
    let now = now();
    let mut partition = going(now);
    partition.wants(want(1, None, false), now);
    assert_eq!(given(partition.advance(now, ALLOWED)), [1]);
    partition.pass(1);
    assert!(partition.lose().is_some());
    assert!(partition.unsaid().is_empty() && partition.wish().is_none());
    assert!(matches!(
        partition.advance(now, ALLOWED),
        Some(Deed::Kill(_))
    ));
    assert!(!partition.is_gone());
    partition.over();
    assert!(partition.is_gone() && !partition.can_go());
}

#[test]
fn processes_take_turns_where_there_are_too_few_and_go_when_they_are_idle() {
    let now = now();
    let crowded = Allowed {
        crowded: true,
        offer: false,
        ..ALLOWED
    };
    let mut busy = going(now);
    busy.wants(want(1, None, false), now);
    assert_eq!(given(busy.advance(now, crowded)), [1]);
    busy.pass(1);
    busy.wants(want(1, None, false), now);
    assert_eq!(given(busy.advance(now + TURN - MS, crowded)), [2]);
    busy.pass(2);
    busy.wants(want(1, None, false), now);
    assert!(given(busy.advance(now + TURN, crowded)).is_empty());
    // One without events makes room at once, and after a while in any case.
    for (at, allowed) in [(now, crowded), (now + IDLE, ALLOWED)] {
        let mut idle = going(now);
        idle.wants(want(9, None, false), now);
        assert_eq!(given(idle.advance(now, ALLOWED)).len(), 5);
        idle.pass(5);
        idle.wants(want(9, None, false), now);
        assert!(idle.advance(now, ALLOWED).is_none());
        assert!(given(idle.advance(at, allowed)).is_empty());
    }
}

#[test]
fn a_call_that_passes_nothing_is_called_again_ever_more_slowly() {
    let now = now();
    let mut partition = going(now);
    assert!(!partition.over());
    assert_eq!(partition.rest(now), FRUITLESS);
    assert_eq!(partition.rest(now), 2 * FRUITLESS);
    for _ in 0..40 {
        assert!(partition.rest(now) <= FRUITLESS_MOST);
    }
}
