//! Frames of all pipes and sockets.

use std::fmt::Debug;

use bulkhead_shared::codec::{self, Assembler};
use bulkhead_shared::frame::{
    Answer, Failure, FromTask, FromZygote, Group, InitReport, ReportedUsage, Run, ToTask,
};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

fn frames() -> Vec<Vec<u8>> {
    let usage = ReportedUsage {
        cpu_user_us: 70_000,
        cpu_system_us: 3,
        max_rss_kb: Some(1 << 20),
    };
    let failure = Failure {
        name: "error".into(),
        text: "it failed".into(),
        traceback: Some("there".into()),
        is_final: true,
    };
    let answers = [
        Answer::Returned(ByteBuf::from("5")),
        Answer::Failed(failure),
    ];
    let from_task = answers.map(|answer| FromTask::Done {
        nonce: 300,
        answer,
        usage,
    });
    let run = ToTask::Run(Run {
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
    });
    let group = ToTask::Group(Group {
        threads: 3,
        stack: 1 << 20,
        idle_ms: 1,
    });
    let mut all: Vec<_> = from_task
        .iter()
        .map(|one| codec::encode(one).unwrap())
        .collect();
    all.push(codec::encode(&FromTask::Ready).unwrap());
    all.push(codec::encode(&run).unwrap());
    all.push(codec::encode(&group).unwrap());
    let task = FromZygote::Task(ByteBuf::from(r#"{"name":"add"}"#));
    all.push(codec::encode(&task).unwrap());
    all
}

/// What is understood is written and understood again.
fn is_stable<T: DeserializeOwned + Serialize + PartialEq + Debug>(
    body: &[u8],
) -> Result<(), TestCaseError> {
    if let Ok(message) = codec::decode::<T>(body) {
        let again = codec::body(&message).unwrap();
        prop_assert_eq!(codec::decode::<T>(&again).unwrap(), message);
    }
    Ok(())
}

fn taken(bytes: &[u8], piece: usize) -> (Vec<FromTask>, bool) {
    let mut assembler = Assembler::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(piece) {
        assembler.push(piece);
        loop {
            match assembler.next_frame::<FromTask>() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(_) => return (found, false),
            }
        }
    }
    (found, true)
}

proptest! {
    #[test]
    fn any_body_of_a_frame_is_read_or_refused(frame in crate::hostile(frames())) {
        let body = frame.get(codec::PREFIX..).unwrap_or_default();
        is_stable::<FromTask>(body)?;
        is_stable::<ToTask>(body)?;
        is_stable::<FromZygote>(body)?;
        is_stable::<InitReport>(body)?;
    }

    #[test]
    fn a_stream_means_the_same_however_it_is_cut(
        stream in crate::hostile(vec![frames().concat()]),
        piece in 1..40_usize,
    ) {
        let (whole, is_good) = taken(&stream, usize::MAX);
        let (cut, is_still_good) = taken(&stream, piece);
        prop_assert_eq!((whole, is_good), (cut, is_still_good));
    }
}
