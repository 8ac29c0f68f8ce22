//! Dependency checkpoints in a store: what is kept, who shares it, and calls that fail.

use std::sync::Arc;
use std::time::Duration;

use super::super::seal::seal;
use super::super::{Cause, Checkpoint, CheckpointBuilder, CheckpointError, Dependency, Dependent};
use super::example::Told;
use super::store::{How, Memory};
use crate::time::Timestamp;

fn minute(minute: u64) -> Timestamp {
    Timestamp::from_millis(1_735_725_600_000).plus(Duration::from_secs(minute * 60))
}

fn on(store: &Arc<Memory>) -> CheckpointBuilder {
    Checkpoint::builder("orders")
        .dependency(Dependency::new("prices"))
        .store(Arc::clone(store) as _)
}

#[test]
fn it_is_kept_under_a_stable_name_with_a_prefix() {
    let store = Memory::new();
    let mut c = on(&store).open().unwrap();
    assert_eq!(store.written().len(), 0, "opening reads only");
    c.check_pulse(minute(0), [("offset", 1)]).unwrap();
    let body = String::from_utf8(store.body("_orders").unwrap()).unwrap();
    for name in [
        "state",
        "state_marker",
        "checkpoints",
        "checkpoint_state",
        "checkpoint_marker",
    ] {
        assert!(body.contains(&format!("\"{name}\"")), "{body}");
    }
    let mut c = on(&store).cache_key_prefix("shop/").open().unwrap();
    assert!(c.pulse().state_marker().is_none());
    c.check_pulse(minute(0), [("offset", 1)]).unwrap();
    assert!(store.body("shop/orders").is_some());
}

#[test]
fn dependencies_that_come_and_go_leave_the_others_as_they_were() {
    let store = Memory::new();
    let mut c = on(&store)
        .dependency(Dependency::new("stock"))
        .open()
        .unwrap();
    c.check_pulse(minute(0), [("offset", 1)]).unwrap();
    c.heartbeat_of("prices", minute(3)).unwrap();
    let c = on(&store)
        .dependency(Dependency::new("weather"))
        .open()
        .unwrap();
    let marker = |name| c.pulse().dependency(name).unwrap().checkpoint_marker();
    assert_eq!(
        (marker("prices"), marker("weather")),
        (Some(&minute(3)), None)
    );
}

#[test]
fn what_is_no_such_checkpoint_is_an_error_and_left_alone() {
    let store = Memory::new();
    on(&store)
        .open()
        .unwrap()
        .check_pulse(minute(0), [("offset", 1)])
        .unwrap();
    let good = store.body("_orders").unwrap();
    // Torn, of another kind, and one whose markers are of another type.
    for body in [
        good[..good.len() - 3].to_vec(),
        seal("offset", b"{}"),
        seal(
            "dependencies",
            b"{\"state\":{},\"state_marker\":\"x\",\"checkpoints\":[]}",
        ),
    ] {
        store.spoil("_orders", &body);
        let error = on(&store).open().unwrap_err();
        assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("`memory/_orders`"), "{error}");
        assert_eq!(store.body("_orders").unwrap(), body);
    }
}

/// A whole story: down at 20, late at 10, back at 21. Each call is repeated until it works.
fn story(store: &Arc<Memory>, told: &Told) -> Checkpoint {
    fn again<T>(call: &mut dyn FnMut() -> Result<T, CheckpointError>) -> T {
        for _ in 0..4 {
            match call() {
                Ok(done) => return done,
                Err(error) => assert!(matches!(error, CheckpointError::Store(_)), "{error}"),
            }
        }
        panic!("it never works");
    }
    let (down, up) = (told.clone(), told.clone());
    let mut c = again(&mut || {
        let (down, up) = (down.clone(), up.clone());
        on(store)
            .dependent(told.clone())
            .downtime_callback(move |_, _| {
                down.say("down");
                Ok(())
            })
            .recovery_callback(move |_, _| {
                up.say("up");
                Ok(())
            })
            .open()
    });
    again(&mut || c.check_pulse(minute(0), [("offset", 0)]));
    let length = again(&mut || c.check_pulse(minute(20), [("offset", 20)]));
    assert_eq!(length.unwrap().length, Duration::from_secs(1200));
    assert!(again(&mut || c.heartbeat(minute(10))).is_late);
    assert!(!again(&mut || c.heartbeat(minute(21))).is_late);
    c
}

#[test]
fn whichever_call_fails_the_same_call_goes_on_and_nobody_is_left_untold() {
    let (whole, told) = (Memory::new(), Told::default());
    let c = story(&whole, &told);
    let end = format!("{:?}", c.pulse());
    assert_eq!(told.take(), ["pause", "down", "up", "resume"]);
    for n in 0..whole.calls() {
        for how in [How::Before, How::After] {
            let (store, told) = (Memory::failing(n, how), Told::default());
            let c = story(&store, &told);
            assert_eq!(format!("{:?}", c.pulse()), end, "call {n} fails {how:?}");
            let mut all = told.take();
            // It goes on in the end, however often it was told so.
            let mut switches = all
                .iter()
                .filter(|it| ["pause", "resume"].contains(&it.as_str()));
            assert_eq!(
                switches.next_back().unwrap(),
                "resume",
                "call {n} fails {how:?}: {all:?}"
            );
            all.sort();
            all.dedup();
            assert_eq!(
                all,
                ["down", "pause", "resume", "up"],
                "call {n} fails {how:?}"
            );
            assert_eq!(store.body("_orders"), whole.body("_orders"));
        }
    }
}

#[test]
fn a_step_that_the_store_refuses_has_not_happened() {
    // The calls: read, write, write.
    let store = Memory::failing(2, How::Before);
    let mut c = on(&store).open().unwrap();
    c.check_pulse(minute(0), [("offset", 0)]).unwrap();
    assert!(c.check_pulse(minute(1), [("offset", 1)]).is_err());
    assert_eq!(c.pulse().state_marker(), Some(&minute(0)));
    assert_eq!(c.pulse().state()["offset"], 0);
    c.check_pulse(minute(1), [("offset", 1)]).unwrap();
    assert_eq!(c.pulse().state_marker(), Some(&minute(1)));
}

#[test]
fn two_processes_can_share_one_and_neither_acts_on_what_was() {
    let (store, told) = (Memory::new(), Told::default());
    let down = told.clone();
    let mut dependent = on(&store)
        .dependent(told.clone())
        .downtime_callback(move |_, _| {
            down.say("down");
            Ok(())
        })
        .open()
        .unwrap();
    let mut dependency = on(&store).open().unwrap();
    dependent.check_pulse(minute(0), [("offset", 0)]).unwrap();
    dependency.heartbeat(minute(59)).unwrap();
    // This one has last seen a heartbeat an hour ago.
    assert_eq!(
        dependent.check_pulse(minute(60), [("offset", 60)]).unwrap(),
        None
    );
    assert_eq!(told.take(), [""; 0]);
    assert!(
        dependent
            .check_pulse(minute(70), [("offset", 70)])
            .unwrap()
            .is_some()
    );
    assert_eq!(told.take(), ["pause", "down"]);
    assert!(dependency.heartbeat(minute(65)).unwrap().is_late);
    assert!(!dependency.heartbeat(minute(71)).unwrap().is_late);
    // Whoever is paused makes no step, and looks.
    dependent.refresh().unwrap();
    assert_eq!(told.take(), ["resume"]);
    assert_eq!(
        format!("{:?}", dependent.pulse()),
        format!("{:?}", dependency.pulse())
    );
}

/// Refuses its first command.
#[derive(Debug)]
struct Stubborn(Told, bool);

impl Dependent for Stubborn {
    fn pause(&mut self) -> Result<(), Cause> {
        if std::mem::take(&mut self.1) {
            return Err("not now".into());
        }
        self.0.pause()
    }

    fn resume(&mut self) -> Result<(), Cause> {
        self.0.resume()
    }
}

#[test]
fn a_dependent_or_a_callback_that_fails_is_asked_again() {
    let (store, told) = (Memory::new(), Told::default());
    let down = told.clone();
    let mut refuses = true;
    let mut c = on(&store)
        .dependent(Stubborn(told.clone(), true))
        .downtime_callback(move |_, _| {
            if std::mem::take(&mut refuses) {
                return Err("nor I".into());
            }
            down.say("down");
            Ok(())
        })
        .open()
        .unwrap();
    c.check_pulse(minute(0), [("offset", 0)]).unwrap();
    let mut check = || c.check_pulse(minute(20), [("offset", 20)]);
    let error = check().unwrap_err();
    assert!(error.to_string().contains("paused: not now"), "{error}");
    let error = check().unwrap_err();
    assert!(
        error.to_string().contains("`prices` failed: nor I"),
        "{error}"
    );
    assert!(check().unwrap().is_some());
    assert_eq!(told.take(), ["pause", "down"]);
}
