//! What others have written where streams are kept.

use bulkhead_shared::broker::BrokerError;
use bulkhead_shared::stream::keep::Seek;
use bulkhead_tests::{Kind, Scene, redis_server, supervisor};

use super::*;

fn scene(kind: Kind) -> (Scene, SupervisorId) {
    let scene = Scene::new(kind);
    declare(&scene, 1);
    fill(&scene, 0, 3);
    let member = supervisor();
    attend(&scene, member, &[]);
    take_one(&scene, member, 0);
    (scene, member)
}

/// Everything one can do; what fails must say that something is damaged.
fn damages(scene: &Scene, member: SupervisorId) -> Vec<String> {
    let streams = &scene.store.streams;
    let (duty, hold) = (
        ledger(),
        Hold {
            partition: 0,
            fence: 1,
        },
    );
    let attendance = Attendance {
        duty: &duty,
        member,
        lease: LEASE,
        holds: &[hold],
    };
    let read = Read {
        partition: 0,
        after: Place::default(),
        most: 9,
    };
    let failed = Step {
        hold,
        pass: Pass::Failed(trouble(Place::default(), 1, None)),
    };
    let all = [
        streams.send(&orders(), &[record(0, "x")]).map(drop),
        streams.attend(attendance).map(drop),
        streams.take(&duty, member, &[0], LEASE).map(drop),
        streams.give_back(&duty, &[hold]),
        streams.step(&duty, &[failed], &[]).map(drop),
        streams.step(&duty, &[], &[read]).map(drop),
        streams.seek(&duty, &[], Seek::Start),
        streams.release(&duty, &[]).map(drop),
        streams.pause(&orders(), None, Some("x")),
        streams.dead(&duty, 0, 9).map(drop),
        streams.streams(None).map(drop),
    ];
    let mut said = Vec::new();
    for done in all {
        match done {
            Ok(()) => {}
            Err(damaged @ BrokerError::Damaged { .. }) => said.push(damaged.to_string()),
            Err(other) => panic!("{other:?}"),
        }
    }
    said
}

#[test]
fn what_lies_around_a_damaged_event_of_a_row_is_read() {
    let scene = Scene::new(Kind::SqliteFile);
    declare(&scene, 2);
    let texts: Vec<_> = ["one", "two", "three"].map(|text| record(1, text)).into();
    assert_eq!(send(&scene, &texts).len(), 3);
    let conn = rusqlite::Connection::open(scene.path()).unwrap();
    let whole = kept(&scene, 1);
    // The length of the name of the field of the second one: behind the first, and its own head.
    let at = u32::try_from(20 + whole[0].fields.size() + 8 + 20).unwrap();
    let sql = "UPDATE event SET fields = CAST(substr(fields, 1, ?1) || x'ff'
        || substr(fields, ?1 + 2) AS BLOB) WHERE count = 3 AND part = 1";
    assert_eq!(conn.execute(sql, [at]).unwrap(), 1);
    let read = |after: Place| {
        let read = Read {
            partition: 1,
            after,
            most: 9,
        };
        let turn = scene.store.streams.step(&ledger(), &[], &[read]);
        turn.map(|turn| turn.events[0].clone())
    };
    assert_eq!(read(Place::default()).unwrap(), whole[..1]);
    let damaged = read(whole[0].place).unwrap_err().to_string();
    assert!(
        damaged.contains("event 2 of partition 1 of `orders`"),
        "{damaged}"
    );
    assert_eq!(read(whole[1].place).unwrap(), whole[2..]);
    // And so one can go on behind it.
    let member = supervisor();
    attend(&scene, member, &[]);
    scene
        .store
        .streams
        .seek(&ledger(), &[1], Seek::Skip(2))
        .unwrap();
    assert_eq!(take_one(&scene, member, 1).passed, whole[1].place);
    // Where nothing in the row makes sense, it is passed as one.
    assert_eq!(
        conn.execute("UPDATE event SET fields = x'00' WHERE part = 1", [])
            .unwrap(),
        1
    );
    scene
        .store
        .streams
        .seek(&ledger(), &[1], Seek::Start)
        .unwrap();
    take_one(&scene, member, 1);
    scene
        .store
        .streams
        .seek(&ledger(), &[1], Seek::Skip(1))
        .unwrap();
    assert_eq!(take_one(&scene, member, 1).passed, whole[2].place);
}

#[test]
fn a_damaged_row_is_named_and_jobs_go_on_beside_it() {
    let rows = [
        (
            "UPDATE event SET fields = x'05000000'",
            "event 1 of partition 0 of `orders`",
        ),
        (
            "UPDATE share SET trouble = '{}'",
            "the trouble of a processor in partition 0",
        ),
        (
            "UPDATE share SET moved_to = 'x'",
            "where a processor is to go on in partition 0",
        ),
        (
            "UPDATE share SET owner = x'00'",
            "the holder of partition 0",
        ),
        ("UPDATE share SET passed = -1", "-1"),
        ("DELETE FROM share", "`ledger`"),
        ("DELETE FROM track", "partition 0 of `orders`"),
        (
            "UPDATE stream SET on_full = 'x'",
            "stream `orders`: when it is full, `x`",
        ),
        ("UPDATE stream SET partitions = -1", "-1"),
    ];
    for (sql, named) in rows {
        let (scene, member) = scene(Kind::SqliteFile);
        let conn = rusqlite::Connection::open(scene.path()).unwrap();
        conn.execute_batch(sql).unwrap();
        let said = damages(&scene, member);
        let is_named = said.iter().any(|one| one.contains(named));
        assert!(is_named, "{sql}: {said:?}");
        assert_eq!(scene.store.control.clear(9).unwrap(), 0, "{sql}");
        assert_eq!(scene.store.streams.streams(None).unwrap(), [], "{sql}");
    }
}

#[test]
fn a_damaged_record_is_named() {
    let records: [(&str, &[&str], &str); 9] = [
        ("at", &["HSET", "0", "1 2 3"], "partition 0 of {"),
        (
            "share:ledger",
            &["HSET", "0", "x"],
            "what ledger has passed in partition 0",
        ),
        (
            "share:ledger",
            &["HSET", "0", "1 0 0 0 - 0 up 0 0 0 0 - 0 "],
            "where a processor is to go on",
        ),
        (
            "share:ledger",
            &["HSET", "0", "1 0 0 0 - 0 - 5 5 5 1 q 0 {"],
            "the trouble of a processor",
        ),
        (
            "share:ledger",
            &["HSET", "0", "1 0 0 0 me 99999999999999 - 0 0 0 0 - 0 "],
            "a member",
        ),
        ("member:ledger", &["HSET", "me", "1"], "member me of ledger"),
        ("by", &["HSET", "ledger", "x"], "processor ledger of {"),
        ("spec", &["HSET", "size", "x"], "the kind of {"),
        (
            "ev:0",
            &["XADD", "9999999999999-0", "a", "b"],
            "event 9999999999999-0",
        ),
    ];
    for (key, words, named) in records {
        let (scene, member) = scene(Kind::Redis);
        let key = format!("{{{}|~orders}}{key}", scene.store.namespace);
        let rest = words[1..].iter().map(|word| format!(" \"{word}\""));
        let command = format!("{} \"{key}\"{}", words[0], rest.collect::<String>());
        let answer = redis_server::shared().command(&command);
        assert!(!answer.starts_with('-'), "{command}: {answer}");
        let said = damages(&scene, member);
        let is_named = said.iter().any(|one| one.contains(named));
        assert!(is_named, "{words:?}: {said:?}");
        scene.store.control.clear(9).unwrap();
        assert_eq!(scene.store.streams.streams(None).unwrap(), [], "{words:?}");
    }
}

#[test]
fn of_a_call_that_meets_a_damaged_partition_nothing_is_stored() {
    let scene = Scene::new(Kind::Redis);
    declare(&scene, 2);
    let key = format!("{{{}|~orders}}at", scene.store.namespace);
    let server = redis_server::shared();
    let good = server.text(&format!("HGET \"{key}\" 1"));
    server.command(&format!("HSET \"{key}\" 1 x"));
    let both = [record(0, "x"), record(1, "x")];
    let error = scene.store.streams.send(&orders(), &both).unwrap_err();
    assert!(error.to_string().contains("partition 1"), "{error}");
    let good = good.lines().last().unwrap().trim();
    server.command(&format!("HSET \"{key}\" 1 \"{good}\""));
    for partition in [0, 1] {
        assert_eq!(fill(&scene, partition, 1)[0].position, 1);
    }
}
