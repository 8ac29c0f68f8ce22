//! Supervisors that lose their leases and live: cut off from the store, or standing still.

use std::time::Duration;

use bulkhead_tests::network;
use bulkhead_tests::supervise::PATIENCE;
use bulkhead_tests::work::Kind;

use crate::fleet::{Fleet, Ground};

#[test]
fn a_host_that_is_cut_off_ends_its_tasks_before_others_begin_them() {
    if !network::can_be_made() {
        return;
    }
    let ground = Ground::new();
    let mut fleet = Fleet::new(&ground, 1, "2s");
    let held = fleet.submit([Kind::Hold { gate: 0 }; 4]);
    fleet.until("the jobs to run", PATIENCE, |fleet| {
        held.iter().all(|job| fleet.runner(*job).is_some())
    });
    let cut = fleet.owners(0);
    fleet.join(1);
    fleet.cut(0);
    fleet.until("the jobs to run on the other host", PATIENCE, |fleet| {
        held.iter().all(|job| {
            let owner = fleet.runner(*job);
            owner.is_some_and(|owner| !cut.contains(owner))
        })
    });
    fleet.open_gate(0);
    let all = fleet.jobs.len();
    fleet.until("an ending for every job", PATIENCE, |fleet| {
        fleet.evidence.endings() == all
    });
    fleet.mend(0);
    fleet.until_they_are_back(cut);
    fleet.until("an ending for every job", PATIENCE, |fleet| {
        fleet.evidence.endings() == fleet.jobs.len()
    });
    fleet.stop();
    let figures = fleet.judge();
    #[expect(clippy::print_stderr, reason = "figures for people")]
    {
        eprintln!("{figures}");
    }
    assert_eq!(figures.overlap.refused, 0, "{figures}");
}

#[test]
fn a_server_that_is_away_for_longer_than_a_lease_finds_nothing_running_under_it() {
    if !network::can_be_made() {
        return;
    }
    let ground = Ground::new();
    let mut fleet = Fleet::new(&ground, 4, "2s");
    let held = fleet.submit([Kind::Hold { gate: 0 }; 12]);
    fleet.until("the jobs to run", PATIENCE, |fleet| {
        held.iter().all(|job| fleet.runner(*job).is_some())
    });
    fleet.restart_server(Duration::from_secs(4));
    let known = fleet.evidence.all().len();
    fleet.until("the jobs to run again", PATIENCE, |fleet| {
        let again = fleet.evidence.all()[known..].iter();
        let again: Vec<_> = again.filter(|step| step.is_claim()).collect();
        held.iter().all(|job| {
            let is_again = again.iter().any(|step| step.uuid == *job);
            is_again && fleet.runner(*job).is_some()
        })
    });
    fleet.open_gate(0);
    let all = &fleet.owners(0) | &fleet.owners(1);
    fleet.until_they_are_back(all);
    fleet.until("an ending for every job", PATIENCE, |fleet| {
        fleet.evidence.endings() == fleet.jobs.len()
    });
    fleet.stop();
    let figures = fleet.judge();
    assert_eq!(figures.overlap.refused, 0, "{figures}");
}

#[test]
fn what_a_supervisor_runs_that_stood_still_is_refused_by_its_fence_and_then_killed() {
    if !network::can_be_made() {
        return;
    }
    let ground = Ground::new();
    let mut fleet = Fleet::new(&ground, 1, "2s");
    let held = fleet.submit([Kind::Hold { gate: 0 }; 2]);
    fleet.until("the jobs to run", PATIENCE, |fleet| {
        held.iter().all(|job| fleet.runner(*job).is_some())
    });
    let stopped = fleet.owners(0);
    fleet.join(1);
    let before = fleet.supervisor(0).processes();
    fleet.supervisor(0).signal(libc::SIGSTOP);
    fleet.until("writes of both attempts of each job", PATIENCE, |fleet| {
        held.iter().all(|job| {
            let owner = fleet.runner(*job);
            let mut writes = fleet.attempts.writes.iter();
            owner.is_some_and(|owner| !stopped.contains(owner))
                && writes.any(|write| write.attempt.0 == *job && !write.is_accepted)
        })
    });
    fleet.supervisor(0).signal(libc::SIGCONT);
    fleet.until("the overtaken attempts' end", PATIENCE, |fleet| {
        let now = fleet.supervisor(0).processes();
        before.iter().filter(|pid| !now.contains(pid)).count() >= held.len()
    });
    fleet.open_gate(0);
    fleet.until_they_are_back(stopped);
    fleet.until("an ending for every job", PATIENCE, |fleet| {
        fleet.evidence.endings() == fleet.jobs.len()
    });
    fleet.stop();
    let figures = fleet.judge();
    assert!(figures.overlap.refused >= held.len(), "{figures}");
}
