//! What an idle supervisor holds.

use std::fs;

use bulkhead_tests::supervise::Supervisor;
use serde_json::json;

use crate::parts::{Who, once, place_of, submit};

/// How much of its program is mapped in a process, and how much there is; in kB.
fn code(pid: u32) -> (u64, u64) {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut is_code = false;
    let (mut mapped, mut size) = (0, 0);
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match *words {
            ["Rss:", kb, "kB"] if is_code => mapped += kb.parse::<u64>().unwrap(),
            ["Size:", kb, "kB"] if is_code => size += kb.parse::<u64>().unwrap(),
            [_, rights, _, _, _, path] => {
                is_code = rights == "r-xp" && path.ends_with("/supervisor");
            }
            _ => {}
        }
    }
    (mapped, size)
}

#[test]
fn once_it_serves_it_lets_go_of_the_code_that_only_its_start_needed() {
    for who in [Who::Root, Who::User] {
        let place = place_of(who);
        let arguments = ["--processes", "8"];
        let mut supervisor = Supervisor::start(&place, &arguments);
        let pid = supervisor.pid();
        let job = submit(&place, &[once("flaky", json!([0]))]).remove(0);
        let _ = place.returned(&job);
        let (mapped, size) = supervisor.wait_for("little of the code is mapped", |_| {
            Some(code(pid)).filter(|(mapped, size)| *mapped < size / 2)
        });
        assert!(size > 1024, "{mapped} of {size} kB");
        assert_eq!(supervisor.stop(), 0);
    }
}
