//! A killed supervisor leaves nothing alive, whatever its host cannot do. Each word makes the probes
//! say no to one feature; what then holds a task together is named in `end_to_end/fallbacks`.

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::PATIENCE;
use bulkhead_tests::work::Kind;

use crate::scene::{LONG_LEASE, Scene};

const ALL: &str = "landlock,cgroup,cgroup-kill,pidfd-group,clone3,userns,tid-address";

fn nothing_outlives_a_kill_without(features: &str) {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let without = ("BULKHEAD_WITHOUT", features);
    let kinds = [
        Kind::Hold { gate: 0 },
        Kind::EscapeAndHold { gate: 0 },
        Kind::EscapeAndHold { gate: 0 },
    ];
    let held = scene.submit(kinds);
    let mut first = scene.start_with(3, LONG_LEASE, without);
    scene.wait_until_running(&held, PATIENCE);
    first.kill();
    assert_eq!(scene.bury(), 3);
    // Before anybody else is there to clear up.
    first.leaves_nothing();
    let mut second = scene.start_with(3, LONG_LEASE, without);
    scene.wait_until_running(&held, PATIENCE);
    scene.open_gate(0);
    scene.wait_for_endings(PATIENCE);
    scene.note_runs();
    assert_eq!(second.stop(), 0, "{}", second.log());
    drop((first, second));
    scene.judge();
}

macro_rules! without {
    ($($name:ident: $features:expr;)*) => {$(
        #[test]
        fn $name() {
            nothing_outlives_a_kill_without($features);
        }
    )*};
}

without! {
    nothing_outlives_a_kill_without_landlock: "landlock";
    nothing_outlives_a_kill_without_cgroups: "cgroup";
    nothing_outlives_a_kill_without_cgroup_kill: "cgroup-kill";
    nothing_outlives_a_kill_without_signals_to_groups_by_pidfd: "pidfd-group";
    nothing_outlives_a_kill_without_clone3: "clone3";
    nothing_outlives_a_kill_without_user_namespaces: "userns";
    nothing_outlives_a_kill_without_the_tid_address: "tid-address";
    nothing_outlives_a_kill_without_cgroups_and_namespaces: "cgroup,userns";
    nothing_outlives_a_kill_without_any_of_it: ALL;
}
