//! The reference's worked example, with its times and results.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use super::super::{Cause, Checkpoint, Dependency, Dependent, Downtime};
use super::store::Memory;
use crate::time::Timestamp;

fn at(time: &str) -> Timestamp {
    Timestamp::parse(&format!("2025-01-01T{time}:00Z")).unwrap()
}

/// What was done, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    pub(super) fn say(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Dependent for Told {
    fn pause(&mut self) -> Result<(), Cause> {
        self.say("pause");
        Ok(())
    }

    fn resume(&mut self) -> Result<(), Cause> {
        self.say("resume");
        Ok(())
    }
}

#[test]
fn the_worked_example_has_its_times_and_results() {
    let told = Told::default();
    let (down, up) = (told.clone(), told.clone());
    let store = Memory::new();
    let open = || {
        Checkpoint::builder("dependent")
            .dependency(Dependency::new("dependency"))
            .store(Arc::clone(&store) as _)
    };
    let mut c = open()
        .dependent(told.clone())
        .downtime_callback(move |_, dependency| {
            down.say(format!("{} is down", dependency.name()));
            Ok(())
        })
        .recovery_callback(move |pulse, dependency| {
            up.say(format!(
                "{} is back: from {} to {}",
                dependency.name(),
                dependency.checkpoint_state()["offset"],
                pulse.state()["offset"],
            ));
            Ok(())
        })
        .open()
        .unwrap();

    assert_eq!(c.check_pulse(at("10:00"), [("offset", 8)]).unwrap(), None);
    let marker = |c: &Checkpoint| {
        c.pulse()
            .dependency("dependency")
            .unwrap()
            .checkpoint_marker()
            .copied()
    };
    assert_eq!(marker(&c), Some(at("10:00")));

    let beat = c.heartbeat(at("10:30")).unwrap();
    assert!(!beat.is_late);
    assert_eq!(beat.dependent_marker, Some(at("10:00")));
    assert_eq!(beat.dependency_marker, at("10:30"));
    assert_eq!(told.take(), [""; 0]);

    let downtime = c.check_pulse(at("11:00"), [("offset", 9)]).unwrap();
    assert_eq!(
        downtime,
        Some(Downtime {
            dependency: "dependency".into(),
            length: Duration::from_secs(1800),
        })
    );
    assert!(c.pulse().is_down());
    assert_eq!(told.take(), ["pause", "dependency is down"]);

    let beat = c.heartbeat(at("10:45")).unwrap();
    assert!(beat.is_late && c.pulse().is_down());
    assert_eq!(told.take(), [""; 0]);
    // It stays so over a restart, which calls nobody back.
    let again = open().dependent(told.clone()).open().unwrap();
    assert_eq!(told.take(), ["pause"]);
    assert!(again.pulse().is_down());
    assert_eq!(marker(&again), Some(at("10:45")));
    assert_eq!(again.pulse().state()["offset"], json!(9));

    let beat = c.heartbeat(at("11:01")).unwrap();
    assert!(!beat.is_late && !c.pulse().is_down());
    assert_eq!(told.take(), ["dependency is back: from 8 to 9", "resume"]);
}

#[test]
fn exactly_the_threshold_is_not_down_and_exactly_level_has_not_caught_up() {
    let mut c = Checkpoint::builder("dependent")
        .dependency(Dependency::new("dependency"))
        .open()
        .unwrap();
    let none: [(&str, i64); 0] = [];
    c.check_pulse(at("10:00"), none).unwrap();
    assert_eq!(c.check_pulse(at("10:10"), none).unwrap(), None);
    let ten = Duration::from_secs(600);
    assert_eq!(
        c.pulse()
            .dependency("dependency")
            .unwrap()
            .downtime_threshold(),
        Some(&ten)
    );
    let minutes = Duration::from_secs(660);
    assert_eq!(
        c.check_pulse(at("10:11"), none).unwrap().unwrap().length,
        minutes
    );
    assert!(c.heartbeat(at("10:11")).unwrap().is_late);
    assert!(!c.heartbeat(at("10:12")).unwrap().is_late);
}
