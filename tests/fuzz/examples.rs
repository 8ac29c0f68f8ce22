//! One frame of each kind at least: what the targets for frames begin with.

use bulkhead_shared::ask::{Ask, Became, Denied, Remembered, Reply, Standing};
use bulkhead_shared::codec;
use bulkhead_shared::frame::{
    Answer, Declined, Failure, Fork, FromTask, FromZygote, Group, InitReport, ReportedUsage, Run,
    ToTask, ToZygote,
};
use bulkhead_shared::isolation::{Containment, Setup, Walls};
use bulkhead_shared::stream::{Event, EventId, Place};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

const NONCE: u64 = 300;

/// All of them, with their lengths.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let mut all = encoded(&from_tasks());
    all.extend(encoded(&to_tasks()));
    all.extend(encoded(&from_zygotes()));
    all.extend(encoded(&to_zygotes()));
    all.extend(encoded(&[InitReport { signal: 9, code: 0 }]));
    all
}

/// What task processes say, with the lengths.
pub(crate) fn said_by_tasks() -> Vec<Vec<u8>> {
    encoded(&from_tasks())
}

fn encoded<T: Serialize>(all: &[T]) -> Vec<Vec<u8>> {
    all.iter().map(|one| codec::encode(one).unwrap()).collect()
}

fn from_tasks() -> Vec<FromTask> {
    let usage = ReportedUsage {
        cpu_user_us: 70_000,
        cpu_system_us: 3,
        max_rss_kb: Some(1 << 20),
    };
    let answers = [
        Answer::Returned(ByteBuf::from("5")),
        Answer::Failed(Failure {
            name: "error".into(),
            text: "it failed".into(),
            traceback: Some("there".into()),
            is_final: true,
        }),
        Answer::Snoozed {
            until_ms: 1 << 41,
            signal: Some("go".into()),
        },
    ];
    let done = answers.map(|answer| FromTask::Done {
        nonce: NONCE,
        answer,
        usage,
    });
    let mut all = vec![
        FromTask::Ready,
        FromTask::Progress {
            nonce: NONCE,
            details: ByteBuf::from(r#"{"step":1}"#),
        },
        FromTask::AllocationFailed {
            nonce: NONCE,
            bytes: 1 << 40,
        },
        FromTask::SetupFailed {
            step: "mounting".into(),
            errno: -1,
        },
        FromTask::Declined {
            nonce: NONCE,
            what: Declined::Callback,
        },
        FromTask::Forbidden {
            nonce: NONCE,
            syscall: 321,
        },
        FromTask::Passed {
            nonce: NONCE,
            position: 1 << 50,
        },
        FromTask::Parted {
            nonce: NONCE,
            position: 1 << 50,
        },
    ];
    all.extend(done);
    let asks = asks().into_iter().zip(0..);
    all.extend(asks.map(|(ask, id)| FromTask::Ask {
        nonce: NONCE,
        id,
        ask,
    }));
    all
}

fn asks() -> Vec<Ask> {
    vec![
        Ask::Acquire {
            lock: "disk".into(),
            ttl_ms: Some(5000),
            wait_ms: 100,
        },
        Ask::Renew {
            lock: "disk".into(),
            fence: 1 << 60,
            ttl_ms: None,
        },
        Ask::Free {
            lock: "disk".into(),
            fence: 9,
        },
        Ask::Record {
            key: "sleep#1".into(),
            body: ByteBuf::from(r#"{"until":5}"#),
            is_first: true,
        },
        Ask::Recall { after: 256 },
        Ask::Take {
            name: "go".into(),
            by: "signal#1".into(),
        },
        Ask::Events {
            most: 100,
            within_ms: Some(50),
            as_one: true,
        },
        Ask::Submit {
            flow: ByteBuf::from(r#"[{"One":{"task":"add"}}]"#),
        },
        Ask::Result {
            uuid: [7; 16],
            wait_ms: 1000,
        },
    ]
}

fn to_tasks() -> Vec<ToTask> {
    let mut all = vec![
        ToTask::Run(Run {
            nonce: 1 << 40,
            uuid: [3; 16],
            task: "add".into(),
            queue: "default".into(),
            attempt: 1,
            fence: 9,
            timeout_ms: 30_000,
            memory: Some(1 << 30),
            header: ByteBuf::from("{}"),
            payload: ByteBuf::from("{}"),
        }),
        ToTask::Group(Group {
            threads: 3,
            stack: 1 << 20,
            idle_ms: 1,
        }),
        ToTask::Stop { nonce: NONCE },
        ToTask::Secret {
            nonce: NONCE,
            name: "key".into(),
            value: ByteBuf::from("s3cret"),
        },
        ToTask::Command {
            nonce: NONCE,
            spec: ByteBuf::from(r#"{"program":"/bin/x"}"#),
        },
        ToTask::Limits {
            nonce: NONCE,
            limits: vec![(0, 1, 3), (7, 64, 64)],
        },
    ];
    let replies = replies().into_iter().zip(0..);
    all.extend(replies.map(|(reply, id)| ToTask::Reply {
        nonce: NONCE,
        id,
        reply,
    }));
    all
}

fn replies() -> Vec<Reply> {
    let became = [
        Became::New,
        Became::Known,
        Became::NotUnique { by: [1; 16] },
        Became::Draining,
    ];
    let standings = [
        Standing::Open {
            status: "RUNNING".into(),
        },
        Standing::Succeeded {
            result: Some(ByteBuf::from("5")),
        },
        Standing::Failed {
            cause: "crashed".into(),
            text: "SIGSEGV".into(),
        },
    ];
    let mut all = vec![
        Reply::denied(Denied::Full, "no room"),
        Reply::Acquired { fence: 7 },
        Reply::AlreadyYours { fence: 7 },
        Reply::Held {
            owner: "job".into(),
            since_ms: 1,
            left_ms: Some(300),
        },
        Reply::Done(true),
        Reply::Written {
            at_ms: 5,
            now_ms: 1 << 41,
        },
        Reply::Behind,
        Reply::Page {
            entries: vec![Remembered {
                key: "step#1".into(),
                at_ms: 5,
                body: ByteBuf::from("1"),
            }],
            more: true,
            now_ms: 6,
        },
        Reply::Signal {
            payload: Some(ByteBuf::from("null")),
            now_ms: 6,
        },
        Reply::Events(vec![event(1), event(2)]),
    ];
    all.extend(became.map(|became| Reply::Submitted {
        uuid: [7; 16],
        queue: "default".into(),
        became,
        messages: 300,
    }));
    all.extend(standings.map(Reply::Standing));
    all
}

fn event(position: u64) -> Event {
    Event {
        place: Place {
            position,
            id: EventId {
                ms: 1 << 41,
                seq: 3,
            },
        },
        fields: [("kind", b"paid".as_slice()), ("body", &[0, 255])]
            .into_iter()
            .collect(),
    }
}

fn from_zygotes() -> Vec<FromZygote> {
    vec![
        FromZygote::Task(ByteBuf::from(r#"{"name":"add"}"#)),
        FromZygote::Ready,
        FromZygote::Unfit {
            step: "seccomp".into(),
            errno: 22,
        },
        FromZygote::Forked {
            generation: 1 << 33,
            pid: 4711,
        },
        FromZygote::ForkFailed {
            generation: 3,
            errno: 11,
        },
        FromZygote::Ended {
            generation: 1 << 33,
            report: InitReport { signal: 9, code: 0 },
            usage: ReportedUsage {
                cpu_user_us: 70_000,
                cpu_system_us: 3,
                max_rss_kb: Some(1 << 20),
            },
            whole: ReportedUsage {
                cpu_user_us: 90_000,
                cpu_system_us: 5,
                max_rss_kb: None,
            },
        },
    ]
}

fn to_zygotes() -> Vec<ToZygote<'static>> {
    let setup = Setup {
        containment: Containment::PidNamespace { user: true },
        cgroup_kill: true,
        landlock_scope: true,
        no_new_privileges: true,
        rlimits: vec![(7, 256)],
        processes: Some(64),
        clone3: true,
        tid_address: false,
        exec: false,
        own_rlimits: vec![(0, 5, 7)],
        addresses: Some(1 << 30),
        walls: Some(Box::new(Walls {
            inherited_filter: vec![6, 1 << 33],
            ..Walls::default()
        })),
    };
    let fork = Fork {
        generation: 3,
        uid: Some(50_000),
        home: Some("/tmp/home"),
        memory: None,
        jobs: 1,
    };
    vec![
        ToZygote::Setup(setup),
        ToZygote::Fork(fork.clone()),
        ToZygote::Retire,
        ToZygote::Warden(fork),
        ToZygote::Gid(65_534),
    ]
}

/// Fails unless each variant of `T` is among these. A body begins with the number of its variant.
fn has_each_kind<T: DeserializeOwned>(examples: &[impl Serialize]) {
    let body = |one| codec::body(one).unwrap();
    let kinds: Vec<u8> = examples.iter().map(|one| body(one)[0]).collect();
    let is_unknown = |kind: u8| {
        let error = codec::decode::<T>(&[kind]).err();
        error.is_some_and(|error| error.to_string().contains("variant index"))
    };
    let count = (0..=u8::MAX).find(|&kind| is_unknown(kind)).unwrap();
    assert!(count > 1);
    for kind in 0..count {
        assert!(kinds.contains(&kind), "no example of variant {kind}");
    }
}

#[test]
fn each_kind_of_frame_ask_and_reply_is_among_the_examples() {
    has_each_kind::<FromTask>(&from_tasks());
    has_each_kind::<ToTask>(&to_tasks());
    has_each_kind::<FromZygote>(&from_zygotes());
    has_each_kind::<Ask>(&asks());
    has_each_kind::<Reply>(&replies());
    let nested = replies();
    let became = nested.iter().filter_map(|reply| match reply {
        Reply::Submitted { became, .. } => Some(became.clone()),
        _ => None,
    });
    has_each_kind::<Became>(&became.collect::<Vec<_>>());
    let standings = nested.iter().filter_map(|reply| match reply {
        Reply::Standing(standing) => Some(standing.clone()),
        _ => None,
    });
    has_each_kind::<Standing>(&standings.collect::<Vec<_>>());
}
