//! What a program of tasks has to do, one promise after the other.

use std::path::Path;

use bulkhead_shared::ask::Reply;
use bulkhead_shared::codec;
use bulkhead_shared::finding::{Finding, Severity};
use bulkhead_shared::frame::{Answer, Failure, FromTask, ToTask};
use bulkhead_shared::task::TaskSpec;
use serde_bytes::ByteBuf;

use super::talk::{NO_TASK, PATIENCE, Talk, Wrong, job, name};
use crate::commands::describe::describe;
use crate::commands::error::chain;

/// A promise, why it matters, and how it is put to the test.
struct Promise {
    check: &'static str,
    kept: &'static str,
    why: &'static str,
    way_out: &'static str,
    test: fn(&Path, &[TaskSpec]) -> Result<(), Wrong>,
}

const PROMISES: [Promise; 11] = [
    Promise {
        check: "ready",
        kept: "it says hello and that it is ready",
        why: "a process that is not ready gets no job",
        way_out: "write the hello and a Ready frame to descriptor 4 at once, and nothing else",
        test: |program, _| started(program, 1).map(drop),
    },
    Promise {
        check: "unknown",
        kept: "it refuses a task that it does not have",
        why: "a job of a task that is gone is to end with a clear error",
        way_out: "answer with Done, Failed, the name `unknown-task`, and final",
        test: unknown,
    },
    Promise {
        check: "arguments",
        kept: "it refuses arguments that make no sense",
        why: "a message that no attempt can read is not to be tried again",
        way_out: "answer with Done, Failed, and final",
        test: arguments,
    },
    Promise {
        check: "pieces",
        kept: "it reads a frame that comes in pieces",
        why: "a pipe may cut a frame anywhere",
        way_out: "read until the frame is whole",
        test: |program, _| {
            let mut talk = started(program, 1)?;
            let bytes = codec::encode(&job(300, NO_TASK, b"{}"));
            talk.send_slowly(&bytes.map_err(|error| error.to_string())?)?;
            refusal(&mut talk, 300).map(drop)
        },
    },
    Promise {
        check: "large",
        kept: "it reads a job of 8 MiB",
        why: "payloads may be so large",
        way_out: "take lengths up to the largest frame, and read until the frame is whole",
        test: |program, _| {
            let mut talk = started(program, 1)?;
            talk.say(&job(u64::MAX, NO_TASK, &vec![b' '; 8 << 20]))?;
            refusal(&mut talk, u64::MAX).map(drop)
        },
    },
    Promise {
        check: "strangers",
        kept: "it passes over messages that are not for it",
        why: "a supervisor may say more than a child wants to know",
        way_out: "read all of such a frame and go on",
        test: strangers,
    },
    Promise {
        check: "limits",
        kept: "it takes the limits that a job brings along",
        why: "whoever submits a job may lower what it can consume",
        way_out: "read Limits, and set them with setrlimit before the job of that nonce begins",
        test: limited,
    },
    Promise {
        check: "jobs",
        kept: "it runs as many jobs as it is told to, then ends with code 0",
        why: "the supervisor counts them, and waits for the end",
        way_out: "exit after the number of jobs that is the last argument; 0 is no limit",
        test: several,
    },
    Promise {
        check: "end",
        kept: "it ends when the job pipe does",
        why: "a process that is not needed any more would be killed",
        way_out: "exit with code 0 at the end of descriptor 3",
        test: |program, _| {
            let mut talk = started(program, 0)?;
            talk.hang_up();
            ends(&mut talk)
        },
    },
    Promise {
        check: "term",
        kept: "it ends at SIGTERM when it has nothing to do",
        why: "a process that does not would be killed",
        way_out: "do not ignore SIGTERM while you wait for a job",
        test: |program, _| {
            let mut talk = started(program, 1)?;
            match talk.end_by_term().map_err(|error| error.to_string())? {
                Some(_) => Ok(()),
                None => Err(format!("it had not ended after {PATIENCE:?}")),
            }
        },
    },
    Promise {
        check: "nonsense",
        kept: "it ends when it is sent nonsense",
        why: "nothing that comes after it has a meaning",
        way_out: "exit with a code other than 0 at a frame that is too long or cannot be read",
        test: |program, _| {
            let mut talk = started(program, 1)?;
            talk.send(&[0xff; 64])?;
            talk.hang_up();
            match talk.end().map_err(|error| error.to_string())? {
                Some(status) if !status.success() => Ok(()),
                Some(_) => {
                    Err("it took a frame of 4 GiB for the end, and exited with code 0".into())
                }
                None => Err(format!("it had not ended after {PATIENCE:?}")),
            }
        },
    },
];

/// All that can be told of the program.
pub(super) fn examine(program: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let specs = match describe(program) {
        Ok(specs) => {
            let count = specs.len();
            findings.push(Finding::ok("describe", format!("it has {count} tasks")));
            specs
        }
        Err(error) => {
            let finding = Finding::ok("describe", chain(&error));
            let finding = finding.because(Severity::Error, "supervisors ask it for its tasks");
            let way_out = "for `--describe`, print a JSON array of objects with a `name` each, and exit with code 0";
            findings.push(finding.way_out(way_out));
            Vec::new()
        }
    };
    for promise in &PROMISES {
        findings.push(match (promise.test)(program, &specs) {
            Ok(()) => Finding::ok(promise.check, promise.kept.to_owned()),
            Err(wrong) => Finding::ok(promise.check, wrong)
                .because(Severity::Error, promise.why)
                .way_out(promise.way_out),
        });
        // Whoever does not get so far fails everywhere, and slowly.
        if promise.check == "ready"
            && findings
                .iter()
                .any(|one| one.check == "ready" && one.severity == Severity::Error)
        {
            break;
        }
    }
    findings
}

fn started(program: &Path, jobs: u32) -> Result<Talk, Wrong> {
    let mut talk = Talk::start(program, jobs).map_err(|error| error.to_string())?;
    talk.ready()?;
    Ok(talk)
}

/// The answer to call `nonce`, which must be a failure for good.
fn refusal(talk: &mut Talk, nonce: u64) -> Result<Failure, Wrong> {
    match talk.frame()? {
        FromTask::Done { nonce: found, .. } if found != nonce => Err(format!(
            "it answered call {found}, and was asked call {nonce}"
        )),
        FromTask::Done {
            answer: Answer::Failed(failure),
            ..
        } if failure.is_final => Ok(failure),
        FromTask::Done {
            answer: Answer::Failed(failure),
            ..
        } => Err(format!(
            "its failure `{}` is not final: the job would be tried again",
            failure.name
        )),
        FromTask::Done {
            answer: Answer::Returned(_),
            ..
        } => Err("it returned something".into()),
        other => Err(format!("{} came instead of Done", name(&other))),
    }
}

fn unknown(program: &Path, _: &[TaskSpec]) -> Result<(), Wrong> {
    let mut talk = started(program, 1)?;
    talk.say(&job(300, NO_TASK, b"{}"))?;
    let failure = refusal(&mut talk, 300)?;
    match failure.name.as_str() {
        "unknown-task" => Ok(()),
        other => Err(format!("it calls that failure `{other}`")),
    }
}

fn arguments(program: &Path, specs: &[TaskSpec]) -> Result<(), Wrong> {
    // A processor takes no arguments.
    let Some(spec) = specs.iter().find(|spec| spec.processor.is_none()) else {
        return Ok(());
    };
    for payload in [
        &b"no JSON"[..],
        b"[1]",
        br#"{"kwargs":{"bulkhead no such":1}}"#,
    ] {
        let mut talk = started(program, 1)?;
        talk.say(&job(70_000, spec.name.as_str(), payload))?;
        let shown = String::from_utf8_lossy(payload);
        refusal(&mut talk, 70_000).map_err(|wrong| format!("for `{shown}`: {wrong}"))?;
    }
    Ok(())
}

fn strangers(program: &Path, _: &[TaskSpec]) -> Result<(), Wrong> {
    let mut talk = started(program, 1)?;
    let nonce = 1 << 33;
    talk.say(&ToTask::Stop { nonce })?;
    let reply = Reply::Done(true);
    talk.say(&ToTask::Reply {
        nonce,
        id: 1,
        reply,
    })?;
    talk.say(&ToTask::Secret {
        nonce,
        name: "x".into(),
        value: ByteBuf::from("y"),
    })?;
    talk.say(&job(nonce, NO_TASK, b"{}"))?;
    refusal(&mut talk, nonce).map(drop)
}

fn limited(program: &Path, _: &[TaskSpec]) -> Result<(), Wrong> {
    let mut talk = started(program, 0)?;
    let (nonce, most) = (300, 60);
    let limits = vec![(libc::RLIMIT_NOFILE, most, most)];
    talk.say(&ToTask::Limits { nonce, limits })?;
    talk.say(&job(nonce, NO_TASK, b"{}"))?;
    refusal(&mut talk, nonce)?;
    match talk.open_files().map_err(|error| error.to_string())? {
        found if found == Some((most, most)) => Ok(()),
        found => Err(format!(
            "it may open {found:?} files, soft and hard, and not {most}"
        )),
    }
}

fn several(program: &Path, _: &[TaskSpec]) -> Result<(), Wrong> {
    let mut talk = started(program, 3)?;
    for nonce in [1, 2, 3] {
        talk.say(&job(nonce, NO_TASK, b"{}"))?;
        refusal(&mut talk, nonce)?;
    }
    ends(&mut talk)?;
    match talk.has_more() {
        true => Err("it wrote to its result pipe after its last answer".into()),
        false => Ok(()),
    }
}

fn ends(talk: &mut Talk) -> Result<(), Wrong> {
    match talk.end().map_err(|error| error.to_string())? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("it ended with {status}")),
        None => Err(format!("it had not ended after {PATIENCE:?}")),
    }
}
