//! What is typed wrong, and what is asked of stores that are not there.

use bulkhead_tests::cli::{Place, Ran};

const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

#[test]
fn help_goes_to_standard_output_and_names_the_exit_codes() {
    let place = Place::new();
    for command in [
        "", "run", "submit", "status", "result", "revoke", "jobs", "dlq", "fleet", "doctor",
        "migrate",
    ] {
        let arguments: Vec<_> = [command, "--help"]
            .into_iter()
            .filter(|a| !a.is_empty())
            .collect();
        let ran = place.run(&arguments).succeeds();
        assert!(ran.stdout.contains("124  waited too long"), "{command}");
        assert_eq!(ran.stderr, "", "{command}");
    }
}

#[test]
fn wrong_usage_ends_with_code_2_and_a_way_out_and_leaves_no_store() {
    let place = Place::new();
    let wrong: [(&[&str], &[&str]); 17] = [
        (&["submit"], &["<TASK>"]),
        (
            &["submit", "add", "--args", "{}"],
            &["must be a JSON array, got an object"],
        ),
        (&["submit", "add", "--args", "[1,"], &["--args", "not JSON"]),
        (
            &["submit", "add", "--kwargs", "[]"],
            &["must be a JSON object, got an array"],
        ),
        (
            &["submit", "add", "--limit", "cpu-time=10ms"],
            &["--limit", "at least `1s`"],
        ),
        (
            &["submit", "add", "--metadata", "1"],
            &["must be a JSON object, got a number"],
        ),
        (&["submit", "add", "--delay", "5"], &["`250ms`"]),
        (
            &[
                "submit",
                "add",
                "--delay",
                "1s",
                "--at",
                "2030-01-31T09:30:00Z",
            ],
            &["cannot be used with"],
        ),
        (&["submit", "add", "--at", "tomorrow"], &["2030-01-31"]),
        (
            &["submit", "add", "--priority", "-1"],
            &["lower runs first"],
        ),
        (&["submit", "add", "--timeout", "0"], &["timeout is zero"]),
        (&["submit", "a b"], &["`a b`"]),
        (&["submit", "add", "--max-retries", "lots"], &["`none`"]),
        (&["submit", "add", "--wait-timeout", "1s"], &["--wait"]),
        (&["submit", "add", "--count", "0"], &["--count"]),
        (
            &["submit", "add", "--uuid", "x"],
            &["copy it as `submit` printed it"],
        ),
        (&["--burst", "submit", "add"], &["--burst belongs to `run`"]),
    ];
    for (arguments, words) in wrong {
        let _ = place.run(arguments).ends_with(2).says(words);
    }
    let _ = place
        .run(&["status", "x"])
        .ends_with(2)
        .says(&["not a uuid"]);
    let _ = place
        .run(&["jobs", "--status", "gone"])
        .ends_with(2)
        .says(&["RETRYING"]);
    let _ = place.run(&["dlq", "retry"]).ends_with(2).says(&["--all"]);
    let _ = place.run(&["dlq", "drop", NOBODY, "--all"]).ends_with(2);
    let _ = place
        .run(&["dlq", "ls", "--cause", "x"])
        .ends_with(2)
        .says(&["out-of-memory"]);
    let _ = place
        .run(&["--sandbox", "tight"])
        .ends_with(2)
        .says(&["none, process, strict", "[profile.tight]"]);
    let _ = place.run(&["frobnicate"]).ends_with(2);
    assert!(!place.store().exists());
}

#[test]
fn looking_at_jobs_makes_no_store() {
    let place = Place::new();
    let commands: [&[&str]; 8] = [
        &["status", NOBODY],
        &["result", NOBODY],
        &["revoke", NOBODY],
        &["jobs"],
        &["queues"],
        &["tasks"],
        &["dlq", "ls"],
        &["fleet"],
    ];
    for arguments in commands {
        let _ = place
            .run(arguments)
            .ends_with(4)
            .says(&["error: ", "store.db"]);
        assert!(!place.store().exists(), "{arguments:?}");
    }
}

#[test]
fn a_password_in_an_argument_is_refused_and_not_repeated() {
    let place = Place::new();
    let url = "redis://me:s3cret@host:6379";
    let ran = place.run(&["--store", url, "jobs"]).ends_with(2);
    let ran = ran.says(&["BULKHEAD_STORE", "--store-file"]);
    assert!(!ran.stderr.contains("s3cret"));
}

#[test]
fn a_store_that_no_backend_knows_gives_code_4_without_its_url() {
    let place = Place::new();
    let mut command = place.command(&["jobs"]);
    command.env("BULKHEAD_STORE", "nosuch://me:s3cret@host");
    let ran = Ran::of(command)
        .ends_with(4)
        .says(&["`nosuch`", "sqlite:PATH"]);
    assert!(!ran.stderr.contains("s3cret"));
}

#[test]
fn unknown_words_for_the_probes_are_refused() {
    let place = Place::new();
    let mut command = place.command(&["--child", "/bin/true"]);
    command.env("BULKHEAD_WITHOUT", "cgruop");
    let _ = Ran::of(command)
        .ends_with(2)
        .says(&["`cgruop`", "landlock"]);
}
