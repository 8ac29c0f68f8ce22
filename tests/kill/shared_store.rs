//! Two supervisors on one store, one of which is killed, stopped or drained.

use bulkhead_shared::Uuid;
use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::PATIENCE;
use bulkhead_tests::until;
use bulkhead_tests::work::Kind;

use crate::scene::{LONG_LEASE, Scene};

/// Waits until another supervisor than the first `before` is known to the store.
fn wait_for_another(scene: &Scene<'_>, before: i64) {
    until("another supervisor to be known", PATIENCE, || {
        (scene.witness.newest_owner() > before).then_some(())
    });
}

/// Waits until these run under a later fence than the first.
fn wait_until_taken_over(scene: &mut Scene<'_>, jobs: &[Uuid]) {
    until("the jobs to run at the other supervisor", PATIENCE, || {
        scene.lines.refresh();
        let ran_again = |job: &Uuid| scene.lines.all().iter().any(|(j, f)| j == job && *f > 1);
        jobs.iter().all(ran_again).then_some(())
    });
}

#[test]
fn the_survivor_takes_over_the_jobs_of_a_killed_supervisor() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let held = scene.submit([Kind::Hold { gate: 0 }; 4]);
    let mut first = scene.start(4, LONG_LEASE, "");
    scene.wait_until_running(&held, PATIENCE);
    let killed = scene.witness.newest_owner();
    let mut survivor = scene.start(4, LONG_LEASE, "");
    wait_for_another(&scene, killed);
    scene.submit((0..40).map(|n| Kind::nth(n + 10)));
    scene.robbed.insert(killed);
    first.kill();
    scene.note_runs();
    wait_until_taken_over(&mut scene, &held);
    scene.open_gate(0);
    scene.wait_for_endings(PATIENCE);
    assert_eq!(survivor.stop(), 0, "{}", survivor.log());
    drop((first, survivor));
    scene.finish();
}

#[test]
fn a_supervisor_that_stood_still_settles_nothing_and_ends_what_it_ran() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let ended_meanwhile = scene.submit([Kind::Hold { gate: 0 }]);
    let still_running = scene.submit([Kind::Hold { gate: 1 }]);
    let both = [ended_meanwhile[0], still_running[0]];
    let mut stopped = scene.start(2, "1s", "");
    scene.wait_until_running(&both, PATIENCE);
    let pid = stopped.wait_for("a note about the task's process", |_| {
        scene.witness.pid(still_running[0])
    });
    assert!(stopped.processes().contains(&pid));
    let robbed = scene.witness.newest_owner();
    scene.robbed.insert(robbed);
    stopped.signal(libc::SIGSTOP);
    let mut other = scene.start(2, "1s", "");
    wait_until_taken_over(&mut scene, &both);
    // Both attempts of the first job return: the one of the stopped supervisor into its pipe.
    scene.open_gate(0);
    until("the first job's end", PATIENCE, || {
        (scene.witness.endings() == 1).then_some(())
    });
    stopped.signal(libc::SIGCONT);
    until("the end of the task that was taken away", PATIENCE, || {
        (!stopped.processes().contains(&pid)).then_some(())
    });
    scene.open_gate(1);
    scene.wait_for_endings(PATIENCE);
    assert_eq!(stopped.stop(), 0, "{}", stopped.log());
    assert_eq!(other.stop(), 0, "{}", other.log());
    drop((stopped, other));
    scene.judge();
}

#[test]
fn supervisors_that_drain_beside_others_lose_no_job() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    scene.submit((0..400).map(|n| Kind::nth(n * 4 + 2)));
    let mut stays = scene.start(2, LONG_LEASE, "");
    let mut known = 0;
    for _ in 0..3 {
        let mut leaves = scene.start(4, LONG_LEASE, "");
        wait_for_another(&scene, known);
        known = scene.witness.newest_owner();
        let ended = scene.witness.endings();
        until("some more endings", PATIENCE, || {
            (scene.witness.endings() > ended.min(340) + 50).then_some(())
        });
        let code = leaves.stop();
        // It gives back what it has claimed and not begun.
        assert!([0, 7].contains(&code), "{code}: {}", leaves.log());
    }
    scene.wait_for_endings(PATIENCE);
    assert_eq!(stays.stop(), 0, "{}", stays.log());
    drop(stays);
    scene.judge();
}
