//! Schedules of each supervisor.

use std::collections::BTreeMap;

use bulkhead_shared::catalog::{Filter, State};
use bulkhead_tests::supervise::PATIENCE;
use bulkhead_tests::until;

use crate::parts::{on_both, start, store};

#[test]
fn each_supervisor_fires_for_itself_and_once_at_its_start() {
    on_both(|place| {
        let add = |name: &str, when: &[&str]| {
            let all = [
                "schedule",
                "add",
                name,
                "--task",
                "add",
                "--args",
                "[1, 2]",
                "--on-each",
            ];
            let all: Vec<_> = all.iter().chain(when).copied().collect();
            let _ = place.run(&all).succeeds();
        };
        add("beat", &["--every", "1s"]);
        add("boot", &["--at-start"]);
        let mut fleet = [start(place, None), start(place, None)];
        let store = store(place);
        let counts = || {
            let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
            for job in store.catalog.list(&Filter::default(), 10_000).unwrap() {
                let header: serde_json::Value = serde_json::from_slice(&job.header).unwrap();
                let name = header["metadata"]["schedule"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                if job.state == State::Succeeded {
                    *counts.entry((name, job.task.to_string())).or_default() += 1;
                }
            }
            counts
        };
        until("both beat", PATIENCE, || {
            let counts = counts();
            let beats: Vec<_> = counts
                .iter()
                .filter(|((name, _), _)| name == "beat")
                .collect();
            (beats.len() == 2 && beats.iter().all(|(_, n)| **n >= 3)).then_some(())
        });
        let counts = counts();
        let starts: Vec<_> = counts
            .iter()
            .filter(|((name, _), _)| name == "boot")
            .collect();
        assert_eq!(starts.len(), 2, "{counts:?}");
        assert!(starts.iter().all(|(_, count)| **count == 1), "{counts:?}");
        assert!(starts.iter().all(|((_, task), _)| task.starts_with("add@")));
        for supervisor in &mut fleet {
            assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
        }
    });
}
