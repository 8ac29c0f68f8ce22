//! A clock that is turned: what it moves, what it does not, and files that make no sense.

use bulkhead_tests::cli::{Place, Ran};
use serde_json::json;

use crate::parts::{Clock, on_both, run, start};

#[test]
fn a_turned_clock_moves_delays_and_neither_leases_nor_deadlines() {
    on_both(|place| {
        let clock = Clock::new(place, 0);
        let mut supervisor = start(place, Some(&clock));
        let submit = |options: &[&str]| {
            let all: Vec<_> = ["submit", "add", "--args", "[2, 3]"]
                .iter()
                .chain(options)
                .copied()
                .collect();
            run(place, &clock, &all).succeeds().line()
        };
        let delayed = submit(&["--delay", "2h"]);
        let expiring = submit(&["--delay", "10h", "--expires", "11h"]);
        clock.turn(3 * 3_600_000);
        assert_eq!(place.returned(&delayed), json!(5));
        assert_eq!(place.status(&expiring)["status"], "SUBMITTED");
        clock.turn(12 * 3_600_000);
        let status = place.ended(&expiring);
        assert_eq!(status["cause"], "expired", "{status:#}");
        // Its own lease went on: nothing was taken over from it.
        assert!(
            !supervisor.log().contains("cause=\"lost\""),
            "{}",
            supervisor.log()
        );
        // What is wrong later leaves the clock as it was.
        std::fs::write(&clock.0, "soon").unwrap();
        supervisor.says("the test clock stays as it was");
        assert!(supervisor.is_alive());
    });
}

#[test]
fn a_clock_that_makes_no_sense_is_refused_at_the_start() {
    let place = Place::new();
    for (text, word) in [
        (Some("soon"), "`soon`"),
        (Some("99999d"), "ten years"),
        (None, "cannot be read"),
    ] {
        let path = place.path("clock");
        match text {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        for command in ["run", "queues"] {
            let mut command = place.command(&[command]);
            command.env("BULKHEAD_TEST_CLOCK", &path);
            let ran = Ran::of(command);
            assert!(ran.code == 2, "{ran:#?}");
            let _ = ran.says(&["BULKHEAD_TEST_CLOCK", word]);
        }
    }
}
