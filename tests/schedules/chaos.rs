//! Three supervisors, one of which is killed again and again: each firing comes once.

use std::time::Duration;

use bulkhead_shared::Timestamp;
use bulkhead_shared::time::Now;
use bulkhead_shared::trigger::{Trigger, TriggerSpec};
use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::PATIENCE;
use bulkhead_tests::until;

use crate::parts::{Clock, body, on_both, run, settled, start, store};

fn is_long() -> bool {
    std::env::var("BULKHEAD_LONG").is_ok_and(|long| long == "1")
}

/// A second apart each, from the first to the last.
fn assert_each_second(fired: &[Timestamp], least: usize) {
    assert!(fired.len() >= least, "{} firings", fired.len());
    for pair in fired.windows(2) {
        assert_eq!(
            pair[1].since(pair[0]),
            Duration::from_secs(1),
            "after {}",
            pair[0]
        );
    }
}

#[test]
fn each_second_is_fired_once_while_supervisors_are_killed() {
    on_both(|place| {
        if is_long() {
            two_minutes(place);
        } else {
            two_minutes_turned(place);
        }
    });
}

/// As time goes, a kill every ten seconds.
fn two_minutes(place: &Place) {
    let mut fleet = [start(place, None), start(place, None), start(place, None)];
    let store = store(place);
    until("the declaration", PATIENCE, || body(&store, "tick"));
    let begin = Now::read().mono;
    for round in 1..=12u32 {
        let due = begin + Duration::from_secs(10) * round;
        until("ten seconds", PATIENCE, || {
            (Now::read().mono >= due).then_some(())
        });
        let victim = &mut fleet[round as usize % 3];
        victim.kill();
        *victim = start(place, None);
    }
    let fired = settled(&store, "tick", Timestamp::now());
    assert_each_second(&fired, 119);
    let seen = fired.len();
    let late = crate::parts::fired(&store, "tick");
    let mut late: Vec<_> = late
        .iter()
        .map(|(at, job)| job.submitted_at.since(*at))
        .collect();
    late.sort();
    let (half, last) = (late[late.len() / 2], late[late.len() - 1]);
    let url = place.url();
    let store = url.split(':').next().unwrap_or_default();
    eprintln!("{store}: {seen} firings, 12 kills, lateness p50 {half:?} max {last:?}");
}

/// Half a minute at a time, a kill each.
fn two_minutes_turned(place: &Place) {
    let clock = Clock::new(place, 0);
    let mut fleet = [
        start(place, Some(&clock)),
        start(place, Some(&clock)),
        start(place, Some(&clock)),
    ];
    let store = store(place);
    until("the declaration", PATIENCE, || body(&store, "tick"));
    for round in 1..=4u32 {
        let ms = 30_000 * i64::from(round);
        clock.turn(ms);
        let victim = &mut fleet[round as usize % 3];
        victim.kill();
        *victim = start(place, Some(&clock));
        let ms = u64::try_from(ms).unwrap();
        let now = Timestamp::now().plus(Duration::from_millis(ms));
        let fired = settled(&store, "tick", now);
        assert_each_second(&fired, 30 * round as usize - 1);
    }
    for supervisor in &mut fleet {
        assert!(supervisor.is_alive(), "{}", supervisor.log());
        assert!(
            supervisor
                .log()
                .contains("TEST CLOCK: THIS SUPERVISOR'S TIME IS NOT THE TIME")
        );
    }
}

const HOURLY: &str = "*/20 * * * *";
const DAILY: &str = "30 2 * * *";

fn firings(cron: &str, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let spec = TriggerSpec {
        cron: Some(cron.into()),
        tz: Some("Europe/Berlin".into()),
        ..TriggerSpec::default()
    };
    let trigger: Trigger = spec.check().unwrap().trigger;
    trigger.last(usize::MAX, from, until)
}

#[test]
fn a_day_on_which_clocks_change_is_fired_once_however_it_passes() {
    // The first has a gap from 2:00 to 3:00, the second an hour from 2:00 that comes twice.
    let days: &[(&str, usize)] = &[("2027-03-27T12:00:00Z", 25), ("2027-10-30T12:00:00Z", 25)];
    on_both(|place| {
        // The clock of a store is not set back: both days on one store, one after the other.
        for (number, (day, hours)) in days.iter().enumerate() {
            let begin = Timestamp::parse(day).unwrap();
            a_day(place, begin, *hours, number);
        }
    });
}

fn a_day(place: &Place, begin: Timestamp, hours: usize, number: usize) {
    let (clock, base) = Clock::at(place, begin);
    let names = [HOURLY, DAILY].map(|cron| (format!("{}-{number}", cron.len()), cron));
    for (name, cron) in &names {
        let zone = "Europe/Berlin";
        let add = ["schedule", "add", name, "--cron", cron, "--tz", zone];
        let rest = ["--task", "add", "--args", "[1, 2]", "--misfire", "all:1000"];
        let all: Vec<_> = add.into_iter().chain(rest).collect();
        let _ = run(place, &clock, &all).succeeds();
    }
    let store = store(place);
    let from = names
        .each_ref()
        .map(|(name, _)| body(&store, name).unwrap().standing.decided);
    let mut fleet = [
        start(place, Some(&clock)),
        start(place, Some(&clock)),
        start(place, Some(&clock)),
    ];
    for hour in 1..=hours {
        let ms = base + 3_600_000 * i64::try_from(hour).unwrap();
        clock.turn(ms);
        if hour % 5 == 0 {
            let victim = &mut fleet[hour % 3];
            victim.kill();
            *victim = start(place, Some(&clock));
        }
        let now =
            Timestamp::from_millis(Timestamp::now().as_millis().checked_add_signed(ms).unwrap());
        for ((name, cron), from) in names.iter().zip(from) {
            let is_last = hour == hours;
            let expected = firings(cron, from, now);
            if is_last || hour % 5 == 0 {
                assert_eq!(
                    settled(&store, name, expected.last().copied().unwrap_or(from)),
                    expected
                );
            }
        }
    }
    let (name, cron) = &names[1];
    let end = begin.plus(Duration::from_secs(3600 * 25));
    assert_eq!(firings(cron, from[1], end).len(), 1);
    assert_eq!(crate::parts::fired(&store, name).len(), 1);
    for supervisor in &mut fleet {
        assert!(supervisor.is_alive(), "{}", supervisor.log());
    }
}
