//! Who a task is and what it sees of the world.

use std::fs;
use std::path::Path;

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

use crate::parts::{Who, once, place_of, submit, with};

fn hostile<'a>(place: &'a Place, arguments: &[&str]) -> Supervisor<'a> {
    Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(arguments)
        .env("LANG", "C.UTF-8")
        .env("LC_TIME", "C")
        .env("TZ", "UTC")
        .env("SECRET", "hidden")
        .env("SHOWN", "copied")
        .start()
}

#[test]
fn a_task_sees_its_own_few_variables_and_no_others() {
    for (who, spawn) in [
        (Who::Root, "fork"),
        (Who::Root, "exec"),
        (Who::User, "fork"),
        (Who::User, "exec"),
    ] {
        let place = place_of(who);
        let job = submit(&place, &[once("environment", json!([]))]).remove(0);
        let arguments = ["--spawn", spawn, "--env", "GIVEN=value", "--env", "SHOWN"];
        let mut supervisor = hostile(&place, &arguments);
        let seen = place.returned(&job);
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
        let names: Vec<_> = seen.as_object().unwrap().keys().cloned().collect();
        let expected = [
            "GIVEN", "HOME", "LANG", "LC_TIME", "PATH", "SHOWN", "TMPDIR", "TZ",
        ];
        assert_eq!(names, expected, "{seen:#}");
        assert_eq!(
            (&seen["GIVEN"], &seen["SHOWN"]),
            (&json!("value"), &json!("copied"))
        );
        assert_eq!(seen["HOME"], seen["TMPDIR"]);
    }
}

#[test]
fn home_is_private_and_what_is_in_it_is_gone_when_the_verdict_can_be_read() {
    for who in [Who::Root, Who::User] {
        let place = place_of(who);
        let job = submit(&place, &[once("who_am_i", json!([]))]).remove(0);
        let mut supervisor = hostile(&place, &["--processes", "1"]);
        let seen = place.returned(&job);
        let file = Path::new(seen["home"].as_str().unwrap()).join("mine");
        // Not even as something that may not be looked at.
        assert!(!file.try_exists().unwrap(), "{seen:#}");
        assert_eq!(seen["home_mode"], 0o700, "{seen:#}");
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    }
}

/// An account of this host whose group has another number than its user: its name and both.
fn account_of_another_group() -> Option<(String, u32, u32)> {
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let mut numbers = fields.skip(1).map_while(|field| field.parse().ok());
        let (uid, gid): (u32, u32) = (numbers.next()?, numbers.next()?);
        (uid != gid).then_some((name, uid, gid))
    })
}

#[test]
fn a_user_that_is_named_has_the_group_of_its_account_and_so_has_its_home() {
    let Some((name, uid, gid)) = account_of_another_group() else {
        return;
    };
    for profile in ["process", "strict"] {
        let place = place_of(Who::Root);
        let line = with(once("who_am_i", json!([])), "profile", profile);
        // The second comes from a warden, where there is one.
        let jobs = submit(&place, &[line.clone(), line]);
        let arguments = ["--task-user", &name, "--processes", "1"];
        let mut supervisor = hostile(&place, &arguments);
        for job in &jobs {
            let seen = place.returned(job);
            assert_eq!(
                (&seen["uid"], &seen["gid"], &seen["home_gid"]),
                (&json!(uid), &json!(gid), &json!(gid)),
                "{profile}: {seen:#}"
            );
        }
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    }
}

/// What two tasks that live at the same time say of themselves.
fn two_at_once(who: Who) -> (Value, Value) {
    let place = place_of(who);
    let go = place.path("go");
    let line = once("who_am_i", json!([go]));
    let jobs = submit(&place, &[line.clone(), line]);
    let mut supervisor = hostile(&place, &["--processes", "2"]);
    for job in &jobs {
        let _ = place.running(job);
    }
    fs::write(&go, "").unwrap();
    let seen = (place.returned(&jobs[0]), place.returned(&jobs[1]));
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    seen
}

#[test]
fn two_living_tasks_share_neither_user_nor_home() {
    let (one, other) = two_at_once(Who::Root);
    assert_ne!(one["home"], other["home"]);
    if nix::unistd::geteuid().is_root() {
        assert_ne!(one["uid"], other["uid"]);
        for seen in [&one, &other] {
            assert!(seen["uid"].as_u64().unwrap() >= 50_000, "{seen:#}");
        }
    }
}

const FILE: &str = r#"
[profile.own]
user = "own"
[profile.kept]
user = "keep"
[profile.named]
user = "daemon"
"#;

#[test]
fn whom_tasks_run_as_is_said_by_their_profile_also_against_the_option() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let daemon = nix::unistd::User::from_name("daemon").unwrap().unwrap();
    for option in ["auto", "keep", "nobody"] {
        let place = place_of(Who::Root);
        let file = place.file("users.toml", FILE);
        let line = |task: &str| with(once("who_am_i", json!([])), "queue", task);
        let text = format!(
            "{FILE}\n[queue.own]\nprofile = \"own\"\n[queue.kept]\nprofile = \"kept\"\n\
             [queue.named]\nprofile = \"named\"\n"
        );
        fs::write(&file, text).unwrap();
        let jobs = submit(&place, &["own", "kept", "named"].map(line));
        let file = file.to_str().unwrap();
        let arguments = ["--config", file, "--task-user", option];
        let queues = ["--queues", "own,kept,named"];
        let mut supervisor = hostile(&place, &[&arguments[..], &queues].concat());
        let uids: Vec<_> = jobs
            .iter()
            .map(|job| place.returned(job)["uid"].as_u64().unwrap())
            .collect();
        assert!(uids[0] >= 50_000, "{option}: {uids:?}");
        assert_eq!(uids[1..], [0, daemon.uid.as_raw().into()], "{option}");
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    }
}

#[test]
fn a_user_that_cannot_be_had_is_an_error_at_start_that_names_it() {
    let lost = "[profile.p]\nuser = \"no-such-user\"\n";
    let own = "[profile.p]\nuser = \"own\"\n";
    let cases = [
        (Who::Root, lost, "no-such-user"),
        (Who::User, lost, "needs root"),
        (Who::User, own, "user = \"own\""),
    ];
    for (who, text, said) in cases {
        let place = place_of(who);
        let file = place.file("users.toml", text);
        let mut supervisor = hostile(&place, &["--config", file.to_str().unwrap()]);
        assert_eq!(supervisor.code(), 2, "{text}: {}", supervisor.log());
        let log = supervisor.log();
        assert!(log.contains(said) && log.contains("`p`"), "{text}: {log}");
    }
}

#[test]
fn tasks_of_an_ordinary_user_run_as_that_user_in_homes_of_their_own() {
    let (one, other) = two_at_once(Who::User);
    assert_ne!(one["home"], other["home"]);
    assert_ne!(one["uid"], 0);
    assert_eq!(one["uid"], other["uid"]);
}
