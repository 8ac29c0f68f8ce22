//! `queues pause|drain|resume`, `remove` and `clear`.

use bulkhead_tests::cli::Place;

#[test]
fn a_draining_queue_refuses_a_submission_with_code_5_and_says_how_to_open_it() {
    let place = Place::new();
    let _ = place.submit(&["add"]);
    let ran = place
        .run(&["queues", "drain", "default", "--json"])
        .succeeds();
    assert_eq!(ran.json()["gate"], "draining");
    let _ = place
        .run(&["submit", "add"])
        .ends_with(5)
        .says(&["draining", "queues resume default"]);
    let listed = place.run(&["queues", "--json"]).succeeds().json();
    assert_eq!(
        (&listed[0]["gate"], &listed[0]["ready"]),
        (&"draining".into(), &1.into())
    );
    let ran = place.run(&["queues", "resume", "default"]).succeeds();
    assert_eq!(ran.stdout, "queue default is open, it was draining\n");
    let _ = place.submit(&["add"]);
    let ran = place.run(&["queues", "pause", "new.one"]).succeeds();
    assert_eq!(ran.stdout, "queue new.one is paused, it was open\n");
    let _ = place.run(&["queues", "pause", ""]).ends_with(2);
    let _ = place.run(&["queues", "--json", "pause", "a"]).ends_with(2);
}

#[test]
fn a_waiting_job_is_removed_only_by_force() {
    let place = Place::new();
    let uuid = place.submit(&["add"]);
    let _ = place
        .run(&["remove", &uuid])
        .ends_with(5)
        .says(&["SUBMITTED", "--force"]);
    let _ = place.run(&["revoke", &uuid]).succeeds();
    let _ = place.run(&["remove", &uuid]).succeeds();
    let _ = place.run(&["remove", &uuid]).ends_with(3);
    let waiting = place.submit(&["add"]);
    let _ = place.run(&["remove", "--force", &waiting]).succeeds();
    let _ = place.run(&["status", &waiting]).ends_with(3);
    let _ = place.run(&["remove"]).ends_with(2);
}

#[test]
fn a_namespace_is_cleared_only_by_who_says_so() {
    let place = Place::new();
    let uuid = place.submit(&["add"]);
    let _ = place
        .run(&["clear"])
        .ends_with(5)
        .says(&["1 jobs", "--yes"]);
    let _ = place.run(&["status", &uuid]).succeeds();
    assert_eq!(
        place.run(&["clear", "--yes"]).succeeds().stdout,
        "1 jobs forgotten\n"
    );
    let _ = place.run(&["status", &uuid]).ends_with(3);
}
