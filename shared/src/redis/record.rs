//! What scripts keep about a job, read and written. The layout is told in `scripts/begin.lua`.

use std::fmt::Write;
use std::time::Duration;

use uuid::Uuid;

use super::call::Call;
use super::trouble::Trouble;
use crate::broker::Submission;
use crate::catalog::State;
use crate::message::{Gate, Header, Unique};
use crate::name::TaskName;
use crate::outcome::Cause;
use crate::time::Timestamp;

/// A time that is none.
pub(super) const NONE: &str = "------------";

/// Where the priority and the task begin, counted from 0.
const LANE: usize = 175;

/// Bytes of a token.
const TOKEN: usize = 16;

/// Longer messages, and results, lie beside their record: it is written anew at each step of the job.
const LONG: usize = 1024;

/// The bytes of what lies beside its record.
const ELSEWHERE: &str = "--------";

/// Those of a result that there is not.
pub(super) const NOTHING: &str = "........";

/// Bytes at the end of a record: how long its message is, and its result.
const SIZES: usize = 16;

/// One job's record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    bytes: &'a [u8],
    newline: usize,
    progress: usize,
    /// Where the history ends, and where the message does.
    history: usize,
    message: usize,
}

impl<'a> Record<'a> {
    /// Checks that `bytes` hold one.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Trouble> {
        let newline = newline(bytes).ok_or_else(nonsense)?;
        let progress = hex(&bytes[167..175]).ok_or_else(nonsense)?;
        let progress = usize::try_from(progress).map_err(|_| nonsense())?;
        let (parts, sizes) = bytes.split_last_chunk::<SIZES>().ok_or_else(nonsense)?;
        let (message, result) = sizes.split_at(SIZES / 2);
        let before = |end: usize, size: &[u8]| {
            let is_here = size != ELSEWHERE.as_bytes() && size != NOTHING.as_bytes();
            let size = match is_here {
                true => hex(size).and_then(|size| usize::try_from(size).ok()),
                false => Some(0),
            };
            size.and_then(|size| end.checked_sub(size))
                .ok_or_else(nonsense)
        };
        let message_end = before(parts.len(), result)?;
        let history = before(message_end, message)?;
        let whole = bytes[..LANE].is_ascii() && history > newline.saturating_add(progress);
        whole
            .then_some(Self {
                bytes,
                newline,
                progress,
                history,
                message: message_end,
            })
            .ok_or_else(nonsense)
    }

    pub(super) const fn state(&self) -> u8 {
        self.bytes[0]
    }

    /// Its state as people see it. A job on its way between stores is shown as what it was.
    pub(super) fn shown(&self, is_delayed: bool) -> Result<State, Trouble> {
        Ok(match self.state() {
            b'R' if is_delayed => State::Delayed,
            b'w' => State::Delayed,
            b'R' | b'r' => State::Ready,
            b'L' => State::Leased,
            b'S' | b's' => State::Succeeded,
            b'D' | b'd' => State::Dead,
            b'O' | b'o' => State::Dropped,
            _ => return Err(nonsense()),
        })
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.bytes[1] == b'1'
    }

    pub(super) fn fence(&self) -> Result<u64, Trouble> {
        hex(&self.bytes[2..16]).ok_or_else(nonsense)
    }

    /// Its number: its place in the line; no other job of this uuid has it.
    pub(super) fn seq(&self) -> Result<i64, Trouble> {
        let seq = hex(&self.bytes[16..30]).ok_or_else(nonsense)?;
        i64::try_from(seq).map_err(|_| nonsense())
    }

    /// Fence and seq as scripts compare them.
    pub(super) fn key(&self) -> &'a [u8] {
        &self.bytes[2..30]
    }

    pub(super) fn submitted_at(&self) -> Timestamp {
        self.time(30).unwrap_or_default()
    }

    pub(super) fn ready_at(&self) -> Timestamp {
        self.time(42).unwrap_or_default()
    }

    pub(super) fn ttl(&self) -> Option<Duration> {
        hex(&self.bytes[54..66]).map(Duration::from_millis)
    }

    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.time(66)
    }

    pub(super) fn started_at(&self) -> Option<Timestamp> {
        self.time(78)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        hex(&self.bytes[90..98]).and_then(|pid| u32::try_from(pid).ok())
    }

    pub(super) fn finished_at(&self) -> Option<Timestamp> {
        self.time(98)
    }

    /// When it is forgotten.
    pub(super) fn purge_at(&self) -> Option<Timestamp> {
        self.time(110)
    }

    /// When its result is forgotten, if that is before.
    pub(super) fn result_until(&self) -> Option<Timestamp> {
        self.time(122)
    }

    /// The supervisor that holds it.
    pub(super) fn owner(&self) -> Option<&'a str> {
        let owner = std::str::from_utf8(&self.bytes[134..166]).ok()?;
        (!owner.starts_with('-')).then_some(owner)
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        let letter = self.bytes[166];
        Cause::ALL
            .into_iter()
            .find(|cause| letter_of(*cause) == char::from(letter))
    }

    pub(super) fn priority(&self) -> Result<u32, Trouble> {
        let priority = self.lane()?.0.parse();
        priority.map_err(|_| nonsense())
    }

    pub(super) fn task(&self) -> Result<TaskName, Trouble> {
        let way = self.lane()?.1;
        let task = way.split_once('|').map_or(way, |(task, _)| task);
        TaskName::new(task).map_err(|_| nonsense())
    }

    fn lane(&self) -> Result<(&'a str, &'a str), Trouble> {
        let lane = std::str::from_utf8(&self.bytes[LANE..self.newline]).ok();
        lane.and_then(|lane| lane.split_once(':'))
            .ok_or_else(nonsense)
    }

    pub(super) fn progress(&self) -> Option<&'a [u8]> {
        let start = self.newline + 1;
        (self.progress > 0).then(|| &self.bytes[start..start + self.progress])
    }

    pub(super) fn history(&self) -> &'a [u8] {
        &self.bytes[self.newline + 1 + self.progress..self.history]
    }

    /// Header and payload of its message; `long` is the message if that lies beside the record.
    pub(super) fn message<'b>(&self, long: &'b [u8]) -> Result<(&'b [u8], &'b [u8]), Trouble>
    where
        'a: 'b,
    {
        message(match self.has_long_message() {
            true => long,
            false => &self.bytes[self.history..self.message],
        })
    }

    /// Whether its message lies beside it.
    pub(super) fn has_long_message(&self) -> bool {
        let sizes = &self.bytes[self.bytes.len() - SIZES..];
        sizes.starts_with(ELSEWHERE.as_bytes())
    }

    fn time(&self, from: usize) -> Option<Timestamp> {
        hex(&self.bytes[from..from + 12]).map(Timestamp::from_millis)
    }
}

/// Header and payload of a stored message.
fn message(bytes: &[u8]) -> Result<(&[u8], &[u8]), Trouble> {
    let length = bytes.get(TOKEN..TOKEN + 8).and_then(hex);
    let length = length.and_then(|length| usize::try_from(length).ok());
    let body = bytes.get(TOKEN + 8..).ok_or_else(nonsense)?;
    length
        .and_then(|length| body.split_at_checked(length))
        .ok_or_else(nonsense)
}

/// A message as it is stored. The token tells a resend from the message of somebody else.
pub(super) fn stored(token: &str, header: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = format!("{token}{:08x}", header.len()).into_bytes();
    out.extend_from_slice(header);
    out.extend_from_slice(payload);
    out
}

/// The end of a record, and its message and result as far as they lie beside it.
pub(super) fn ending<'a>(
    record: &mut Vec<u8>,
    message: &'a [u8],
    result: Option<&'a [u8]>,
) -> [&'a [u8]; 2] {
    let sizes = [size(Some(message)), size(result)];
    let beside = [message, result.unwrap_or_default()].map(|part| match part.len() > LONG {
        true => part,
        false => {
            record.extend_from_slice(part);
            b""
        }
    });
    sizes
        .iter()
        .for_each(|size| record.extend_from_slice(size.as_bytes()));
    beside
}

/// The bytes of a message or a result, as records have them.
pub(super) fn size(part: Option<&[u8]>) -> String {
    match part.map(<[u8]>::len) {
        None => NOTHING.into(),
        Some(length) if length > LONG => ELSEWHERE.into(),
        Some(length) => format!("{length:08x}"),
    }
}

/// The beginning of the record of a job that is ready at once, up to what [`fresh`] makes.
pub(super) fn ready(number: u64, now: Timestamp) -> String {
    let now = time(Some(now));
    format!("R0{:014x}{number:014x}{now}{now}", 0)
}

/// What of a new job does not depend on the store: its record from the ttl on, behind `out`, and its
/// message if that is long.
pub(super) fn fresh(
    mut out: String,
    submission: &Submission<'_>,
    token: u64,
) -> (Vec<u8>, Vec<u8>) {
    let message = submission.message;
    let header = serde_json::to_vec(&message.header)
        .expect("a header holds only text, numbers and checked JSON");
    out.reserve(400);
    out.push_str(&time(message.header.ttl_ms.map(Timestamp::from_millis)));
    out.push_str(&time(message.header.expires_at));
    // Never started, no process, no end.
    out.push_str(NONE);
    out.push_str("--------");
    out.push_str(NONE);
    out.push_str(NONE);
    out.push_str(NONE);
    out.push_str("--------------------------------");
    out.push_str("-00000000");
    let priority = message.priority;
    let way = way(&message.task, Some(&message.header));
    writeln!(out, "{priority}:{way}").expect("a text takes everything");
    let mut out = out.into_bytes();
    let message = stored(&format!("{token:016x}"), &header, &message.payload);
    let [long, _] = ending(&mut out, &message, None);
    let long = long.to_vec();
    (out, long)
}

/// A task and the gate that its job waits at, as lanes have them. No name holds `|` or `!`. A job
/// that was handed its lock waits behind nobody who wants it: it goes without a gate.
pub(super) fn way(task: &TaskName, header: Option<&Header>) -> String {
    let is_handed_over = |header: &&Header| header.lock.as_ref().is_some_and(|l| l.fence.is_some());
    match header
        .filter(|header| !is_handed_over(header))
        .and_then(Header::gate)
    {
        None => task.to_string(),
        Some(Gate::Key(key, most)) => format!("{task}|{most}:{key}"),
        Some(Gate::Lock(lock)) => format!("{task}|1!{lock}"),
    }
}

/// A unique key and for how long it is kept, as scripts take them.
pub(super) fn unique(call: &mut Call, unique: Option<&Unique>) {
    let Some(unique) = unique else {
        call.arg("");
        return;
    };
    let span = unique
        .for_ms
        .map(|ms| ms.min(Timestamp::MAX.as_millis()).to_string());
    let span = span.as_deref().unwrap_or("e");
    call.arg(format!("{span} {}", unique.key.as_str()));
}

/// A time as records have it.
pub(super) fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(
        || NONE.into(),
        |time| format!("{:012x}", time.min(Timestamp::MAX).as_millis()),
    )
}

/// Fence and seq as scripts compare them.
pub(super) fn key(fence: u64, mark: i64) -> String {
    format!("{fence:014x}{mark:014x}")
}

/// A cause as records have it.
pub(super) const fn letter_of(cause: Cause) -> char {
    match cause {
        Cause::Error => 'a',
        Cause::Timeout => 'b',
        Cause::Crash => 'c',
        Cause::OutOfMemory => 'd',
        Cause::Limit => 'e',
        // The scripts write this one too.
        Cause::Revoked => 'f',
        Cause::Expired => 'g',
        Cause::Protocol => 'h',
        Cause::UnknownTask => 'i',
        Cause::Sandbox => 'j',
        Cause::Lost => 'k',
    }
}

/// A uuid as keys have it.
pub(super) fn name(uuid: Uuid) -> String {
    uuid.simple().to_string()
}

/// The uuid that a line, or what follows one, is about, and its seq.
pub(super) fn line(text: &[u8]) -> Result<(i64, Uuid), Trouble> {
    let seq = text.get(..14).and_then(hex);
    let seq = seq.and_then(|seq| i64::try_from(seq).ok());
    let uuid = text
        .get(14..46)
        .and_then(|uuid| Uuid::try_parse_ascii(uuid).ok());
    seq.zip(uuid).ok_or_else(nonsense)
}

/// A number in hexadecimal digits.
pub(super) fn hex(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    u64::from_str_radix(text, 16).ok()
}

fn newline(bytes: &[u8]) -> Option<usize> {
    let lane = bytes.get(LANE..)?;
    lane.iter()
        .position(|byte| *byte == b'\n')
        .map(|at| LANE + at)
}

pub(super) fn nonsense() -> Trouble {
    Trouble::Nonsense("a job's record makes no sense".into())
}
