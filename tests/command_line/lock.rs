//! `supervisor lock`.

use bulkhead_shared::backend::{Options, open};
use bulkhead_shared::{LockName, LockOwner};
use bulkhead_tests::cli::Place;
use serde_json::json;

#[test]
fn locks_are_listed_and_freed_by_hand() {
    let place = Place::new();
    let _ = place.submit(&["add"]);
    assert_eq!(
        place.run(&["lock", "ls", "--json"]).succeeds().json(),
        json!([])
    );
    let _ = place.run(&["lock", "ls"]).succeeds().says(&["no locks"]);
    let store = open(&Options::new(&place.url())).unwrap();
    let (name, owner) = (
        LockName::new("report").unwrap(),
        LockOwner::new("ada").unwrap(),
    );
    store.locks.acquire(&name, &owner, None).unwrap();
    let listed = place.run(&["lock", "ls", "--json"]).succeeds().json();
    let held = store.locks.holder(&name).unwrap().unwrap();
    assert_eq!(
        listed,
        json!([{"name": "report", "owner": "ada", "fence": held.fence,
            "since": held.since.to_string(), "left_ms": null}])
    );
    let human = place.run(&["lock", "ls"]).succeeds();
    assert!(human.stdout.contains("no end"), "{human:?}");

    let _ = place.run(&["lock", "release", "report"]).ends_with(2);
    let refused = ["lock", "release", "report", "--owner", "eve"];
    let _ = place.run(&refused).ends_with(5).says(&["`ada`", "--force"]);
    assert!(store.locks.holder(&name).unwrap().is_some());
    let _ = place
        .run(&["lock", "release", "report", "--owner", "ada"])
        .succeeds();
    assert!(store.locks.holder(&name).unwrap().is_none());
    let unknown = ["lock", "release", "report", "--force"];
    let _ = place.run(&unknown).ends_with(3).says(&["nobody holds"]);
    let _ = place
        .run(&["lock", "release", "a b", "--force"])
        .ends_with(2)
        .says(&["`a b`"]);
}
