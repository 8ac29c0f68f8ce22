//! Chains, groups and joins, run by real supervisors on every kind of store.

use std::fs;

use bulkhead_shared::client::{Client, FlowState};
use bulkhead_shared::flow::Group;
use bulkhead_shared::{Message, Uuid};
use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::supervise::{PATIENCE, Supervisor};
use bulkhead_tests::until;
use serde_json::{Value, json};

use crate::parts::{once, submit, with};

/// Runs a test on both kinds of store.
fn everywhere(play: impl Fn(&Place)) {
    play(&Place::new());
    let server = RedisServer::start(&[]);
    play(&Place::with_store(&server.url()));
}

/// Waits until a flow is what it is meant to come to.
fn comes_to(place: &Place, uuid: &str, state: FlowState) -> Value {
    let client = Client::open(&place.url()).unwrap();
    let uuid: Uuid = uuid.parse().unwrap();
    let view = until("the flow's end", PATIENCE, || {
        let view = client.flow(uuid).unwrap().expect("it is known");
        (view.state == state).then_some(view)
    });
    serde_json::to_value(view).unwrap()
}

fn result(place: &Place, step: &Value) -> Value {
    let uuid = step["job"]["uuid"].as_str().unwrap();
    let ran = place.run(&["result", uuid]).succeeds();
    serde_json::from_str(&ran.line()).unwrap()
}

#[test]
fn a_chain_hands_on_what_each_step_returned() {
    everywhere(|place| {
        let add = |n: i64| json!({"task": "add_previous", "args": [n]});
        let line = with(
            once("add", json!([1, 2])),
            "callback",
            json!([add(10), with(add(100), "queue", "other"), add(1000)]),
        );
        let uuid = submit(place, &[line]).remove(0);
        let early = place.run(&["status", &uuid]).succeeds();
        let early = early.says(&[]).stdout;
        assert!(
            early.contains("flow") && early.contains("UNKNOWN"),
            "{early}"
        );
        let arguments = ["--processes", "2", "--queues", "default,other"];
        let mut supervisor = Supervisor::start(place, &arguments);
        let view = comes_to(place, &uuid, FlowState::Succeeded);
        let results: Vec<Value> = view["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| result(place, step))
            .collect();
        assert_eq!(results, [json!(3), json!(13), json!(113), json!(1113)]);
        let last = view["steps"][3]["job"]["uuid"].as_str().unwrap();
        let shown = place.run(&["status", last, "--json"]).succeeds().json();
        assert_eq!(shown["flow"]["uuid"], uuid);
        assert_eq!(shown["flow"]["state"], "SUCCEEDED");
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    });
}

#[test]
fn a_chain_ends_where_a_step_fails() {
    everywhere(|place| {
        let fails = with(
            once("fail", json!(["no"])),
            "callback",
            json!({"task": "add_previous", "args": [1]}),
        );
        let line = with(once("add", json!([1, 2])), "callback", fails);
        let uuid = submit(place, &[line]).remove(0);
        let mut supervisor = Supervisor::start(place, &["--processes", "2", "--burst"]);
        let view = comes_to(place, &uuid, FlowState::Failed);
        let status = |step: usize| view["steps"][step]["job"]["status"].clone();
        assert_eq!(
            [status(0), status(1), status(2)],
            ["SUCCEEDED", "FAILED", "UNKNOWN"]
        );
        assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
    });
}

#[test]
fn a_group_joins_and_a_burst_ends_only_after_the_last_step() {
    everywhere(|place| {
        let member = |n: i64| json!({"task": "add", "args": [n, n]});
        let line = json!({"group": {
            "members": [member(1), with(member(2), "callback", json!({"task": "add_previous", "args": [100]})), member(3)],
            "join": {"task": "echo", "args": ["joined"], "callback": {"task": "echo", "args": ["after"]}},
        }});
        let uuid = submit(place, &[line]).remove(0);
        let mut supervisor = Supervisor::start(place, &["--processes", "3", "--burst"]);
        assert_eq!(supervisor.code(), 0, "{}", supervisor.log());
        let view = comes_to(place, &uuid, FlowState::Succeeded);
        assert_eq!(view["steps"].as_array().unwrap().len(), 3, "{view:#}");
        assert_eq!(result(place, &view["steps"][2]), json!("after"));
        let shown = place.run(&["status", &uuid]).succeeds().stdout;
        assert!(shown.contains("3 of 3 ended, 0 failed"), "{shown}");
    });
}

#[test]
fn a_failed_member_stops_the_join_with_a_clear_cause_or_is_null() {
    everywhere(|place| {
        let group = |on_failed: &str| {
            json!({"group": {
                "members": [once("add", json!([1, 1])), once("fail", json!(["no"])), once("crash", json!(["SEGV"]))],
                "join": {"task": "echo", "args": [0]},
                "on_failed": on_failed,
            }})
        };
        let uuids = submit(place, &[group("stop"), group("null")]);
        let mut supervisor = Supervisor::start(place, &["--processes", "2"]);
        let stopped = comes_to(place, &uuids[0], FlowState::Failed);
        let join = stopped["steps"][1]["job"]["uuid"].as_str().unwrap();
        let status = place.status(join);
        assert_eq!(
            (&status["status"], &status["cause"]),
            (&json!("FAILED"), &json!("error"))
        );
        assert_eq!(status["error"]["name"], "member-failed", "{status:#}");
        let text = status["error"]["text"].as_str().unwrap();
        assert!(text.contains("2 of 3 members"), "{text}");
        comes_to(place, &uuids[1], FlowState::Succeeded);
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    });
}

#[test]
fn revoked_members_count_whether_they_wait_or_run() {
    everywhere(|place| {
        let gate = place.path("go");
        let hold = || json!({"task": "hold", "args": [gate]});
        let ids: Vec<String> = (0..3).map(|_| Uuid::now_v7().to_string()).collect();
        let members: Vec<Value> = ids
            .iter()
            .map(|id| with(hold(), "uuid", id.as_str()))
            .collect();
        let line = json!({"group": {"members": members, "join": {"task": "flaky", "args": [0]}, "on_failed": "null"}});
        let uuid = submit(place, &[line]).remove(0);
        let mut supervisor = Supervisor::at(place)
            .tasks_of("hostile-child")
            .args(["--processes", "1"])
            .start();
        let _ = place.running(&ids[0]);
        for id in &ids[..2] {
            let _ = place.run(&["revoke", id]).succeeds();
        }
        fs::write(&gate, "").unwrap();
        let view = comes_to(place, &uuid, FlowState::Succeeded);
        let group = &view["steps"][0]["group"];
        assert_eq!(
            (&group["ended"], &group["failed"]),
            (&json!(3), &json!(2)),
            "{view:#}"
        );
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    });
}

#[test]
fn a_result_as_large_as_results_may_be_is_handed_on() {
    everywhere(|place| {
        // With its quotes as long as a result may be; it goes on beside arguments of its own.
        let longest = (16 << 20) - 2;
        let client = Client::open(&place.url()).unwrap();
        let first = Message::new("long").arg(longest);
        let next = Message::new("measure").arg("y".repeat(1 << 20));
        let flow = client.submit_flow((first, next)).unwrap();
        let mut supervisor = Supervisor::at(place)
            .tasks_of("hostile-child")
            .args(["--processes", "1"])
            .start();
        let view = comes_to(place, &flow.to_string(), FlowState::Succeeded);
        assert_eq!(result(place, &view["steps"][1]), json!([longest, 1 << 20]));
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    });
}

#[test]
fn a_flow_is_submitted_from_rust_as_well() {
    everywhere(|place| {
        let client = Client::open(&place.url()).unwrap();
        let add = |n: i64| Message::new("add").arg(n).arg(1);
        let next = || Message::new("add_previous").arg(5);
        let last = Uuid::now_v7();
        let flow = (
            add(1),
            Group::new().members([next(), next()]),
            Message::new("echo").arg("end").uuid(last),
        );
        let first = client.submit_flow(flow).unwrap();
        let mut supervisor = Supervisor::start(place, &["--processes", "2"]);
        let view = comes_to(place, &first.to_string(), FlowState::Succeeded);
        let members = view["steps"][1]["group"]["members"].as_array().unwrap();
        for member in members {
            assert_eq!(result(place, &member[0]), json!(7));
        }
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    });
}
