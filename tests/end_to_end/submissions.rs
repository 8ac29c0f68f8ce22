//! Tasks that submit others, and read what those return.

use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

use crate::parts::{ended, once, submit, with};

fn hostile<'a>(place: &'a Place, arguments: &[&str]) -> Supervisor<'a> {
    Supervisor::at(place)
        .tasks_of("hostile-child")
        .args(["--processes", "6"])
        .args(arguments)
        .start()
}

fn texts(told: &Value) -> Vec<&str> {
    let told = told.as_array().unwrap();
    told.iter().map(|text| text.as_str().unwrap()).collect()
}

fn tasks_have_others_work(place: &Place) {
    let lines = [
        once("apart", json!([2, 3])),
        once("apart_async", json!([4, 5])),
        once("apart_async", json!([6, 7])),
        once("apart_in_steps", json!([])),
    ];
    let jobs = submit(place, &lines);
    let mut supervisor = hostile(place, &["--groups", "1"]);
    for (job, sum) in jobs.iter().zip([5, 9, 13, 12]) {
        let status = place.ended(job);
        assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
        assert_eq!(place.returned(job), sum);
    }
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
}

#[test]
fn tasks_submit_others_and_return_their_results_on_sqlite() {
    tasks_have_others_work(&Place::new());
}

#[test]
fn tasks_submit_others_and_return_their_results_on_redis() {
    let server = RedisServer::start(&[]);
    tasks_have_others_work(&Place::with_store(&server.url()));
}

#[test]
fn a_message_with_an_id_is_submitted_once_however_often_its_task_is_tried() {
    let place = Place::new();
    let uuid = bulkhead_shared::Uuid::now_v7().to_string();
    let line = json!({
        "task": "apart_again", "args": [uuid], "max_retries": 1, "backoff": "10ms",
    });
    let jobs = submit(&place, &[line]);
    let mut supervisor = hostile(&place, &[]);
    let status = place.ended(&jobs[0]);
    assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
    let returned = place.returned(&jobs[0]);
    assert_eq!(returned[0], 5);
    let told = returned[1].as_str().unwrap();
    assert!(told.contains("other arguments"), "{told}");
    let listed = place.run(&["jobs", "--json"]).succeeds().json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed:#}");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_task_is_told_of_its_own_flow_alone() {
    let place = Place::new();
    let other = submit(&place, &[once("adder", json!([40, 2]))]);
    let mut supervisor = hostile(&place, &[]);
    let _ = ended(&place, &other);
    let jobs = submit(&place, &[once("peek", json!([other[0]]))]);
    let status = place.ended(&jobs[0]);
    assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
    let told = place.returned(&jobs[0]);
    let told = texts(&told);
    assert!(told[0].contains("own flow"), "{told:#?}");
    assert!(told[1].contains("own flow"), "{told:#?}");
    assert!(told[2].contains("failed: crash"), "{told:#?}");
    assert!(told[3].contains("SUBMITTED"), "{told:#?}");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_task_submits_what_its_profile_names_and_nothing_else_in_any_place_of_a_flow() {
    let place = Place::new();
    let file = place.file(
        "profiles.toml",
        "[profile.courier]\ninherits = \"strict\"\nmay = [\"submit(mail, adder)\"]\n",
    );
    let lines = [
        with(once("courier", json!([])), "profile", "courier"),
        with(once("courier", json!([])), "profile", "strict"),
        with(once("apart", json!([1, 1])), "profile", "courier"),
    ];
    let jobs = submit(&place, &lines);
    let mut supervisor = hostile(&place, &["--config", file.to_str().unwrap()]);
    let told = ended(&place, &jobs);
    assert_eq!(told[0]["status"], "SUCCEEDED", "{:#}", told[0]);
    let told = place.returned(&jobs[0]);
    let told = texts(&told);
    let long = "`submit(mail, long)`";
    let expected = [
        long,
        "`submit(default, adder)`",
        long,
        long,
        long,
        "`door`",
        "submitted",
    ];
    for (told, word) in told.iter().zip(expected) {
        assert!(told.contains(word), "{word}: {told}");
        assert!(
            word == "submitted" || told.contains("profile `courier`"),
            "{told}"
        );
    }
    let told = place.returned(&jobs[1]);
    for told in texts(&told) {
        assert!(told.contains("profile `strict`"), "{told}");
    }
    let status = place.status(&jobs[2]);
    assert_eq!(status["status"], "FAILED", "{status:#}");
    let log = supervisor.log();
    assert!(
        log.contains("an ask was denied") && log.contains("courier"),
        "{log}"
    );
    let mail = place
        .run(&["jobs", "--queue", "mail", "--json"])
        .succeeds()
        .json();
    assert_eq!(mail.as_array().unwrap().len(), 1, "{mail:#}");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}
