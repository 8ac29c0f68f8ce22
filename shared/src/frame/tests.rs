use super::*;
use crate::ask::{Became, Standing};
use crate::codec::{decode, encode};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// What is sent keeps its bytes, and what was sent long ago is still understood.
#[track_caller]
fn keeps<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: &T, golden: &[u8]) {
    assert_eq!(encode(message).unwrap(), golden);
    assert_eq!(decode::<T>(&golden[4..]).unwrap(), *message);
}

#[test]
fn hello_v1_keeps_its_bytes() {
    let first = *include_bytes!("../golden/hello.v1.bin");
    // The minor version grows; nothing else does.
    assert_eq!(
        (&hello()[..6], check_hello(first)),
        (&first[..6], Ok(first[6].into()))
    );
    assert_eq!(check_hello(hello()), Ok(MINOR));
}

#[test]
fn a_stranger_and_a_later_major_are_told_apart() {
    assert_eq!(check_hello(*b"HTTP/1.1"), Err(HelloError::Foreign));
    let later = check_hello(*b"BLKH\x09\x00\x00\x00");
    assert!(matches!(later, Err(HelloError::Version { theirs: 9, .. })));
}

#[test]
fn run_v1_keeps_its_bytes() {
    let run = Run {
        nonce: 300,
        uuid: *b"0123456789abcdef",
        task: "add".into(),
        queue: "math".into(),
        attempt: 2,
        fence: 1 << 40,
        timeout_ms: 30_000,
        memory: Some(512 << 20),
        header: ByteBuf::from(r#"{"v":1,"created_at":5}"#),
        payload: ByteBuf::from(r#"{"args":[2,3],"kwargs":{}}"#),
    };
    keeps(&ToTask::Run(run), include_bytes!("../golden/run.v1.bin"));
}

#[test]
fn group_and_stop_v1_keep_their_bytes() {
    let group = Group {
        threads: 8,
        stack: 2 << 20,
        idle_ms: 10_000,
    };
    keeps(
        &ToTask::Group(group),
        include_bytes!("../golden/group.v1.bin"),
    );
    let stop = ToTask::Stop { nonce: 300 };
    keeps(&stop, include_bytes!("../golden/stop.v1.bin"));
}

#[test]
fn what_comes_before_a_run_v1_keeps_its_bytes() {
    let secret = ToTask::Secret {
        nonce: 300,
        name: "key".into(),
        value: ByteBuf::from("s3cret"),
    };
    keeps(&secret, include_bytes!("../golden/secret.v1.bin"));
    let command = ToTask::Command {
        nonce: 300,
        spec: ByteBuf::from("{}"),
    };
    keeps(&command, include_bytes!("../golden/command.v1.bin"));
    let limits = ToTask::Limits {
        nonce: 300,
        limits: vec![(0, 1, 3)],
    };
    keeps(&limits, b"\x08\0\0\0\x06\xfb\x2c\x01\x01\0\x01\x03");
}

#[test]
fn ready_v1_keeps_its_bytes() {
    keeps(&FromTask::Ready, include_bytes!("../golden/ready.v1.bin"));
}

#[test]
fn progress_v1_keeps_its_bytes() {
    let progress = FromTask::Progress {
        nonce: 300,
        details: ByteBuf::from(r#"{"step":1,"of":3}"#),
    };
    keeps(&progress, include_bytes!("../golden/progress.v1.bin"));
}

#[test]
fn done_v1_keeps_its_bytes() {
    let usage = ReportedUsage {
        cpu_user_us: 1500,
        cpu_system_us: 20,
        max_rss_kb: Some(70_000),
    };
    let returned = FromTask::Done {
        nonce: 300,
        answer: Answer::Returned(ByteBuf::from("5")),
        usage,
    };
    keeps(&returned, include_bytes!("../golden/returned.v1.bin"));
    let failed = FromTask::Done {
        nonce: 300,
        answer: Answer::Failed(Failure {
            name: "panic".into(),
            text: "boom".into(),
            traceback: Some("main.rs:1:2".into()),
            is_final: false,
        }),
        usage: ReportedUsage {
            max_rss_kb: None,
            ..usage
        },
    };
    keeps(&failed, include_bytes!("../golden/failed.v1.bin"));
}

#[test]
fn snoozed_v1_keeps_its_bytes() {
    let snoozed = FromTask::Done {
        nonce: 300,
        answer: Answer::Snoozed {
            until_ms: 1_700_000_000_000,
            signal: Some("go".into()),
        },
        usage: ReportedUsage {
            cpu_user_us: 1,
            cpu_system_us: 2,
            max_rss_kb: None,
        },
    };
    keeps(&snoozed, include_bytes!("../golden/snoozed.v1.bin"));
}

#[test]
fn passed_and_parted_v1_keep_their_bytes() {
    let (nonce, position) = (300, 7);
    let passed = FromTask::Passed { nonce, position };
    keeps(&passed, b"\x05\0\0\0\x08\xfb\x2c\x01\x07");
    let parted = FromTask::Parted { nonce, position };
    keeps(&parted, b"\x05\0\0\0\x09\xfb\x2c\x01\x07");
}

#[test]
fn declined_v1_keeps_its_bytes() {
    let declined = FromTask::Declined {
        nonce: 300,
        what: Declined::Callback,
    };
    keeps(&declined, include_bytes!("../golden/declined.v1.bin"));
}

#[test]
fn asks_and_replies_v1_keep_their_bytes() {
    let ask = FromTask::Ask {
        nonce: 300,
        id: 7,
        ask: Ask::Acquire {
            lock: "till".into(),
            ttl_ms: None,
            wait_ms: 1000,
        },
    };
    keeps(&ask, include_bytes!("../golden/ask.v1.bin"));
    let reply = ToTask::Reply {
        nonce: 300,
        id: 7,
        reply: Reply::Acquired { fence: 1 << 40 },
    };
    keeps(&reply, include_bytes!("../golden/reply.v1.bin"));
}

#[test]
fn asks_about_other_jobs_v1_keep_their_bytes() {
    let asked = |ask| FromTask::Ask {
        nonce: 300,
        id: 7,
        ask,
    };
    let told = |reply| ToTask::Reply {
        nonce: 300,
        id: 7,
        reply,
    };
    let flow = b"[]".to_vec().into();
    let submit = asked(Ask::Submit { flow });
    keeps(&submit, b"\x09\0\0\0\x06\xfb\x2c\x01\x07\x07\x02[]");
    let uuid = *b"0123456789abcdef";
    let result = asked(Ask::Result { uuid, wait_ms: 5 });
    keeps(
        &result,
        b"\x17\0\0\0\x06\xfb\x2c\x01\x07\x080123456789abcdef\x05",
    );
    let submitted = told(Reply::Submitted {
        uuid,
        queue: "math".into(),
        became: Became::Draining,
        messages: 2,
    });
    let golden = b"\x1d\0\0\0\x03\xfb\x2c\x01\x07\x0a0123456789abcdef\x04math\x03\x02";
    keeps(&submitted, golden);
    let result = Some(b"5".to_vec().into());
    let standing = told(Reply::Standing(Standing::Succeeded { result }));
    keeps(
        &standing,
        b"\x0a\0\0\0\x03\xfb\x2c\x01\x07\x0b\x01\x01\x015",
    );
}

#[test]
fn the_last_words_of_a_task_v1_keep_their_bytes() {
    let memory = FromTask::AllocationFailed {
        nonce: 300,
        bytes: 1 << 33,
    };
    keeps(
        &memory,
        include_bytes!("../golden/allocation_failed.v1.bin"),
    );
    let forbidden = FromTask::Forbidden {
        nonce: 300,
        syscall: 321,
    };
    keeps(&forbidden, include_bytes!("../golden/forbidden.v1.bin"));
    let setup = FromTask::SetupFailed {
        step: "setgid".into(),
        errno: 1,
    };
    keeps(&setup, include_bytes!("../golden/setup_failed.v1.bin"));
}
