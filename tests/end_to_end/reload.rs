//! A configuration file that changes under a running supervisor.

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::Supervisor;

fn logged(supervisor: &mut Supervisor<'_>, words: &[&str]) {
    let log = supervisor.log_file().to_owned();
    supervisor.wait_for(&words.join(" "), |_| {
        let log = std::fs::read_to_string(&log).unwrap();
        let is_it = |line: &str| words.iter().all(|word| line.contains(word));
        log.lines().any(is_it).then_some(())
    });
}

#[test]
fn a_hangup_takes_what_can_change_and_names_what_cannot_and_no_work_is_dropped() {
    let place = Place::new();
    let _ = place.file(
        "bulkhead.toml",
        "queues = [\"a\"]\nprocesses = 1\nlog-format = \"json\"\n",
    );
    let mut supervisor = Supervisor::start(&place, &[]);
    logged(&mut supervisor, &["serving"]);
    let running = place.submit(&["sleep", "--queue", "a", "--args", "[600]"]);
    let _ = place.running(&running);

    let text =
        "queues = [\"a\", \"b\"]\nprocesses = 2\nlog-format = \"json\"\nlog-level = \"debug\"\n";
    let _ = place.file("bulkhead.toml", text);
    supervisor.signal(libc::SIGHUP);
    logged(&mut supervisor, &["configuration changed", "queues"]);
    logged(&mut supervisor, &["needs a restart", "processes"]);
    logged(&mut supervisor, &["serving", "a,b"]);
    assert_eq!(place.status(&running)["status"], "RUNNING");

    // What is wrong changes nothing.
    let _ = place.file("bulkhead.toml", "queues = [\"c\"]\ngrace = 1\n");
    supervisor.signal(libc::SIGHUP);
    logged(
        &mut supervisor,
        &["not read again", "bulkhead.toml:2: `grace`"],
    );

    let _ = place.file("bulkhead.toml", text);

    // The one process is busy in queue a; the new queue is served when it is free.
    let later = place.submit(&["add", "--queue", "b", "--args", "[2, 3]"]);
    let _ = place.run(&["revoke", &running]).succeeds();
    let ran = place.run(&["result", &later, "--wait-timeout", "50s"]);
    assert_eq!(ran.succeeds().line(), "5");
    assert_eq!(supervisor.stop(), 0);
}

#[test]
fn a_hangup_gives_a_task_another_profile_if_that_was_declared_at_the_start() {
    let place = Place::new();
    let file = |queues: &str, profile: &str, more: &str| {
        let text = format!(
            "queues = [{queues}]\nlog-format = \"json\"\n[profile.known]\ninherits = \"none\"\n\
             {more}[task.add]\nprofile = \"{profile}\"\n"
        );
        let _ = place.file("bulkhead.toml", &text);
    };
    // Queues that are new tell that what was read with them is in force.
    let isolation = |queue: &str| {
        let uuid = place.submit(&["add", "--queue", queue, "--args", "[2, 3]"]);
        let ended = place.ended(&uuid);
        ended["isolation"].as_str().unwrap().to_owned()
    };
    file("\"a\"", "none", "");
    let mut supervisor = Supervisor::start(&place, &[]);
    logged(&mut supervisor, &["serving"]);
    let first = isolation("a");
    assert!(first.starts_with("none: "), "{first}");

    file("\"a\", \"b\"", "known", "");
    supervisor.signal(libc::SIGHUP);
    logged(
        &mut supervisor,
        &["configuration changed", "task.add.profile", "known"],
    );
    let second = isolation("b");
    assert!(second.starts_with("known: "), "{second}");

    let late = "[profile.late]\ninherits = \"none\"\n";
    file("\"a\", \"b\", \"c\"", "late", late);
    supervisor.signal(libc::SIGHUP);
    logged(
        &mut supervisor,
        &["needs a restart", "task.add.profile", "late"],
    );
    let third = isolation("c");
    assert!(third.starts_with("known: "), "{third}");
    assert_eq!(supervisor.stop(), 0);
}
