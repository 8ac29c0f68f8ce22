//! Hears processes and zygotes, and tells the pool in the order of the grammar: Ready, answers,
//! hangup, exit. Pipes are emptied before an exit is reported: the result may still be in one when
//! the exit can already be seen.

use bulkhead_shared::Timestamp;
use bulkhead_shared::frame::{Answer as FrameAnswer, FromTask};
use bulkhead_shared::name::Key;
use bulkhead_shared::outcome::shorten;
use bulkhead_shared::time::Now;
use tracing::{error, info, warn};

use super::place::{Answered, Kind, Process, Reported, Running, SetUp, earlier};
use super::wardens::warden_died;
use super::{NOTE_AFTER, Reactor};
use crate::config::TaskOutput;
use crate::pool::{Answer, Input, LinkEvent, Seat};
use crate::process::exit;
use crate::process::link::{Read, Stream};

/// Reads of one output at its process' end: what a pipe holds, and a little more.
const LAST_READS: usize = 18;

/// Largest details of a task's progress, in bytes: they stand in every status.
const PROGRESS_LIMIT: usize = 64 << 10;

/// Longest name of a step that is said in the log, in bytes.
const STEP_LIMIT: usize = 256;

impl Reactor {
    pub(super) fn hear_process(
        &mut self,
        slot: u16,
        generation: u64,
        (kind, is_over): (Kind, bool),
        now: Now,
    ) {
        let Some(place) = self.places.get_mut(usize::from(slot)) else {
            return;
        };
        // Tokens hold only the low bits of a generation.
        let Some(process) = place.process.as_ref() else {
            return;
        };
        let seat = Seat {
            slot,
            generation: process.generation,
        };
        if super::place::token(slot, process.generation, kind)
            != super::place::token(slot, generation, kind)
        {
            return;
        }
        let is_there = process.pidfd.is_some();
        let close = |reactor: &mut Self, stream| {
            if let Some(process) = reactor.process(seat) {
                process.link.close_output(stream);
            }
        };
        match kind {
            Kind::Stdout if is_over => close(self, Stream::Out),
            Kind::Stderr if is_over => close(self, Stream::Err),
            Kind::Result => self.hear_frames(seat, now),
            Kind::Stdout => self.hear_output(seat, Stream::Out),
            Kind::Stderr => self.hear_output(seat, Stream::Err),
            Kind::Job => {
                let done = self
                    .process(seat)
                    .is_none_or(|process| !process.link.flush());
                if done {
                    self.stop_watching_job(seat);
                }
            }
            Kind::Exit | Kind::Report if !is_there => self.dismiss(slot),
            Kind::Exit => self.hear_exit(seat, now),
            Kind::Report => self.hear_warden(seat, now),
            Kind::Cgroup => self.look_at_sweep(slot, now),
        }
    }

    fn hear_frames(&mut self, seat: Seat, now: Now) {
        let mut frames = Vec::new();
        let Some(place) = self.places.get_mut(usize::from(seat.slot)) else {
            return;
        };
        let Some(process) = place.process(seat.generation) else {
            return;
        };
        let read = process.link.read_frames(&mut self.buffer, &mut frames);
        for frame in frames {
            self.take_frame(seat, frame, now);
        }
        match read {
            Ok(Read::Open) => {}
            Ok(Read::Closed) => self.tell(now, Input::Link(seat, LinkEvent::Hangup)),
            Err(violation) => self.violate(seat, violation, now),
        }
    }

    pub(super) fn violate(&mut self, seat: Seat, how: String, now: Now) {
        let Some(process) = self.places[usize::from(seat.slot)].process(seat.generation) else {
            return;
        };
        // What comes after is of no interest, and would come for ever.
        process.link.close_result();
        if process.violation.is_none() {
            warn!(
                slot = seat.slot,
                pid = process.pid,
                how,
                "a process broke the protocol"
            );
            process.violation = Some(how);
        }
        self.tell(now, Input::Link(seat, LinkEvent::Violation));
    }

    fn take_frame(&mut self, seat: Seat, frame: FromTask, now: Now) {
        let notes_due = &mut self.notes_due;
        let Some(process) = self.places[usize::from(seat.slot)].process(seat.generation) else {
            return;
        };
        let may = &self.menu.entry(process.profile).plan.may;
        if process.violation.is_some() {
            return;
        }
        let Process {
            running,
            served,
            is_group,
            set_up,
            link,
            ..
        } = process;
        let nursery = &mut self.nurseries[usize::from(process.profile)];
        // Whoever has read a job was set up before.
        if *set_up == SetUp::Expected && !matches!(frame, FromTask::Ready) && link.was_read() {
            *set_up = SetUp::Done;
        }
        let event = match frame {
            FromTask::Ready => {
                nursery.relies(true);
                let is_known = *set_up == SetUp::Expected;
                *set_up = SetUp::Done;
                Ok((!is_known).then_some(Input::Link(seat, LinkEvent::Ready)))
            }
            FromTask::Progress { nonce, details } => call(running, nonce).and_then(|running| {
                if details.len() > PROGRESS_LIMIT {
                    return Err("reported progress over the limit of 64 KiB");
                }
                if may.progress {
                    running.progress = Some(details.into_vec());
                    running.is_noted = false;
                    *notes_due = earlier(*notes_due, Some(now.mono + NOTE_AFTER));
                }
                Ok(None)
            }),
            FromTask::Done {
                nonce,
                answer,
                usage,
            } => call(running, nonce).and_then(|running| {
                let (answer, event) = answered(may.durable, answer)?;
                let reported = Reported {
                    cpu_user_us: usage.cpu_user_us,
                    cpu_system_us: usage.cpu_system_us,
                    max_rss_kb: usage.max_rss_kb,
                };
                running.answer = Some((answer, reported));
                *served += 1;
                Ok(match *is_group {
                    true => Some(Input::Answered(seat, running.ticket, event)),
                    false => Some(Input::Link(seat, LinkEvent::Done(event))),
                })
            }),
            FromTask::Declined { nonce, what } => call(running, nonce).map(|running| {
                running.declined = Some(what);
                None
            }),
            FromTask::Ask { nonce, id, ask } => return self.take_ask(seat, (nonce, id), ask, now),
            FromTask::AllocationFailed { nonce, bytes } => call(running, nonce).map(|running| {
                running.failed_allocation = Some(bytes);
                None
            }),
            FromTask::Forbidden { nonce, syscall } => call(running, nonce).map(|running| {
                running.forbidden = Some(syscall);
                None
            }),
            FromTask::Passed { nonce, position } => {
                return self.pass_events(seat, nonce, position, now);
            }
            FromTask::Parted { nonce, position } => {
                return self.part_events(seat, nonce, position, now);
            }
            FromTask::SetupFailed { .. } if matches!(set_up, SetUp::Done | SetUp::Failed) => {
                Err("says out of turn that its sandbox could not be set up")
            }
            FromTask::SetupFailed { mut step, errno } => {
                // Once: whoever says it has nothing else to say.
                *set_up = SetUp::Failed;
                nursery.relies(false);
                shorten(&mut step, STEP_LIMIT);
                let error = std::io::Error::from_raw_os_error(errno);
                error!(%error, step, slot = seat.slot, "a task's sandbox could not be set up");
                Ok(None)
            }
        };
        match event {
            Ok(Some(input)) => self.tell(now, input),
            Ok(None) => {}
            Err(violation) => self.violate(seat, violation.into(), now),
        }
    }

    fn hear_output(&mut self, seat: Seat, stream: Stream) {
        let Some(place) = self.places.get_mut(usize::from(seat.slot)) else {
            return;
        };
        let Some(process) = place.process(seat.generation) else {
            return;
        };
        let len = process.link.read_output(stream, &mut self.buffer);
        if matches!(self.output, TaskOutput::Log) && len > 0 {
            // What a group prints is nobody's in particular.
            let only = Some(&process.running).filter(|_| !process.is_group);
            let job = only
                .and_then(|running| running.first())
                .and_then(|running| self.jobs.get(&running.ticket));
            let uuid = job.map(|job| job.receipt.uuid);
            for line in String::from_utf8_lossy(&self.buffer[..len]).lines() {
                info!(job = ?uuid, pid = process.pid, stream = ?stream, line, "task output");
            }
        }
    }

    /// Empties the pipes of a process that has ended.
    pub(super) fn hear_rest(&mut self, seat: Seat, now: Now) {
        self.hear_frames(seat, now);
        for stream in [Stream::Out, Stream::Err] {
            let before = |reactor: &mut Self| {
                reactor
                    .process(seat)
                    .map(|p| p.link.out.total() + p.link.err.total())
            };
            for _ in 0..LAST_READS {
                let total = before(self);
                self.hear_output(seat, stream);
                if before(self) == total {
                    break;
                }
            }
        }
    }

    pub(super) fn hear_exit(&mut self, seat: Seat, now: Now) {
        self.hear_rest(seat, now);
        self.judge_set_up(seat);
        let Some(process) = self.places[usize::from(seat.slot)].process(seat.generation) else {
            return;
        };
        let Some(pidfd) = &process.pidfd else { return };
        match exit::reap(pidfd) {
            Ok(Some(exit)) => process.exit = Some(exit),
            Ok(None) => return self.end_tracer(seat, now),
            // Somebody else has reaped it: its end is known, its status is not.
            Err(error) => error!(%error, pid = process.pid, "a process could not be reaped"),
        }
        {
            use std::os::fd::AsFd;
            // The zygote may hold its copy for a moment still, which would keep the watch alive.
            let _ = self.epoll.delete(pidfd.as_fd());
        }
        process.pidfd = None;
        match process.warden.take() {
            Some(warden) => warden_died(process, warden),
            None => process.report = process.link.report(),
        }
        self.exited(seat, now);
    }

    /// A process is no more; how it ended is known.
    pub(super) fn exited(&mut self, seat: Seat, now: Now) {
        let Some(process) = self.process(seat) else {
            return;
        };
        say_unasked_death(seat, process);
        // A grandchild may hold the pipes; what it writes from now on is nobody's.
        process.link.close();
        if let Some(watch) = &self.watch {
            watch.over(seat);
        }
        self.tell(now, Input::Link(seat, LinkEvent::Exited));
    }
}

/// A process that dies without a job and without having been asked to is throttled; people should
/// know why nothing runs.
fn say_unasked_death(seat: Seat, process: &Process) {
    let is_asked = process.is_killed || process.link.job().is_none();
    let Some(exit) = process.exit else { return };
    if process.running.is_empty() && process.served == 0 && !is_asked {
        let Seat { slot, .. } = seat;
        let signal = exit::signal_name(exit.signal);
        let (pid, code) = (process.pid, exit.code);
        let how = if exit.signal == 0 {
            format!("exit code {code}")
        } else {
            signal
        };
        warn!(slot, pid, how, "a process died before it had a job");
    }
}

/// What a task answered, bounded: all of it but a result is kept for as long as its job is.
fn answered(may_sleep: bool, answer: FrameAnswer) -> Result<(Answered, Answer), &'static str> {
    Ok(match answer {
        FrameAnswer::Returned(bytes) => (Answered::Returned(bytes.into_vec()), Answer::Returned),
        FrameAnswer::Failed(failure) => (Answered::Failed(failure.shortened()), Answer::Failed),
        // As good as a return: its process has nothing left to do.
        FrameAnswer::Snoozed { until_ms, signal } => {
            (snoozed(may_sleep, until_ms, signal)?, Answer::Returned)
        }
    })
}

/// A sleep that a task wants.
fn snoozed(
    may_sleep: bool,
    until_ms: u64,
    signal: Option<String>,
) -> Result<Answered, &'static str> {
    if !may_sleep {
        return Err("wants to sleep, which its profile does not allow");
    }
    let signal = signal.map(|name| Key::new(&name)).transpose();
    let signal = signal.map_err(|_| "sleeps for a signal that has no name")?;
    let until = Timestamp::from_millis(until_ms).min(Timestamp::MAX);
    Ok(Answered::Snoozed(until, signal))
}

/// The job that a frame speaks of.
pub(super) fn call(running: &mut [Running], nonce: u64) -> Result<&mut Running, &'static str> {
    let is_idle = running.is_empty();
    match running.iter_mut().find(|running| running.nonce == nonce) {
        Some(running) if running.answer.is_some() => Err("answered twice"),
        Some(running) => Ok(running),
        None if is_idle => Err("answered without a call"),
        None => Err("answered for a call that is not its own"),
    }
}

#[cfg(test)]
mod tests {
    use bulkhead_shared::frame::{FAILURE_NAME_LIMIT, FAILURE_TEXT_LIMIT, Failure};

    use super::*;

    fn failed(length: usize) -> Failure {
        // Three bytes each: no limit lies between two of them.
        let text = "\u{2665}".repeat(length);
        let failure = Failure {
            name: text.clone(),
            text: text.clone(),
            traceback: Some(text),
            is_final: false,
        };
        match answered(false, FrameAnswer::Failed(failure)) {
            Ok((Answered::Failed(failure), Answer::Failed)) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failure_is_cut_between_two_characters_to_what_is_kept_of_one() {
        let kept = failed(1 << 20);
        let is_cut = |text: &str, most: usize| {
            assert!(
                text.len() <= most && text.len() > most - 3,
                "{}",
                text.len()
            );
            assert!(text.ends_with("\u{2665}... (cut)"));
        };
        is_cut(&kept.name, FAILURE_NAME_LIMIT);
        is_cut(&kept.text, FAILURE_TEXT_LIMIT);
        is_cut(&kept.traceback.unwrap(), FAILURE_TEXT_LIMIT);
    }

    #[test]
    fn a_failure_within_the_limits_is_kept_as_it_is_said() {
        let kept = failed(80);
        assert_eq!(kept.name, "\u{2665}".repeat(80));
        assert_eq!(
            (&kept.name, Some(&kept.name)),
            (&kept.text, kept.traceback.as_ref())
        );
    }
}
