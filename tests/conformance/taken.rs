//! Members of groups whose uuid the store knows already: they never run, and count as failed.

use bulkhead_shared::flow::{Errand, Group, OnFailed};
use bulkhead_shared::{QueueName, TaskName, Uuid};
use bulkhead_tests::flow::{close_all, give, open, previous_of};
use bulkhead_tests::supervise::PATIENCE;
use bulkhead_tests::{Scene, TestClock, for_each_backend, job, secs, until};
use serde_json::value::RawValue;

use crate::flow::on_its_way;

/// Delivers what queues tell each other until so many groups have been closed; which ones.
fn close_after_letters(scene: &Scene, count: usize) -> Vec<Uuid> {
    let mut closed = Vec::new();
    until("the end of the groups", PATIENCE, || {
        scene.clock.pass(secs(2));
        scene.broker().deliver(9).unwrap();
        closed.extend(close_all(scene));
        (closed.len() >= count).then_some(())
    });
    closed
}

for_each_backend!(
    a_member_whose_uuid_is_taken_counts_as_failed_at_once,
    |scene| {
        let uuid = || Uuid::now_v7();
        let (here, there, step, within) = (uuid(), uuid(), uuid(), uuid());
        scene.submit(job().uuid(here));
        scene.submit(job().uuid(there).queue("later"));
        scene.submit(job().uuid(step).queue("later"));
        // A group of the same uuid, open at the same queue.
        open(scene, Group::new().uuid(within).member(job().queue("q")));
        let _ = (scene.claim_one(), scene.claim_from("later", 5));
        let group = Group::new()
            .member(job().uuid(here))
            .member(job().uuid(there).queue("later"))
            .member(job().callback(job().uuid(step).queue("later")))
            .member(Group::new().uuid(within).member(job().queue("q")))
            .member(job())
            .on_failed(OnFailed::Error)
            .join(job());
        let group = open(scene, group);
        let members = scene.claim(5);
        assert_eq!(members.len(), 2);
        give(scene, &members[0], b"1");
        give(scene, &members[1], b"2");
        // Of what is known to another queue a letter tells.
        assert_eq!(close_after_letters(scene, 1), [group]);
        let joined = previous_of(&scene.claim_one()).unwrap();
        let joined: serde_json::Value = serde_json::from_str(&joined).unwrap();
        for (place, uuid) in [here, there, step, within].iter().enumerate() {
            let error = &joined[place]["error"];
            assert_eq!(error["name"], "known", "{place}: {joined}");
            assert_eq!(error["uuid"], uuid.to_string(), "{place}");
            assert_eq!(error["cause"], "error");
            assert!(error["text"].as_str().unwrap().contains("its own"));
        }
        assert_eq!(joined[4], 2);
        assert_eq!(on_its_way(scene), (1, 0), "the one that was there before");
    }
);

for_each_backend!(
    a_member_whose_uuid_is_taken_counts_whatever_json_came_with_it,
    |scene| {
        let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
        scene.submit(job().uuid(ids[0]));
        scene.submit(job().uuid(ids[1]).queue("later"));
        open(scene, Group::new().uuid(ids[2]).member(job().queue("q")));
        let group = Group::new()
            .member(job().uuid(ids[0]))
            .member(job().uuid(ids[1]).queue("later"))
            .member(Group::new().uuid(ids[2]).member(job().queue("q")))
            .join(job());
        let usual = |_: &TaskName| QueueName::default();
        let mut opening = group.build().unwrap().opening(TestClock::START, &usual);
        let opening = opening.as_mut().unwrap();
        // Half of a pair of surrogates, and nested deeper than most readers go.
        let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
        let json = r#"{"member":{"group":"a","home":"b","index":1},"text":"}\"\udcff"}"#;
        let raw = || Some(RawValue::from_string(format!("[{json},{deep}]")).unwrap());
        for member in &mut opening.members {
            match member {
                Errand::Submit { message, .. } => message.header.metadata = raw(),
                Errand::Open(inner) => inner.record.then = raw(),
                Errand::Count(_) => unreachable!("nothing has ended"),
            }
        }
        scene.broker().open(opening).unwrap();
        assert_eq!(close_after_letters(scene, 1), [opening.uuid]);
    }
);

for_each_backend!(
    groups_that_find_the_same_uuid_taken_in_another_queue_all_end,
    |scene| {
        let uuid = Uuid::now_v7();
        scene.submit(job().uuid(uuid).queue("later"));
        let group = || {
            let member = job().uuid(uuid).queue("later");
            open(scene, Group::new().member(member).join(job()))
        };
        let mut opened = [group(), group()];
        let mut closed = close_after_letters(scene, 2);
        opened.sort_unstable();
        closed.sort_unstable();
        assert_eq!(closed, opened);
        assert_eq!(on_its_way(scene), (0, 0));
    }
);
