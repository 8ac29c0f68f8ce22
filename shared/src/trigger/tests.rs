//! Triggers in real zones, and laws that hold in all.

use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::plan::{self, AT_ONCE, Plan, Standing, decide};
use super::{Cron, Misfire, Note, On, Overlap, Trigger, TriggerSpec};
use crate::time::Timestamp;

fn cron(text: &str, tz: &str) -> Trigger {
    Trigger::Cron(Cron::new(text, Some(tz)).unwrap())
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// The firings in `from..=until`, in UTC.
fn firings(trigger: &Trigger, from: &str, until: &str) -> Vec<String> {
    let until = time(until);
    let mut at = Timestamp::from_millis(time(from).as_millis() - 1);
    let mut found = Vec::new();
    while let Some(next) = trigger.next_after(at).filter(|next| *next <= until) {
        found.push(next.to_string().replace(":00.000Z", "Z"));
        at = next;
    }
    found
}

#[test]
fn what_was_missed_for_ages_is_found_without_walking_through_them() {
    let long_ago = Timestamp::from_millis(0);
    let leap = cron("0 0 29 2 *", "UTC");
    let last = leap.last(2, long_ago, Timestamp::MAX);
    let expected = ["9992-02-29T00:00:00Z", "9996-02-29T00:00:00Z"];
    assert_eq!(last, expected.map(time));
    let once = Trigger::At(time("2026-01-01T00:00:00Z"));
    let beyond = Timestamp::from_millis(u64::MAX);
    let expected = [time("2026-01-01T00:00:00Z")];
    assert_eq!(once.last(5, long_ago, beyond), expected);
}

#[test]
fn a_time_in_a_gap_fires_once_at_its_end() {
    let berlin = cron("30 2 * * *", "Europe/Berlin");
    let expected = [
        "2026-03-28T01:30Z",
        "2026-03-29T01:00Z",
        "2026-03-30T00:30Z",
    ];
    assert_eq!(
        firings(&berlin, "2026-03-28T00:00:00Z", "2026-03-30T12:00:00Z"),
        expected
    );
    assert_eq!(berlin.note(time("2026-03-29T01:00:00Z")), Some(Note::Gap));
    assert_eq!(berlin.note(time("2026-03-28T01:30:00Z")), None);
    // Several in one gap, and one at its end, are one.
    let many = cron("0,15,30 2,3 * * *", "Europe/Berlin");
    let on_the_day = firings(&many, "2026-03-29T00:00:00Z", "2026-03-29T01:59:00Z");
    assert_eq!(
        on_the_day,
        [
            "2026-03-29T01:00Z",
            "2026-03-29T01:15Z",
            "2026-03-29T01:30Z"
        ]
    );
    let new_york = cron("15 2 * * *", "America/New_York");
    let on_the_day = firings(&new_york, "2026-03-08T00:00:00Z", "2026-03-08T23:00:00Z");
    assert_eq!(on_the_day, ["2026-03-08T07:00Z"]);
    // Half an hour is left out.
    let lord_howe = cron("15 2 * * *", "Australia/Lord_Howe");
    let on_the_day = firings(&lord_howe, "2026-10-03T00:00:00Z", "2026-10-04T00:00:00Z");
    assert_eq!(on_the_day, ["2026-10-03T15:30Z"]);
}

#[test]
fn a_time_that_comes_twice_fires_the_first_time() {
    let berlin = cron("30 2 * * *", "Europe/Berlin");
    let expected = [
        "2026-10-24T00:30Z",
        "2026-10-25T00:30Z",
        "2026-10-26T01:30Z",
    ];
    assert_eq!(
        firings(&berlin, "2026-10-24T00:00:00Z", "2026-10-26T12:00:00Z"),
        expected
    );
    assert_eq!(berlin.note(time("2026-10-25T00:30:00Z")), Some(Note::Fold));
    let new_york = cron("30 1 * * *", "America/New_York");
    let on_the_day = firings(&new_york, "2026-11-01T00:00:00Z", "2026-11-01T23:00:00Z");
    assert_eq!(on_the_day, ["2026-11-01T05:30Z"]);
    let lord_howe = cron("45 1 * * *", "Australia/Lord_Howe");
    let on_the_day = firings(&lord_howe, "2026-04-04T00:00:00Z", "2026-04-04T23:00:00Z");
    assert_eq!(on_the_day, ["2026-04-04T14:45Z"]);
    // Also for whoever asks in the middle of the second time.
    assert_eq!(
        berlin.next_after(time("2026-10-25T01:10:00Z")),
        Some(time("2026-10-26T01:30:00Z"))
    );
}

#[test]
fn what_fires_in_every_hour_goes_by_elapsed_time() {
    for (day, count) in [("2026-03-29", 46), ("2026-10-25", 50), ("2026-06-01", 48)] {
        let half_hours = cron("*/30 * * * *", "Europe/Berlin");
        let zone = super::zone::find("Europe/Berlin").unwrap();
        let day: jiff::civil::Date = day.parse().unwrap();
        let start = day.to_zoned(zone.clone()).unwrap().timestamp();
        let end = day.tomorrow().unwrap().to_zoned(zone).unwrap().timestamp();
        let last = end.checked_sub(jiff::SignedDuration::from_secs(1)).unwrap();
        let found = firings(&half_hours, &start.to_string(), &last.to_string());
        assert_eq!(found.len(), count, "{day}: {found:?}");
    }
    let quarters = cron("*/15 * * * *", "Australia/Lord_Howe");
    let found = firings(&quarters, "2026-04-04T14:00:00Z", "2026-04-04T15:59:00Z");
    assert_eq!(found.len(), 8, "{found:?}");
}

#[test]
fn odd_offsets_and_a_day_that_never_was_are_met() {
    let kathmandu = cron("0 6 * * *", "Asia/Kathmandu");
    let found = firings(&kathmandu, "2026-01-01T00:00:00Z", "2026-01-01T23:00:00Z");
    assert_eq!(found, ["2026-01-01T00:15Z"]);
    // Samoa had no 30 December 2011: its firing comes when the 31st begins.
    let apia = cron("0 12 * * *", "Pacific/Apia");
    let found = firings(&apia, "2011-12-29T00:00:00Z", "2011-12-31T12:00:00Z");
    assert_eq!(
        found,
        [
            "2011-12-29T22:00Z",
            "2011-12-30T10:00Z",
            "2011-12-30T22:00Z"
        ]
    );
    let leap = cron("0 0 29 2 *", "UTC");
    let found = firings(&leap, "2096-01-01T00:00:00Z", "2105-01-01T00:00:00Z");
    assert_eq!(found, ["2096-02-29T00:00Z", "2104-02-29T00:00Z"]);
    let either = cron("0 0 13 * fri", "UTC");
    let found = firings(&either, "2026-02-10T00:00:00Z", "2026-02-21T00:00:00Z");
    assert_eq!(found, ["2026-02-13T00:00Z", "2026-02-20T00:00Z"]);
    let seconds = cron("*/20 0 0 1 1 *", "UTC");
    assert_eq!(
        firings(&seconds, "2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z").len(),
        3
    );
}

#[test]
fn a_date_may_be_local_and_a_wrong_trigger_says_what_to_write() {
    let gap = Trigger::at("2026-03-29T02:30", Some("Europe/Berlin")).unwrap();
    assert_eq!(gap, Trigger::At(time("2026-03-29T01:00:00Z")));
    let fold = Trigger::at("2026-10-25T02:30", Some("Europe/Berlin")).unwrap();
    assert_eq!(fold, Trigger::At(time("2026-10-25T00:30:00Z")));
    let usual = TriggerSpec::default();
    let cron = |text: &str| Some(text.to_owned());
    for (spec, words) in [
        (usual.clone(), ["exactly one", "none"]),
        (
            TriggerSpec {
                cron: cron("@daily"),
                every_ms: Some(5000),
                ..usual.clone()
            },
            ["`cron` and `every`", "exactly one"],
        ),
        (
            TriggerSpec {
                cron: cron("0 0 30 2 *"),
                ..usual.clone()
            },
            ["never fires", "30 2"],
        ),
        (
            TriggerSpec {
                cron: cron("@daily"),
                tz: cron("Mars/Base"),
                ..usual.clone()
            },
            ["`Mars/Base`", "IANA"],
        ),
        (
            TriggerSpec {
                every_ms: Some(999),
                ..usual.clone()
            },
            ["999ms", "1s"],
        ),
        (
            TriggerSpec {
                every_ms: Some(5000),
                tz: cron("UTC"),
                ..usual.clone()
            },
            ["`tz`", "`every`"],
        ),
        (
            TriggerSpec {
                at: cron("soon"),
                ..usual.clone()
            },
            ["`soon`", "2030"],
        ),
        (
            TriggerSpec {
                at: cron("2030-01-31T09:30"),
                ..usual.clone()
            },
            ["with a `tz`", "2030"],
        ),
        (
            TriggerSpec {
                at_start: true,
                ..usual.clone()
            },
            ["at start", "`each`"],
        ),
        (
            TriggerSpec {
                every_ms: Some(5000),
                misfire: Misfire::All(0),
                ..usual.clone()
            },
            ["`all`", "1000"],
        ),
        (
            TriggerSpec {
                every_ms: Some(5000),
                jitter_ms: u64::MAX,
                ..usual
            },
            ["jitter", "day"],
        ),
    ] {
        let error = spec.check().unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn a_trigger_is_told_in_words() {
    for (text, words) in [
        (
            "0 3 * * *",
            "at 03:00, every day, by the clocks of Europe/Berlin",
        ),
        (
            "*/20 * * * *",
            "at minutes 0, 20, 40 of every hour, every day",
        ),
        ("5 0 3 1,15 * *", "at 03:00:05, on days 1, 15 of the month"),
        ("0 3 13 * fri", "on day 13 of the month and on Friday"),
        ("0 3 * jan,jul sun", "on Sunday, in January, July"),
    ] {
        let shown = cron(text, "Europe/Berlin").to_string();
        assert!(shown.contains(words), "{shown}");
    }
}

fn plan(trigger: Trigger, misfire: Misfire, overlap: Overlap) -> Plan {
    Plan {
        trigger,
        on: On::One,
        misfire,
        overlap,
        jitter: Duration::ZERO,
    }
}

const HOUR: u64 = 3_600_000;

#[test]
fn missed_firings_follow_the_policy() {
    let start = time("2026-01-01T00:00:00Z");
    let hourly = || Trigger::Every(Duration::from_millis(HOUR));
    let now = Timestamp::from_millis(start.as_millis() + 5 * HOUR + HOUR / 2);
    let missed = |misfire| {
        let decision = decide(
            &plan(hourly(), misfire, Overlap::Allow),
            &Standing::from(start),
            now,
        );
        assert_eq!(
            decision.free.due.unwrap().as_millis(),
            start.as_millis() + 6 * HOUR
        );
        let hours = decision
            .free
            .fire
            .iter()
            .map(|at| (at.as_millis() - start.as_millis()) / HOUR);
        hours.collect::<Vec<_>>()
    };
    assert_eq!(missed(Misfire::Skip), [0; 0]);
    assert_eq!(missed(Misfire::One), [5]);
    assert_eq!(missed(Misfire::All(3)), [3, 4, 5]);
    assert_eq!(missed(Misfire::All(1000)), [1, 2, 3, 4, 5]);
    // A second late is not missed.
    let now = Timestamp::from_millis(start.as_millis() + HOUR + 1000);
    let decision = decide(
        &plan(hourly(), Misfire::Skip, Overlap::Allow),
        &Standing::from(start),
        now,
    );
    assert_eq!(decision.free.fire.len(), 1);
}

#[test]
fn many_missed_firings_come_in_several_moves_and_all_of_them() {
    let start = time("2026-01-01T00:00:00Z");
    let now = start.plus(Duration::from_secs(5000));
    let each_second = plan(
        Trigger::Every(Duration::from_secs(1)),
        Misfire::All(1000),
        Overlap::Allow,
    );
    let (mut standing, mut fired) = (Standing::from(start), Vec::new());
    loop {
        let course = decide(&each_second, &standing, now).free;
        assert!(course.fire.len() <= AT_ONCE);
        fired.extend(course.fire);
        standing = course.standing;
        if course.due.unwrap() > now {
            break;
        }
    }
    assert!(fired.windows(2).all(|pair| pair[0] < pair[1]));
    // 1000 that were missed, and those of the last ten seconds.
    assert_eq!(fired.len(), 1011);
}

#[test]
fn overlapping_firings_follow_the_policy() {
    let start = time("2026-01-01T00:00:00Z");
    let at = |seconds| start.plus(Duration::from_secs(seconds));
    let every = || Trigger::Every(Duration::from_secs(5));
    let skip = plan(every(), Misfire::All(10), Overlap::Skip);
    let decision = decide(&skip, &Standing::from(start), at(11));
    assert_eq!(decision.free.fire, [at(10)]);
    assert_eq!(decision.busy.unwrap().fire, []);
    let queue = plan(every(), Misfire::All(10), Overlap::QueueOne);
    let decision = decide(&queue, &Standing::from(start), at(11));
    assert_eq!(
        (&decision.free.fire, decision.free.standing.queued),
        (&vec![at(5)], Some(at(10)))
    );
    let busy = decision.busy.unwrap();
    assert_eq!(
        (busy.fire.len(), busy.standing.queued, busy.due),
        (0, Some(at(10)), Some(at(12)))
    );
    let decision = decide(&queue, &busy.standing, at(12));
    assert_eq!(
        (decision.free.fire, decision.free.due),
        (vec![at(10)], Some(at(15)))
    );
}

#[test]
fn a_firings_uuid_tells_all_it_is_made_of() {
    let at = time("2026-01-01T00:00:00Z");
    let uuid = plan::uuid_of("bulkhead", "report", at, None);
    // For ever: another one would fire again what has fired.
    assert_eq!(uuid.to_string(), "324f9db1-bea9-59f3-8197-4dc3d3424e54");
    let others = [
        plan::uuid_of("other", "report", at, None),
        plan::uuid_of("bulkhead", "reports", at, None),
        plan::uuid_of(
            "bulkhead",
            "report",
            at.plus(Duration::from_millis(1)),
            None,
        ),
        plan::uuid_of("bulkhead", "report", at, Some(Uuid::nil())),
    ];
    assert!(others.iter().all(|other| *other != uuid));
    let jitter = Duration::from_secs(30);
    let ready = plan::ready_at(at, uuid, jitter);
    assert_eq!(ready, plan::ready_at(at, uuid, jitter));
    assert!(ready >= at && ready <= at.plus(jitter));
    assert_eq!(plan::ready_at(at, uuid, Duration::ZERO), at);
}

const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Africa/Casablanca",
];

fn any_trigger() -> impl Strategy<Value = Trigger> {
    let field = |most: u8| {
        prop_oneof![
            2 => Just("*".to_owned()),
            2 => (0..=most).prop_map(|n| n.to_string()),
            1 => (1..=most / 2).prop_map(|n| format!("*/{n}")),
        ]
    };
    let weekday = prop_oneof![3 => Just("*".to_owned()), 1 => (0..7u8).prop_map(|n| n.to_string())];
    let cron = (field(59), field(23), weekday, 0..ZONES.len()).prop_map(
        |(minute, hour, weekday, zone)| {
            cron(&format!("{minute} {hour} * * {weekday}"), ZONES[zone])
        },
    );
    prop_oneof![4 => cron, 1 => (60u64..100_000).prop_map(|s| Trigger::Every(Duration::from_secs(s)))]
}

proptest! {
    /// Whoever looks, whenever: the firings between two instants are the same.
    #[test]
    fn firings_do_not_depend_on_the_moments_of_looking(
        trigger in any_trigger(),
        start in 1_300_000_000u64..2_000_000_000,
        gaps in prop::collection::vec(1u64..400_000, 1..12),
    ) {
        let start = Timestamp::from_millis(start * 1000);
        let all = plan(trigger, Misfire::All(1000), Overlap::Allow);
        let mut now = start;
        let (mut standing, mut in_steps) = (Standing::from(start), Vec::new());
        for gap in &gaps {
            now = now.plus(Duration::from_millis(gap * 100));
            loop {
                let course = decide(&all, &standing, now).free;
                in_steps.extend(course.fire);
                standing = course.standing;
                if course.due.is_none_or(|due| due > now) {
                    break;
                }
            }
        }
        let at_once = all.trigger.last(usize::MAX, start, now);
        prop_assert_eq!(&in_steps, &at_once);
        let mut one_by_one = Vec::new();
        let mut at = start;
        while let Some(next) = all.trigger.next_after(at).filter(|next| *next <= now) {
            prop_assert!(next > at);
            one_by_one.push(next);
            at = next;
        }
        prop_assert_eq!(in_steps, one_by_one);
    }

    /// A time of day that a zone's clocks name: once on each day of the calendar that there is,
    /// whatever the clocks do on it.
    #[test]
    fn a_time_of_day_fires_once_on_each_day(hour in 0u8..24, minute in 0u8..60, zone in 0..ZONES.len()) {
        let trigger = cron(&format!("{minute} {hour} * * *"), ZONES[zone]);
        let (start, end) = (time("2024-01-01T00:00:00Z"), time("2027-01-01T00:00:00Z"));
        let mut days = std::collections::HashMap::new();
        for at in trigger.last(usize::MAX, start, end) {
            let (local, _) = trigger.local(at).unwrap();
            *days.entry(local[..10].to_owned()).or_insert(0) += 1;
        }
        prop_assert!(days.values().all(|count| *count == 1));
        prop_assert!(days.len() >= 1095);
    }

    #[test]
    fn no_text_makes_the_reader_stumble(text in "\\PC{0,40}", tz in "\\PC{0,20}") {
        let _ = Cron::new(&text, Some(&tz));
        let _ = Cron::new(&text, None);
        let _ = Trigger::at(&text, Some("Europe/Berlin"));
    }
}
