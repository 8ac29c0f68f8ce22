//! The demo child as a task process: this test holds the other ends of its pipes.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus};

use bulkhead_shared::codec::{Assembler, encode};
use bulkhead_shared::frame::{
    Answer, Failure, FromTask, HELLO_LEN, ReportedUsage, Run, ToTask, check_hello,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_bytes::ByteBuf;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// A process that says nothing for so long, in milliseconds, is broken.
const SILENCE: u16 = 20_000;

pub(crate) const CHILD: &str = env!("CARGO_BIN_EXE_child");

pub(crate) struct Process {
    child: Child,
    jobs: Option<PipeWriter>,
    results: PipeReader,
    frames: Assembler,
    output: NamedTempFile,
    nonce: u64,
}

impl Process {
    /// Starts `child __task JOBS` and waits until it is ready.
    pub(crate) fn start(jobs: u32) -> Self {
        Self::start_with(jobs, &[])
    }

    pub(crate) fn start_with(jobs: u32, env: &[(&str, &str)]) -> Self {
        let (job_reader, job_writer) = pipe().unwrap();
        let (result_reader, result_writer) = pipe().unwrap();
        let output = NamedTempFile::new().unwrap();
        // The shell moves the pipes to their numbers and becomes the child.
        let child = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>&2"#])
            .args([CHILD, "__task", &jobs.to_string()])
            .env_clear()
            .envs(env.iter().copied())
            .stdin(job_reader)
            .stdout(result_writer)
            .stderr(output.reopen().unwrap())
            .spawn()
            .unwrap();
        let mut process = Self {
            child,
            jobs: Some(job_writer),
            results: result_reader,
            frames: Assembler::default(),
            output,
            nonce: 0,
        };
        let hello = process.wait_for(|frames| frames.take_exact::<HELLO_LEN>());
        check_hello(hello.unwrap()).unwrap();
        assert_eq!(process.next(), Some(FromTask::Ready));
        process
    }

    /// What it says next; `None` at the end of its pipe.
    pub(crate) fn next(&mut self) -> Option<FromTask> {
        self.wait_for(|frames| frames.next_frame().unwrap())
    }

    fn wait_for<T>(&mut self, take: impl Fn(&mut Assembler) -> Option<T>) -> Option<T> {
        let mut buffer = [0; 65536];
        loop {
            if let Some(found) = take(&mut self.frames) {
                return Some(found);
            }
            let mut fds = [PollFd::new(self.results.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::from(SILENCE)).unwrap();
            assert!(ready > 0, "silence; output: {}", self.output());
            match self.results.read(&mut buffer).unwrap() {
                0 => return None,
                len => self.frames.push(&buffer[..len]),
            }
        }
    }

    /// A job for `task` with these arguments, not sent yet.
    pub(crate) fn run(&mut self, task: &str, payload: impl Into<Vec<u8>>) -> Run {
        self.nonce += 1;
        Run {
            nonce: self.nonce,
            uuid: [7; 16],
            task: task.into(),
            queue: "default".into(),
            attempt: 1,
            fence: 1,
            timeout_ms: 60_000,
            memory: None,
            header: ByteBuf::from(r#"{"v":1,"created_at":5}"#),
            payload: ByteBuf::from(payload.into()),
        }
    }

    pub(crate) fn send(&mut self, run: Run) {
        self.send_bytes(&encode(&ToTask::Run(run)).unwrap());
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.jobs.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Sends a job by position.
    pub(crate) fn begin(&mut self, task: &str, args: Value) {
        let payload = json!({ "args": args }).to_string();
        let run = self.run(task, payload);
        self.send(run);
    }

    /// The end of the job that was sent last, past its progress.
    pub(crate) fn done(&mut self) -> (Answer, ReportedUsage) {
        loop {
            match self.next().expect("an answer") {
                FromTask::Progress { .. } => {}
                FromTask::Done {
                    nonce,
                    answer,
                    usage,
                } => {
                    assert_eq!(nonce, self.nonce);
                    return (answer, usage);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    pub(crate) fn returned(&mut self) -> Value {
        match self.done().0 {
            Answer::Returned(bytes) => serde_json::from_slice(&bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn failed(&mut self) -> Failure {
        match self.done().0 {
            Answer::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    /// Runs a job by position, which returns.
    pub(crate) fn call(&mut self, task: &str, args: Value) -> Value {
        self.begin(task, args);
        self.returned()
    }

    pub(crate) fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
    }

    /// Closes the job pipe.
    pub(crate) fn hang_up(&mut self) {
        self.jobs = None;
    }

    /// How it ended, once its pipe has.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        let last = self.next();
        assert_eq!(last, None, "output: {}", self.output());
        self.child.wait().unwrap()
    }

    pub(crate) fn output(&self) -> String {
        let bytes = std::fs::read(self.output.path()).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
