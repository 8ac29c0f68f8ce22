//! A process of the program under examination, and what is said to it and heard from it.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use bulkhead_shared::codec::{self, Assembler};
use bulkhead_shared::frame::{self, FromTask, HELLO_LEN, Run, ToTask};
use bulkhead_shared::pidfd::PidFd;
use crossbeam::channel::{self, Receiver};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_bytes::ByteBuf;
use std::os::fd::AsFd;

/// Longest wait for anything that is to happen at once: long enough for a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Between the pieces of a frame.
const PAUSE: Duration = Duration::from_millis(100);

/// Puts the pipes where a task process expects them, then becomes the program.
const SCRIPT: &str = "exec 3<&0 4>&1 </dev/null >/dev/null; exec \"$0\" __task \"$1\"";

/// The task that no program has.
pub(super) const NO_TASK: &str = "bulkhead.check.no-such-task";

/// What was wrong with what was heard.
pub(super) type Wrong = String;

/// A task process.
pub(super) struct Talk {
    child: Child,
    jobs: Option<ChildStdin>,
    heard: Receiver<Vec<u8>>,
    frames: Assembler,
}

impl Talk {
    /// Starts one that is to run so many jobs.
    pub(super) fn start(program: &Path, jobs: u32) -> io::Result<Self> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            .arg(program)
            .arg(jobs.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take();
        let (heard, inbox) = channel::bounded(64);
        // Left behind if the program's end is held by somebody else.
        thread::spawn(move || {
            let mut stdout = stdout.into_iter();
            let Some(mut stdout) = stdout.next() else {
                return;
            };
            let mut buffer = vec![0; 64 << 10];
            while let Ok(len @ 1..) = stdout.read(&mut buffer) {
                if heard.send(buffer[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            jobs: child.stdin.take(),
            child,
            heard: inbox,
            frames: Assembler::default(),
        })
    }

    /// Waits for more bytes.
    fn listen(&mut self) -> Result<(), Wrong> {
        match self.heard.recv_timeout(PATIENCE) {
            Ok(bytes) => {
                self.frames.push(&bytes);
                Ok(())
            }
            Err(channel::RecvTimeoutError::Timeout) => {
                Err(format!("nothing came within {PATIENCE:?}"))
            }
            Err(channel::RecvTimeoutError::Disconnected) => {
                Err("it closed its result pipe instead".into())
            }
        }
    }

    /// Its first bytes.
    pub(super) fn hello(&mut self) -> Result<(), Wrong> {
        loop {
            if let Some(bytes) = self.frames.take_exact::<HELLO_LEN>() {
                let checked = frame::check_hello(bytes);
                return checked.map(drop).map_err(|error| error.to_string());
            }
            self.listen()?;
        }
    }

    /// Its next frame.
    pub(super) fn frame(&mut self) -> Result<FromTask, Wrong> {
        loop {
            let frame = self.frames.next_frame();
            if let Some(frame) = frame.map_err(|error| error.to_string())? {
                return Ok(frame);
            }
            self.listen()?;
        }
    }

    /// Ready to be given jobs.
    pub(super) fn ready(&mut self) -> Result<(), Wrong> {
        self.hello()?;
        match self.frame()? {
            FromTask::Ready => Ok(()),
            other => Err(format!("{} came first", name(&other))),
        }
    }

    /// Sends bytes.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        let Some(jobs) = &mut self.jobs else {
            return Ok(());
        };
        let written = jobs.write_all(bytes).and_then(|()| jobs.flush());
        written.map_err(|error| format!("its job pipe cannot be written to: {error}"))
    }

    /// Sends bytes in three pieces, of which the first ends within the length of a frame.
    pub(super) fn send_slowly(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        let (first, rest) = bytes.split_at(bytes.len().min(2));
        let (second, third) = rest.split_at(rest.len() / 2);
        for piece in [first, second, third] {
            self.send(piece)?;
            // It is to have read this piece before the next one is there.
            if let Ok(bytes) = self.heard.recv_timeout(PAUSE) {
                self.frames.push(&bytes);
            }
        }
        Ok(())
    }

    /// Sends a message.
    pub(super) fn say(&mut self, message: &ToTask) -> Result<(), Wrong> {
        let bytes = codec::encode(message).map_err(|error| error.to_string())?;
        self.send(&bytes)
    }

    /// Nothing more will be said.
    pub(super) fn hang_up(&mut self) {
        self.jobs = None;
    }

    /// SIGTERM.
    fn term(&self) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).unwrap_or(i32::MAX);
        PidFd::open(pid)?.signal(libc::SIGTERM)
    }

    /// How many files it may open, soft and hard; `None` is no limit.
    pub(super) fn open_files(&self) -> io::Result<Option<(u64, u64)>> {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.child.id()))?;
        let mut lines = limits.lines();
        let line = lines.find_map(|line| line.strip_prefix("Max open files"));
        let mut numbers = line.unwrap_or_default().split_whitespace();
        let mut number = || numbers.next()?.parse().ok();
        Ok(number().zip(number()))
    }

    /// How it ended by itself; `None` if it did not.
    pub(super) fn end(&mut self) -> io::Result<Option<ExitStatus>> {
        self.end_within(PATIENCE)
    }

    /// How it ended at SIGTERM. One that comes before it has begun to wait is repeated.
    pub(super) fn end_by_term(&mut self) -> io::Result<Option<ExitStatus>> {
        const TIMES: u32 = 20;
        for _ in 0..TIMES {
            self.term()?;
            let status = self.end_within(PATIENCE / TIMES)?;
            if status.is_some() {
                return Ok(status);
            }
        }
        Ok(None)
    }

    fn end_within(&mut self, length: Duration) -> io::Result<Option<ExitStatus>> {
        let pid = i32::try_from(self.child.id()).unwrap_or(i32::MAX);
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        let pidfd = PidFd::open(pid)?;
        let timeout = PollTimeout::try_from(length).unwrap_or(PollTimeout::MAX);
        poll(
            &mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)],
            timeout,
        )?;
        self.child.try_wait()
    }

    /// Whether it has said anything more.
    pub(super) fn has_more(&mut self) -> bool {
        while let Ok(bytes) = self.heard.try_recv() {
            self.frames.push(&bytes);
        }
        self.frames.pending() > 0
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A frame's name.
pub(super) const fn name(frame: &FromTask) -> &'static str {
    match frame {
        FromTask::Ready => "Ready",
        FromTask::Progress { .. } => "Progress",
        FromTask::Done { .. } => "Done",
        FromTask::AllocationFailed { .. } => "AllocationFailed",
        FromTask::SetupFailed { .. } => "SetupFailed",
        FromTask::Declined { .. } => "Declined",
        FromTask::Ask { .. } => "Ask",
        FromTask::Forbidden { .. } => "Forbidden",
        FromTask::Passed { .. } => "Passed",
        FromTask::Parted { .. } => "Parted",
    }
}

/// A job for `task`.
pub(super) fn job(nonce: u64, task: &str, payload: &[u8]) -> ToTask {
    ToTask::Run(Run {
        nonce,
        uuid: [7; 16],
        task: task.into(),
        queue: "default".into(),
        attempt: 1,
        fence: 1 << 40,
        timeout_ms: 10_000,
        memory: None,
        header: ByteBuf::from(r#"{"v":1,"created_at":0}"#),
        payload: ByteBuf::from(payload),
    })
}
