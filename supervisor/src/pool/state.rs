//! The states of a slot. Each holds exactly what it needs.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::event::{Answer, End, Ticket, TicketId};

/// Far enough to mean never, near enough to be added to any instant: a hundred years.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// `from + length`, or never if that cannot be said.
pub(super) fn later(from: Instant, length: Duration) -> Instant {
    from.checked_add(length.min(NEVER)).unwrap_or(from)
}

/// Where a slot is in its life.
#[derive(Debug)]
pub(super) enum State {
    /// No process, and the next one may start.
    Vacant,
    /// A process was ordered. It cannot be signalled yet, but it may already speak.
    Forking { ready_by: Instant, heard: Heard },
    /// The ordered process is late: it is killed when it appears. Only the reactor can say that it
    /// never will, so there is no timer.
    Overdue,
    /// The ordered process came too late for a pool that stops: it is asked to quit when it appears.
    Unwanted { give_up_at: Instant },
    /// The process is there and prepares itself.
    Starting { ready_by: Instant },
    /// The process waits for a job.
    Idle { past: Past },
    /// The process runs a job.
    Busy {
        work: Work,
        deadline: Instant,
        limit: Limit,
    },
    /// The process still has a job's ending to give, and must exit before `kill_at`.
    Stopping {
        ticket: TicketId,
        cause: Cause,
        kill_at: Instant,
    },
    /// The process has no job, and must exit before `kill_at`.
    Quitting { why: Why, kill_at: Instant },
    /// The process was killed.
    Killing { after: After, give_up_at: Instant },
    /// The process is dead; what it left is being removed.
    Sweeping {
        after: After,
        began: Instant,
        give_up_at: Instant,
    },
    /// A process died unasked: no new one before `until`.
    Resting { until: Instant },
    /// No process ever again.
    Gone,
}

/// What a process said before its spawning was confirmed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Heard {
    Nothing,
    Ready,
    /// Something it must not say.
    Nonsense,
}

/// What a process has run so far.
#[derive(Debug, Clone, Copy)]
pub(super) enum Past {
    Fresh,
    /// `count` jobs, all of one kind.
    Served {
        count: u32,
        kind: u32,
    },
}

impl Past {
    pub(super) const fn count(self) -> u32 {
        match self {
            Self::Fresh => 0,
            Self::Served { count, .. } => count,
        }
    }
}

/// A job in a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    pub ticket: Ticket,
    pub since: Instant,
    /// Jobs the process had run before.
    pub served: u32,
}

/// Which end of time comes first.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    /// The attempt's.
    Attempt,
    /// The job's whole life.
    Life,
}

impl Limit {
    pub(super) const fn end(self) -> End {
        match self {
            Self::Attempt => End::TimedOut,
            Self::Life => End::Expired,
        }
    }
}

/// Why a process with a job has to exit.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cause {
    /// It answered; the ending stands.
    Answered {
        end: End,
        at: Instant,
    },
    Deadline(Limit),
    Revoked,
    Shutdown,
    /// It closed its link without an answer.
    Hangup,
}

impl Cause {
    /// The ending if the process exits by itself.
    pub(super) const fn if_exited(self) -> End {
        match self {
            Self::Answered { end, .. } => end,
            Self::Deadline(limit) => limit.end(),
            Self::Revoked => End::Revoked,
            Self::Shutdown => End::Released,
            Self::Hangup => End::Crashed,
        }
    }

    /// The ending if the process has to be killed.
    pub(super) const fn if_killed(self) -> End {
        match self {
            Self::Hangup => End::Protocol,
            Self::Answered { .. } | Self::Deadline(_) | Self::Revoked | Self::Shutdown => {
                self.if_exited()
            }
        }
    }

    /// What an answer makes of it.
    pub(super) const fn answered(self, answer: Answer, at: Instant) -> Late {
        match (self, answer) {
            (Self::Deadline(_) | Self::Shutdown, Answer::Returned) => {
                Late::Counts(Self::Answered {
                    end: End::Returned,
                    at,
                })
            }
            (Self::Deadline(_) | Self::Shutdown, Answer::Failed) => Late::Counts(Self::Answered {
                end: self.if_exited(),
                at,
            }),
            (Self::Revoked, Answer::Returned | Answer::Failed) => Late::Void,
            (Self::Answered { .. } | Self::Hangup, Answer::Returned | Answer::Failed) => {
                Late::Nonsense
            }
        }
    }
}

/// What an answer of a process that is being stopped is worth.
#[derive(Debug, Clone, Copy)]
pub(super) enum Late {
    Counts(Cause),
    Void,
    /// It cannot answer twice, nor after it hung up.
    Nonsense,
}

/// Why a process without a job has to exit.
#[derive(Debug, Clone, Copy)]
pub(super) enum Why {
    /// It was asked to.
    Asked,
    /// It closed its link.
    Unasked,
}

impl Why {
    pub(super) const fn after(self) -> After {
        match self {
            Self::Asked => After::Refill,
            Self::Unasked => After::Rest,
        }
    }
}

/// What follows when a process and all it left are gone.
#[derive(Debug, Clone, Copy)]
pub(super) enum After {
    /// The job's ending, then the next process.
    Settle(TicketId, End),
    /// The next process.
    Refill,
    /// A rest, then the next process.
    Rest,
}

impl After {
    /// A user revoked the job: that is its ending, unless it is not ours to end.
    pub(super) const fn revoke(&mut self) {
        match self {
            Self::Settle(_, End::Forgotten) | Self::Refill | Self::Rest => {}
            Self::Settle(_, end) => *end = End::Revoked,
        }
    }

    /// The lease was lost: an answer that was given keeps its settlement, for the store to judge.
    pub(super) const fn forget(&mut self) {
        match self {
            Self::Settle(_, End::Returned | End::Failed) | Self::Refill | Self::Rest => {}
            Self::Settle(_, end) => *end = End::Forgotten,
        }
    }

    /// The job whose ending is still to come.
    pub(super) const fn ticket(&self) -> Option<TicketId> {
        match self {
            Self::Settle(ticket, _) => Some(*ticket),
            Self::Refill | Self::Rest => None,
        }
    }
}
