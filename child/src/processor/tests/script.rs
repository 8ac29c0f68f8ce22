//! A supervisor that follows a script.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};

use bulkhead_shared::ask::{Ask, Reply as Told};
use bulkhead_shared::codec::{self, Assembler};
use bulkhead_shared::frame::{Answer, FromTask, ReportedUsage, Run, ToTask};
use serde_bytes::ByteBuf;

use crate::context::Stop;
use crate::desk::Desk;
use crate::inbox::Inbox;
use crate::outbox::Outbox;
use crate::registry::Registry;
use crate::{Task, call};

/// What is said and asked, one word each: `ask 8`, `passed 3`, `batch 10 in 50`, `returned`.
pub(super) type Story = Vec<String>;

/// A supervisor that answers each ask with the next of its answers, and then with none.
pub(super) struct Script {
    supervisor: JoinHandle<Story>,
    desk: Desk,
}

impl Script {
    pub(super) fn new(answers: Vec<Told>) -> Self {
        let (job_reader, jobs) = io::pipe().unwrap();
        let (results, result_writer) = io::pipe().unwrap();
        let file = |fd: OwnedFd| File::from(fd);
        let outbox = Outbox::new(file(result_writer.into()));
        let inbox = Inbox::new(file(job_reader.into()));
        Self {
            supervisor: thread::spawn(move || follow(answers, jobs, results)),
            desk: Desk::new(outbox, inbox),
        }
    }

    /// Runs a processor on partition 3, and tells what was said.
    pub(super) fn run(self, task: Task) -> Story {
        self.run_on(task, r#"{"stream": "orders", "partition": 3}"#)
    }

    pub(super) fn run_on(self, task: Task, payload: &str) -> Story {
        let registry = Registry::new(vec![task]).unwrap();
        let run = Run {
            nonce: 9,
            uuid: [0; 16],
            task: task.name().into(),
            queue: "default".into(),
            attempt: 1,
            fence: 1,
            timeout_ms: 60_000,
            memory: None,
            header: ByteBuf::from(r#"{"v":1,"created_at":0}"#),
            payload: ByteBuf::from(payload),
        };
        let ended = call::now(&registry, &run, &self.desk, Stop::default());
        let usage = ReportedUsage {
            cpu_user_us: 0,
            cpu_system_us: 0,
            max_rss_kb: None,
        };
        let last = call::done(run.nonce, ended, usage);
        self.desk.finish(run.nonce, &last).unwrap();
        // The end of its pipe.
        drop(self.desk);
        self.supervisor.join().unwrap()
    }
}

fn follow(answers: Vec<Told>, mut jobs: PipeWriter, mut results: PipeReader) -> Story {
    let mut answers = answers.into_iter();
    let mut frames = Assembler::default();
    let mut story = Story::new();
    let mut buffer = [0; 4096];
    loop {
        while let Some(frame) = frames.next_frame::<FromTask>().unwrap() {
            story.push(match frame {
                FromTask::Ask { nonce, id, ask } => {
                    let reply = answers.next().unwrap_or_else(|| Told::Events(Vec::new()));
                    let reply = ToTask::Reply { nonce, id, reply };
                    match jobs.write_all(&codec::encode(&reply).unwrap()) {
                        // Who was told that there is no more does not wait for what else it asked.
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                        written => written.unwrap(),
                    }
                    asked(&ask)
                }
                FromTask::Passed { nonce, position } => {
                    assert_eq!(nonce, 9);
                    format!("passed {position}")
                }
                FromTask::Parted { nonce, position } => {
                    assert_eq!(nonce, 9);
                    format!("parted {position}")
                }
                FromTask::Done { answer, .. } => match answer {
                    Answer::Returned(bytes) => {
                        format!("returned {}", String::from_utf8_lossy(&bytes))
                    }
                    Answer::Failed(failure) => {
                        let last = if failure.is_final { ", final" } else { "" };
                        format!("{}: {}{last}", failure.name, failure.text)
                    }
                    Answer::Snoozed { .. } => "snoozed".into(),
                },
                other => format!("{other:?}"),
            });
        }
        match results.read(&mut buffer).unwrap() {
            0 => return story,
            len => frames.push(&buffer[..len]),
        }
    }
}

fn asked(ask: &Ask) -> String {
    match ask {
        Ask::Events {
            most,
            within_ms: None,
            as_one: false,
        } => format!("ask {most}"),
        Ask::Events {
            most,
            within_ms: Some(ms),
            as_one: true,
        } => format!("batch {most} in {ms}"),
        other => format!("{other:?}"),
    }
}
