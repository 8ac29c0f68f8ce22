//! What a restart finds: the jobs of the dead at once, and whatever still lives of them.

use std::time::{Duration, SystemTime};

use bulkhead_shared::pidfd::PidFd;
use bulkhead_shared::time::Timestamp;
use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::{PATIENCE, Supervisor};
use bulkhead_tests::until;
use bulkhead_tests::work::Kind;
use nix::time::{ClockId, clock_gettime};

use crate::evidence::{LEASED, Transition};
use crate::scene::{LONG_LEASE, Scene};

fn since_boot() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    i64::try_from(Duration::from(now).as_millis()).unwrap()
}

/// The transitions by which jobs went from one supervisor to another.
fn rescues(scene: &Scene<'_>) -> Vec<Transition> {
    let all = scene.witness.transitions().into_iter();
    all.filter(|step| step.is_claim() && step.old == Some(LEASED))
        .collect()
}

#[test]
fn the_work_of_a_killed_supervisor_starts_again_long_before_its_lease_ends() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let held = scene.submit([Kind::Hold { gate: 0 }; 4]);
    let mut first = scene.start(4, LONG_LEASE, "");
    scene.wait_until_running(&held, PATIENCE);
    first.kill();
    assert_eq!(scene.bury(), 4);
    let restart = Timestamp::now();
    let mut second = scene.start(4, LONG_LEASE, "");
    scene.wait_until_running(&held, PATIENCE);
    let rescues = rescues(&scene);
    assert_eq!(rescues.len(), 4, "{rescues:?}");
    for rescue in &rescues {
        let left = rescue.old_due.expect("it was leased") - since_boot();
        assert!(left > 0, "the lease had ended by itself: {rescue:?}");
    }
    let last = scene.witness.transitions().pop().expect("there are some");
    let seconds = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(last.at);
    let after =
        seconds.duration_since(SystemTime::UNIX_EPOCH + Duration::from_millis(restart.as_millis()));
    #[expect(clippy::print_stderr, reason = "figures for people")]
    {
        eprintln!("claimed again {after:?} after the restart");
    }
    scene.open_gate(0);
    scene.wait_for_endings(PATIENCE);
    assert_eq!(second.stop(), 0, "{}", second.log());
    drop((first, second));
    scene.judge();
}

/// The process all task processes of a supervisor are forked from: it was there before them.
fn zygote(supervisor: &Supervisor<'_>) -> PidFd {
    let start = |pid: &i32| -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
        let started = fields.split_whitespace().nth(19);
        started.and_then(|t| t.parse().ok()).unwrap_or(u64::MAX)
    };
    let all = supervisor.processes();
    let first = all.iter().min_by_key(|pid| (start(pid), **pid));
    PidFd::open(*first.expect("it runs tasks")).expect("it has not ended")
}

#[test]
fn what_outlives_a_supervisor_and_its_zygote_is_gone_after_the_next_start() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let held = scene.submit([Kind::EscapeAndHold { gate: 0 }; 3]);
    let mut first = scene.start(4, LONG_LEASE, "");
    scene.wait_until_running(&held, PATIENCE);
    let zygote = zygote(&first);
    // Stopped, it cannot clear up before it dies as well.
    zygote.signal(libc::SIGSTOP).unwrap();
    first.kill();
    zygote.signal(libc::SIGKILL).unwrap();
    scene.bury();
    scene.open_gate(0);
    let mut second = scene.start(4, LONG_LEASE, "");
    first.leaves_nothing();
    scene.wait_for_endings(PATIENCE);
    scene.note_runs();
    assert_eq!(second.stop(), 0, "{}", second.log());
    drop((first, second));
    scene.judge();
}

#[test]
fn what_outlives_a_supervisor_and_its_zygote_is_cleared_by_others_who_live() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let held = scene.submit([Kind::EscapeAndHold { gate: 0 }; 3]);
    let mut first = scene.start(4, LONG_LEASE, "");
    scene.wait_until_running(&held, PATIENCE);
    let killed = scene.witness.newest_owner();
    let mut second = scene.start(4, LONG_LEASE, "");
    until("the second supervisor to be known", PATIENCE, || {
        (scene.witness.newest_owner() > killed).then_some(())
    });
    let zygote = zygote(&first);
    zygote.signal(libc::SIGSTOP).unwrap();
    first.kill();
    zygote.signal(libc::SIGKILL).unwrap();
    scene.robbed.insert(killed);
    scene.note_runs();
    scene.open_gate(0);
    first.leaves_nothing();
    scene.wait_for_endings(PATIENCE);
    assert_eq!(second.stop(), 0, "{}", second.log());
    drop((first, second));
    scene.judge();
}

#[test]
fn a_zygote_that_still_has_requests_of_a_dead_supervisor_ends_everything() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let held = scene.submit([Kind::Hold { gate: 0 }, Kind::EscapeAndHold { gate: 1 }]);
    let mut first = scene.start(2, LONG_LEASE, "");
    scene.wait_until_running(&held, PATIENCE);
    let zygote = zygote(&first);
    zygote.signal(libc::SIGSTOP).unwrap();
    // The slot of the job that ends asks for its next process.
    scene.open_gate(0);
    until("the first job's end", PATIENCE, || {
        (scene.witness.endings() == 1).then_some(())
    });
    first.kill();
    zygote.signal(libc::SIGCONT).unwrap();
    first.leaves_nothing();
    scene.bury();
    scene.open_gate(1);
    drop(first);
    scene.finish();
}
