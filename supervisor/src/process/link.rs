//! What is read from and written to one task process. Bounded in every direction: by the frame
//! limit, by the ring of each output, by how much is read in a turn.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use bulkhead_shared::codec::{self, Assembler};
use bulkhead_shared::frame::{self, FromTask, InitReport};
use nix::errno::Errno;

use super::pipes::Ours;

/// Bytes kept of each output where nothing else is said: enough for a stack trace, little enough for
/// every status.
pub(crate) const TAIL: u32 = 64 << 10;

/// Bytes read from one pipe in a turn: the capacity of a pipe, so that one flood cannot hold up
/// the others.
pub(crate) const READ: usize = 64 << 10;

/// Reads of the result pipe in a turn: a large result takes several, nobody else waits long.
const RESULT_READS: usize = 16;

/// The end of an output.
#[derive(Debug)]
pub(crate) struct Tail {
    kept: VecDeque<u8>,
    /// Bytes that are kept.
    most: usize,
    total: u64,
}

impl Tail {
    pub(crate) const fn new(most: u32) -> Self {
        Self {
            kept: VecDeque::new(),
            most: most as usize,
            total: 0,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(self.most)..];
        let surplus = (self.kept.len() + bytes.len()).saturating_sub(self.most);
        self.kept.drain(..surplus);
        self.kept.extend(bytes);
    }

    /// Whether more has come than is kept.
    pub(crate) const fn is_cut(&self) -> bool {
        self.total > self.most as u64
    }

    /// All bytes there were, kept or not.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// What is kept, as text; what is no text is replaced.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.kept.make_contiguous()).into_owned()
    }

    /// Forgets everything: the next job of a reused process begins.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
        self.total = 0;
    }
}

/// What reading brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Maybe more, later.
    Open,
    /// The other end is closed.
    Closed,
}

/// Reads once.
fn read_some(from: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match nix::unistd::read(from, buffer) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// One task process' pipes.
#[derive(Debug)]
pub(crate) struct Link {
    job: Option<OwnedFd>,
    unsent: Vec<u8>,
    sent: usize,
    /// Bytes that were written to the process, in all.
    written: u64,
    /// Closed as soon as nothing more is to be read: that also ends its watch. So are the outputs.
    result: Option<OwnedFd>,
    frames: Assembler,
    said_hello: bool,
    /// Its first job was there before it was: it may say nothing before its answer.
    needs_no_hello: bool,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    pub(crate) out: Tail,
    pub(crate) err: Tail,
    report: Option<OwnedFd>,
}

/// One of the two outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl Link {
    /// Keeps so many bytes of each output.
    pub(crate) fn new(ours: Ours, output: u32) -> Self {
        let Ours {
            job,
            result,
            stdout,
            stderr,
            report,
        } = ours;
        let tail = || Tail::new(output);
        Self {
            job: Some(job),
            unsent: Vec::new(),
            sent: 0,
            written: 0,
            result: Some(result),
            frames: Assembler::default(),
            said_hello: false,
            needs_no_hello: false,
            stdout: Some(stdout),
            stderr: Some(stderr),
            out: tail(),
            err: tail(),
            report,
        }
    }

    pub(crate) fn job(&self) -> Option<BorrowedFd<'_>> {
        self.job.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn result(&self) -> Option<BorrowedFd<'_>> {
        self.result.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn stream(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        match stream {
            Stream::Out => self.stdout.as_ref().map(AsFd::as_fd),
            Stream::Err => self.stderr.as_ref().map(AsFd::as_fd),
        }
    }

    /// The process gets its first job before it is there.
    pub(crate) const fn waives_hello(&mut self) {
        self.needs_no_hello = true;
    }

    /// Closes the result pipe: what comes after is of no interest.
    pub(crate) fn close_result(&mut self) {
        self.result = None;
    }

    /// Closes one output.
    pub(crate) fn close_output(&mut self, stream: Stream) {
        match stream {
            Stream::Out => self.stdout = None,
            Stream::Err => self.stderr = None,
        }
    }

    /// Closes everything that is read, but for the report.
    pub(crate) fn close(&mut self) {
        self.result = None;
        self.stdout = None;
        self.stderr = None;
    }

    /// Closes the job pipe: an idle process ends.
    pub(crate) fn hang_up(&mut self) {
        self.job = None;
    }

    /// Queues a frame and writes what the pipe takes; whether something is left to write.
    pub(crate) fn send(&mut self, frame: Vec<u8>) -> bool {
        if self.unsent.is_empty() {
            self.unsent = frame;
        } else {
            // Who always has some more to read never comes to the end of this.
            if self.sent > self.unsent.len() / 2 {
                self.unsent.drain(..self.sent);
                self.sent = 0;
            }
            self.unsent.extend(frame);
        }
        self.flush()
    }

    /// Whether frames wait for the pipe.
    pub(crate) const fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Bytes that wait for the pipe.
    pub(crate) const fn unsent(&self) -> usize {
        self.unsent.len() - self.sent
    }

    /// Writes what the pipe takes; whether something is left.
    pub(crate) fn flush(&mut self) -> bool {
        let Some(job) = &self.job else { return false };
        while self.sent < self.unsent.len() {
            match nix::unistd::write(job, &self.unsent[self.sent..]) {
                Ok(len) => {
                    self.sent += len;
                    self.written += len as u64;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return true,
                // The process is gone or has closed its end; its exit tells the rest.
                Err(_) => break,
            }
        }
        self.unsent = Vec::new();
        self.sent = 0;
        false
    }

    /// Whether anything was written to the process.
    pub(crate) const fn was_written_to(&self) -> bool {
        self.written > 0
    }

    /// Whether the process has read any of what was written to it. What a pipe holds both ends can ask
    /// (`FIONREAD`, pipe(7)).
    pub(crate) fn was_read(&self) -> bool {
        let Some(job) = &self.job else { return false };
        let mut unread: libc::c_int = 0;
        // SAFETY: the call writes one int, which lives here, and takes an open descriptor.
        let asked = unsafe { libc::ioctl(job.as_raw_fd(), libc::FIONREAD, &raw mut unread) };
        asked == 0 && u64::try_from(unread).is_ok_and(|unread| unread < self.written)
    }

    /// Takes what was written to the process out of its pipe again, and closes that; whether the process has
    /// read nothing, and will not. It can be taken out for good: a pipe that is opened once more is the same.
    pub(crate) fn withdraw(&mut self) -> bool {
        let Some(job) = self.job.take() else {
            return !self.was_written_to();
        };
        let path = format!("/proc/self/fd/{}", job.as_raw_fd());
        let mut options = std::fs::File::options();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let Ok(reader) = options.open(path) else {
            self.job = Some(job);
            return false;
        };
        let (mut buffer, mut taken) = ([0; 4096], 0);
        while let Ok(len @ 1..) = read_some(reader.as_fd(), &mut buffer) {
            taken += len as u64;
        }
        self.unsent = Vec::new();
        self.sent = 0;
        taken == self.written
    }

    /// Reads frames. The error is a violation of the protocol, in words.
    pub(crate) fn read_frames(
        &mut self,
        buffer: &mut [u8],
        frames: &mut Vec<FromTask>,
    ) -> Result<Read, String> {
        for _ in 0..RESULT_READS {
            let Some(result) = &self.result else { break };
            match read_some(result.as_fd(), buffer) {
                Ok(0) => {
                    self.result = None;
                    return Ok(Read::Closed);
                }
                Ok(len) => {
                    self.frames.push(&buffer[..len]);
                    self.take_frames(frames)?;
                    if len < buffer.len() {
                        return Ok(Read::Open);
                    }
                }
                Err(Errno::EAGAIN) => return Ok(Read::Open),
                Err(_) => {
                    self.result = None;
                    return Ok(Read::Closed);
                }
            }
        }
        Ok(Read::Open)
    }

    fn take_frames(&mut self, frames: &mut Vec<FromTask>) -> Result<(), String> {
        if self.needs_no_hello && !self.said_hello {
            // No frame begins like a hello: it would be too long.
            let Some(first) = self.frames.first() else {
                return Ok(());
            };
            self.said_hello = first != frame::MAGIC;
        }
        if !self.said_hello {
            let Some(hello) = self.frames.take_exact::<{ frame::HELLO_LEN }>() else {
                return Ok(());
            };
            frame::check_hello(hello).map_err(|error| error.to_string())?;
            self.said_hello = true;
        }
        while let Some(frame) = self
            .frames
            .next_frame()
            .map_err(|error| error.to_string())?
        {
            frames.push(frame);
        }
        Ok(())
    }

    /// Reads one output once; how many bytes came.
    pub(crate) fn read_output(&mut self, stream: Stream, buffer: &mut [u8]) -> usize {
        let (from, tail) = match stream {
            Stream::Out => (&mut self.stdout, &mut self.out),
            Stream::Err => (&mut self.stderr, &mut self.err),
        };
        let Some(open) = from else { return 0 };
        match read_some(open.as_fd(), buffer) {
            Ok(len @ 1..) => {
                tail.push(&buffer[..len]);
                len
            }
            Err(Errno::EAGAIN) => 0,
            Ok(0) | Err(_) => {
                *from = None;
                0
            }
        }
    }

    /// The socket of the init above the task, if that is a warden: hears it from here on.
    pub(crate) const fn take_report(&mut self) -> Option<OwnedFd> {
        self.report.take()
    }

    /// What the init above the task reported, if there was one and it did.
    pub(crate) fn report(&self) -> Option<InitReport> {
        let mut bytes = [0; 32];
        let len = read_some(self.report.as_ref()?.as_fd(), &mut bytes).ok()?;
        codec::decode(&bytes[..len]).ok()
    }
}

/// A frame for a task process.
pub(crate) fn encode(frame: &frame::ToTask) -> io::Result<Vec<u8>> {
    codec::encode(frame).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;

    use super::*;

    /// Frames as a reader gets them that never comes to the end of what there is for it.
    #[test]
    fn what_is_always_more_than_the_pipe_takes_is_sent_in_order_and_does_not_pile_up() {
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).unwrap();
        let other = || File::open("/dev/null").unwrap().into();
        let ours = Ours {
            job: writer,
            result: other(),
            stdout: other(),
            stderr: other(),
            report: None,
        };
        let mut link = Link::new(ours, 0);
        let mut reader = File::from(reader);
        let frame = |number: u32| number.to_le_bytes().repeat(10_000);
        for number in 0..10 {
            link.send(frame(number));
        }
        let mut got = vec![0; 40_000];
        for number in 0..500 {
            let mut filled = 0;
            while filled < got.len() {
                filled += reader.read(&mut got[filled..]).unwrap();
                link.flush();
            }
            assert_eq!(got, frame(number));
            link.send(frame(number + 10));
            assert!(link.has_unsent() && link.unsent.len() < 1 << 20);
        }
    }

    /// A link, the process' end of its job pipe, and that of its result pipe.
    fn connected() -> (Link, File, File) {
        let (job, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).unwrap();
        let (reader, result) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).unwrap();
        let other = || File::open("/dev/null").unwrap().into();
        let ours = Ours {
            job: writer,
            result: reader,
            stdout: other(),
            stderr: other(),
            report: None,
        };
        (Link::new(ours, 0), job.into(), result.into())
    }

    #[test]
    fn a_job_that_waits_in_its_pipe_was_not_read_and_one_byte_less_says_that_it_was() {
        let (mut link, mut job, _result) = connected();
        assert!(!link.was_written_to() && !link.was_read());
        link.send(vec![1; 100]);
        assert!(link.was_written_to() && !link.was_read());
        job.read_exact(&mut [0]).unwrap();
        assert!(link.was_read());
        link.hang_up();
        assert!(!link.was_read());
    }

    #[test]
    fn a_job_that_is_withdrawn_is_not_there_to_be_read_and_one_that_was_read_is_not_withdrawn() {
        // More than the pipe holds: the rest is never written.
        for length in [100, 100_000] {
            let (mut link, mut job, _result) = connected();
            link.send(vec![1; length]);
            assert!(link.withdraw(), "{length}");
            assert!(!link.has_unsent());
            assert_eq!(job.read(&mut [0]).unwrap(), 0, "it has ended");
        }
        let (mut link, mut job, _result) = connected();
        link.send(vec![1; 100]);
        job.read_exact(&mut [0]).unwrap();
        assert!(!link.withdraw());
        let (mut link, _job, _result) = connected();
        assert!(link.withdraw(), "there was nothing");
        let (mut link, ..) = connected();
        link.hang_up();
        assert!(link.withdraw());
    }

    fn heard(waives: bool, bytes: &[u8]) -> Result<Vec<FromTask>, String> {
        let (mut link, _job, mut result) = connected();
        if waives {
            link.waives_hello();
        }
        let mut frames = Vec::new();
        // In two parts: the first may be too short to say what it is.
        for part in [&bytes[..3], &bytes[3..]] {
            io::Write::write_all(&mut result, part).unwrap();
            link.read_frames(&mut [0; 256], &mut frames)?;
        }
        Ok(frames)
    }

    #[test]
    fn who_has_its_job_already_may_leave_out_the_hello_and_nobody_else() {
        let ready = codec::encode(&FromTask::Ready).unwrap();
        let greeted = [frame::hello().to_vec(), ready.clone()].concat();
        for waives in [false, true] {
            assert_eq!(heard(waives, &greeted), Ok(vec![FromTask::Ready]));
        }
        assert_eq!(heard(true, &ready), Ok(vec![FromTask::Ready]));
        assert!(heard(false, &[ready, vec![0; 8]].concat()).is_err());
        assert!(heard(true, b"HTTP/1.1 200 OK").is_err());
    }

    #[test]
    fn of_a_flood_the_end_is_kept_and_all_of_it_is_counted() {
        let mut tail = Tail::new(TAIL);
        for _ in 0..40 {
            tail.push(&[b'x'; READ]);
        }
        tail.push(b"end");
        assert_eq!(tail.total(), 40 * READ as u64 + 3);
        let text = tail.text();
        assert_eq!(text.len(), TAIL as usize);
        assert!(text.ends_with("xend"));
    }
}
