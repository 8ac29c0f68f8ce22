//! Pulses with several dependencies, markers of any kind, and random histories.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::super::{
    Checkpoint, CheckpointBuilder, CheckpointError, Dependency, Health, Pulse, State,
};
use super::example::Told;
use crate::time::Timestamp;

fn minute(minute: u64) -> Timestamp {
    Timestamp::from_millis(1_735_725_600_000).plus(Duration::from_secs(minute * 60))
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

fn two() -> CheckpointBuilder {
    Checkpoint::builder("orders")
        .dependency(Dependency::new("prices"))
        .dependency(Dependency::within("stock", minutes(30)))
}

const NO_STATE: [(&str, i64); 0] = [];

/// The reference reports what it looked at last, which may be up.
#[test]
fn the_downtime_that_is_told_is_that_of_one_that_is_down() {
    let mut c = two().open().unwrap();
    c.check_pulse(minute(0), NO_STATE).unwrap();
    c.heartbeat_of("stock", minute(19)).unwrap();
    let downtime = c.check_pulse(minute(20), NO_STATE).unwrap().unwrap();
    assert_eq!(
        (downtime.dependency.as_str(), downtime.length),
        ("prices", minutes(20))
    );
    let is_down = |name| c.pulse().dependency(name).unwrap().is_down();
    assert!(is_down("prices") && !is_down("stock"));
    // Of several the one that is down for longest, wherever it stands.
    c.heartbeat_of("prices", minute(25)).unwrap();
    let downtime = c.check_pulse(minute(60), NO_STATE).unwrap().unwrap();
    assert_eq!(
        (downtime.dependency.as_str(), downtime.length),
        ("stock", minutes(41))
    );
}

/// The reference keeps an alias, which changes with the state.
#[test]
fn a_checkpoint_state_is_a_copy() {
    let mut c = Checkpoint::builder("orders")
        .dependency(Dependency::new("prices"))
        .open()
        .unwrap();
    let kept = |c: &Checkpoint| {
        c.pulse()
            .dependency("prices")
            .unwrap()
            .checkpoint_state()
            .clone()
    };
    c.check_pulse(minute(0), [("offset", 1)]).unwrap();
    c.heartbeat(minute(1)).unwrap();
    c.check_pulse(minute(2), [("offset", 2), ("page", 7)])
        .unwrap();
    c.check_pulse(minute(3), [("offset", 3)]).unwrap();
    assert_eq!(json!(kept(&c)), json!({"offset": 1}));
    assert_eq!(json!(c.pulse().state()), json!({"offset": 3, "page": 7}));
    c.heartbeat(minute(3)).unwrap();
    assert_eq!(json!(kept(&c)), json!({"offset": 3, "page": 7}));
    // While it is down it stays what it was: what went out since then is what is to be made anew.
    c.check_pulse(minute(30), [("offset", 30)]).unwrap();
    c.heartbeat(minute(15)).unwrap();
    assert_eq!(json!(kept(&c)), json!({"offset": 3, "page": 7}));
    c.heartbeat(minute(31)).unwrap();
    assert_eq!(json!(kept(&c)), json!({"offset": 30, "page": 7}));
}

#[test]
fn the_dependent_goes_on_when_all_have_caught_up_and_each_that_was_down_is_told_of() {
    let told = Told::default();
    let (down, up) = (told.clone(), told.clone());
    let mut c = two()
        .dependent(told.clone())
        .downtime_callback(move |_, it| {
            down.say(format!("down {}", it.name()));
            Ok(())
        })
        .recovery_callback(move |_, it| {
            up.say(format!("up {} {}", it.name(), json!(it.checkpoint_state())));
            Ok(())
        })
        .open()
        .unwrap();
    c.check_pulse(minute(0), [("offset", 0)]).unwrap();
    c.heartbeat_of("stock", minute(5)).unwrap();
    c.check_pulse(minute(20), [("offset", 20)]).unwrap();
    assert_eq!(told.take(), ["pause", "down prices"]);
    // An event that was on its way already. Who is down still is not told of once more.
    c.check_pulse(minute(40), [("offset", 40)]).unwrap();
    assert_eq!(told.take(), ["down stock"]);
    assert!(!c.heartbeat_of("prices", minute(41)).unwrap().is_late);
    let health = |c: &Checkpoint, name| c.pulse().dependency(name).unwrap().health();
    assert_eq!(health(&c, "prices"), Health::CaughtUp);
    assert!(c.heartbeat_of("stock", minute(40)).unwrap().is_late);
    assert_eq!(told.take(), [""; 0]);
    c.heartbeat_of("stock", minute(42)).unwrap();
    assert_eq!(
        told.take(),
        [
            "up prices {\"offset\":0}",
            "up stock {\"offset\":0}",
            "resume"
        ]
    );
    assert_eq!(health(&c, "prices"), Health::Up);
}

#[test]
fn a_dependent_that_is_not_to_be_paused_is_left_alone() {
    let told = Told::default();
    let mut c = two()
        .dependent(told.clone())
        .pause_dependent(false)
        .open()
        .unwrap();
    c.check_pulse(minute(0), NO_STATE).unwrap();
    assert!(c.check_pulse(minute(60), NO_STATE).unwrap().is_some());
    c.heartbeat_of("prices", minute(61)).unwrap();
    c.heartbeat_of("stock", minute(61)).unwrap();
    assert!(!c.pulse().is_down());
    assert_eq!(told.take(), [""; 0]);
}

#[test]
fn whom_a_heartbeat_is_for_is_said_when_there_are_several() {
    let mut c = two().open().unwrap();
    let error = c.heartbeat(minute(0)).unwrap_err();
    assert!(matches!(error, CheckpointError::Which { .. }), "{error}");
    assert!(error.to_string().contains("`prices`, `stock`"), "{error}");
    let error = c.heartbeat_of("price", minute(0)).unwrap_err().to_string();
    assert!(
        error.contains("`price` is no") && error.contains("`prices`"),
        "{error}"
    );
}

#[test]
fn names_that_make_no_sense_are_refused() {
    let refused = |builder: CheckpointBuilder| builder.open().unwrap_err().to_string();
    let named = |name: &str| Checkpoint::builder("a").dependency(Dependency::new(name));
    assert!(refused(Checkpoint::builder("a")).contains("no dependency"));
    assert!(refused(named("b c")).contains("`b c`"));
    assert!(refused(named("b").dependency(Dependency::new("b"))).contains("two dependencies `b`"));
    assert!(refused(named("b").cache_key_prefix("{")).contains("`{a`"));
}

#[test]
fn markers_may_be_numbers_of_events() {
    let mut c = Checkpoint::builder("orders")
        .dependency(Dependency::within("prices", 10u64))
        .open()
        .unwrap();
    c.check_pulse(100u64, NO_STATE).unwrap();
    assert_eq!(c.check_pulse(110, NO_STATE).unwrap(), None);
    assert_eq!(c.check_pulse(111, NO_STATE).unwrap().unwrap().length, 11);
    assert!(!c.heartbeat(112).unwrap().is_late);
}

#[test]
fn markers_may_have_no_distance_and_checks_may_be_ones_own() {
    let asked = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&asked);
    // Markers are versions; a dependency of another major version is down.
    let major = |version: &(u32, u32)| version.0;
    let prices = Dependency::checked("prices", move |pulse: &Pulse<(u32, u32), u32>, it| {
        let (here, there) = (pulse.state_marker()?, it.checkpoint_marker()?);
        (major(here) > major(there)).then(|| major(here) - major(there))
    })
    .recovery_check(move |pulse, it| {
        *counted.lock().unwrap() += 1;
        it.checkpoint_marker().map(major) >= pulse.state_marker().map(major)
    });
    let mut c = Checkpoint::builder("orders")
        .dependency(prices)
        .open()
        .unwrap();
    c.check_pulse((1, 0), NO_STATE).unwrap();
    assert_eq!(c.check_pulse((1, 9), NO_STATE).unwrap(), None);
    assert_eq!(c.check_pulse((3, 0), NO_STATE).unwrap().unwrap().length, 2);
    assert!(c.heartbeat((2, 9)).unwrap().is_late);
    assert!(!c.heartbeat((3, 0)).unwrap().is_late);
    assert_eq!(
        *asked.lock().unwrap(),
        2,
        "asked at each heartbeat while it was down"
    );
    assert!(c.pulse().dependencies()[0].downtime_threshold().is_none());
}

#[test]
fn the_check_of_a_dependency_can_be_replaced_and_its_threshold_stays() {
    let twice = Dependency::new("prices").downtime_check(|pulse, it| {
        let behind = pulse.state_marker()?.since(*it.checkpoint_marker()?);
        (behind > *it.downtime_threshold()? * 2).then_some(behind)
    });
    let mut c = Checkpoint::builder("orders")
        .dependency(twice)
        .open()
        .unwrap();
    c.check_pulse(minute(0), NO_STATE).unwrap();
    assert_eq!(c.check_pulse(minute(20), NO_STATE).unwrap(), None);
    assert_eq!(
        c.check_pulse(minute(21), NO_STATE).unwrap().unwrap().length,
        minutes(21)
    );
}

/// A marker of zero is a marker; the reference takes it for none.
#[test]
fn the_first_marker_may_be_zero() {
    let mut c = Checkpoint::builder("orders")
        .dependency(Dependency::within("prices", 10u64))
        .open()
        .unwrap();
    c.check_pulse(0u64, NO_STATE).unwrap();
    assert_eq!(c.check_pulse(20, NO_STATE).unwrap().unwrap().length, 20);
}

#[derive(Debug, Clone)]
enum Step {
    Check(u64),
    Beat(usize, u64),
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const THRESHOLDS: [u64; 3] = [0, 5, 20];

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u64..60).prop_map(Step::Check),
        (0..NAMES.len(), 0u64..60).prop_map(|(index, marker)| Step::Beat(index, marker)),
    ]
}

/// What is to be, said once more in another way.
#[derive(Debug, Default)]
struct Model {
    dependent: Option<u64>,
    markers: [Option<u64>; 3],
    down: [bool; 3],
}

impl Model {
    /// The longest downtime.
    fn check(&mut self, marker: u64) -> Option<u64> {
        self.dependent = Some(marker);
        let mut longest = None;
        for (index, threshold) in THRESHOLDS.into_iter().enumerate() {
            let own = *self.markers[index].get_or_insert(marker);
            let behind = marker.saturating_sub(own);
            if behind > threshold {
                self.down[index] = true;
                longest = longest.max(Some(behind));
            }
        }
        longest
    }

    fn beat(&mut self, index: usize, marker: u64) {
        self.markers[index] = Some(marker);
        self.down[index] &= Some(marker) <= self.dependent;
    }
}

proptest! {
    #[test]
    fn random_histories_go_as_they_should(steps in proptest::collection::vec(any_step(), 0..60)) {
        let told = Told::default();
        let store = super::store::Memory::new();
        let open = || {
            let mut builder = Checkpoint::builder("orders").store(Arc::clone(&store) as _);
            for (name, threshold) in NAMES.iter().zip(THRESHOLDS) {
                builder = builder.dependency(Dependency::within(name, threshold));
            }
            builder.dependent(told.clone()).open().unwrap()
        };
        let mut c = open();
        let mut model = Model::default();
        let mut is_paused = false;
        for (number, step) in steps.into_iter().enumerate() {
            let before: Vec<State> = states(&c);
            match step {
                Step::Check(marker) => {
                    let fresh: Vec<bool> = model.markers.iter().map(Option::is_none).collect();
                    let found = c.check_pulse(marker, [("step", number)]).unwrap();
                    prop_assert_eq!(found.map(|it| it.length), model.check(marker));
                    for (index, state) in states(&c).into_iter().enumerate() {
                        // Nothing that the dependent does changes what was kept for a dependency.
                        prop_assert!(fresh[index] || state == before[index]);
                    }
                }
                Step::Beat(index, marker) => {
                    let beat = c.heartbeat_of(NAMES[index], marker).unwrap();
                    model.beat(index, marker);
                    prop_assert_eq!(beat.is_late, model.down[index]);
                    prop_assert_eq!(beat.dependency_marker, marker);
                    prop_assert_eq!(beat.dependent_marker, model.dependent);
                }
            }
            let down: Vec<bool> = c.pulse().dependencies().iter().map(Dependency::is_down).collect();
            prop_assert_eq!(&down[..], &model.down[..]);
            for what in told.take() {
                prop_assert_eq!(what.as_str(), if is_paused { "resume" } else { "pause" });
                is_paused = !is_paused;
            }
            prop_assert_eq!(is_paused, c.pulse().is_down());
            // Another process finds all of it.
            let again = open();
            drop(told.take());
            prop_assert_eq!(format!("{:?}", again.pulse()), format!("{:?}", c.pulse()));
        }
    }
}

fn states(c: &Checkpoint<u64, u64>) -> Vec<State> {
    let all = c.pulse().dependencies().iter();
    all.map(|it| it.checkpoint_state().clone()).collect()
}
