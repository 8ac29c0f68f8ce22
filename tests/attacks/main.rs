//! Attacks by tasks, one by one, under each profile, by root's supervisor and by an ordinary
//! user's: what each comes to, that the supervisor and the neighbours go on, and that nothing of an
//! attempt is left when its verdict can be read.
//!
//! All of it happens in a box: a pid namespace that dies with its first process, and few processes.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails at once; there is nobody to return an error to"
)]

mod crowd;
mod docs;
mod stage;
mod table;

use bulkhead_tests::cli::Place;
use serde_json::Value;

use stage::{Stage, Who};
use table::{ALL, Attack, Came, Expected};

/// Makes all attacks under a profile.
fn suffers(profile: &'static str, who: Who) {
    let Some(stage) = Stage::set(profile, who) else {
        return;
    };
    let mut wrong = Vec::new();
    for attack in ALL {
        let status = stage.attacked(attack.name);
        let (came, expected) = (outcome(stage.place, &status), attack.expected(profile, who));
        if !expected.allows(&came) {
            wrong.push(format!("{}: {came:?} instead of {expected:?}", attack.name));
        }
        if let Some(left) = stage.left_behind() {
            wrong.push(format!("{}: left {left}", attack.name));
        }
    }
    stage.goes_on();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What an attack came to, by its job's status.
fn outcome(place: &Place, status: &Value) -> Came {
    if status["status"] != "SUCCEEDED" {
        let cause = status["cause"].as_str().unwrap_or_default();
        let name = status["error"]["name"].as_str().unwrap_or_default();
        let text = status["error"]["text"].as_str().unwrap_or_default();
        return Came::Held(format!("{cause} {name}: {text}"));
    }
    let uuid = status["uuid"].as_str().unwrap_or_default();
    let result = place.run(&["result", uuid]).succeeds().json();
    match (&result["gained"], &result["refused"]) {
        (Value::String(gained), _) => Came::Gained(gained.clone()),
        (_, Value::String(refused)) => Came::Refused(refused.clone()),
        other => panic!("an attack says what it came to, not {other:?}"),
    }
}

macro_rules! cells {
    ($($name:ident: $profile:literal, $who:expr;)*) => {$(
        #[test] fn $name() { suffers($profile, $who); }
    )*};
}

cells! {
    under_none_by_root: "none", Who::Root;
    under_none_by_a_user: "none", Who::User;
    under_process_by_root: "process", Who::Root;
    under_process_by_a_user: "process", Who::User;
    under_strict_by_root: "strict", Who::Root;
    under_strict_by_a_user: "strict", Who::User;
}

#[test]
fn there_are_attacks_of_all_kinds_and_strict_withstands_all_of_them() {
    assert!(ALL.len() >= 45, "{}", ALL.len());
    let mut names: Vec<_> = ALL.iter().map(|attack: &Attack| attack.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ALL.len(), "a name stands for one attack");
    for attack in ALL {
        for who in [Who::Root, Who::User] {
            let expected = attack.expected("strict", who);
            assert!(
                !expected.allows(&Came::Gained(String::new())),
                "{}: {expected:?}",
                attack.name
            );
        }
    }
    assert!(Expected::Open.allows(&Came::Gained(String::new())));
}
