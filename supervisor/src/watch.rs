//! Watches the memory of tasks whose processes share a limit that no cgroup can keep: a thread that
//! looks at them while they run, and says when they have more together than they may.

use std::collections::HashMap;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_shared::time::Now;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use crate::notice::{Notice, Notices};
use crate::pool::Seat;
use crate::process::memory::{self, Members};

/// Between two looks at a task: what it can take beyond its limit is what it can write to in this
/// time.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A look at a task costs at most this part of the time until the next: whoever makes looks at
/// himself slow has fewer of them, and nobody else has.
const PART: u32 = 10;

/// Whom to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    pub members: Members,
    /// Bytes that all of them may have together.
    pub limit: u64,
    /// The size of their private directory in memory, which counts.
    pub tmp: Option<u64>,
}

#[derive(Debug)]
enum Word {
    Begin(Seat, Watched),
    Over(Seat),
}

/// Whoever tells the thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch(Sender<Word>);

impl Watch {
    /// Starts the thread.
    pub(crate) fn start(notices: Notices) -> io::Result<Self> {
        // Bounded by the slots there are: each has a beginning and an end on the way.
        let (words, inbox) = crossbeam::channel::unbounded();
        let watch = move || keep_watch(&inbox, &notices);
        thread::Builder::new().name("watch".into()).spawn(watch)?;
        Ok(Self(words))
    }

    /// From now on this process is looked at, with all that it starts.
    pub(crate) fn begin(&self, seat: Seat, watched: Watched) {
        // A thread that has panicked has said so.
        let _ = self.0.send(Word::Begin(seat, watched));
    }

    /// It has ended.
    pub(crate) fn over(&self, seat: Seat) {
        let _ = self.0.send(Word::Over(seat));
    }
}

/// A process under watch.
struct Case {
    generation: u64,
    watched: Watched,
    due: Instant,
}

fn keep_watch(inbox: &Receiver<Word>, notices: &Notices) {
    let mut cases: HashMap<u16, Case> = HashMap::new();
    loop {
        let due = cases.values().map(|case| case.due).min();
        let word = match due {
            None => inbox.recv().map_err(RecvTimeoutError::from),
            Some(due) => inbox.recv_deadline(due),
        };
        match word {
            Ok(Word::Begin(seat, watched)) => {
                let Seat { slot, generation } = seat;
                // A process that is given job after job is looked at no later for that.
                let known = cases
                    .get(&slot)
                    .filter(|case| case.generation == generation);
                let due = known.map_or_else(|| Now::read().mono + LOOK_EVERY, |case| case.due);
                let case = Case {
                    generation,
                    watched,
                    due,
                };
                cases.insert(slot, case);
            }
            Ok(Word::Over(seat)) => {
                let is_it = |case: &Case| case.generation == seat.generation;
                if cases.get(&seat.slot).is_some_and(is_it) {
                    cases.remove(&seat.slot);
                }
            }
            Err(RecvTimeoutError::Timeout) => cases.retain(|&slot, case| {
                let began = Now::read().mono;
                if case.due > began {
                    return true;
                }
                let found = look(&case.watched);
                let pause = (began.elapsed() * PART).max(LOOK_EVERY);
                case.due = Now::read().mono + pause;
                let generation = case.generation;
                if let Some(bytes) = found {
                    let limit = case.watched.limit;
                    let seat = Seat { slot, generation };
                    notices.send(Notice::Exceeded(seat, Exceeded { bytes, limit }));
                }
                found.is_none()
            }),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What a task had, and what it might have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// All its processes together.
    pub bytes: u64,
    pub limit: u64,
}

/// The bytes that they have, if it is too much.
fn look(watched: &Watched) -> Option<u64> {
    let Watched {
        members,
        limit,
        tmp,
    } = watched;
    if memory::at_most(&members.list(), *tmp) <= *limit {
        return None;
    }
    // Who forks while he is looked at may be counted for two: so it must be seen twice.
    let exact = || Some(memory::exact(&members.list(), *tmp)).filter(|bytes| bytes > limit);
    let first = exact()?;
    exact().map(|second| second.min(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(limit: u64) -> Watched {
        Watched {
            members: Members::Below(i32::try_from(std::process::id()).unwrap()),
            limit,
            tmp: None,
        }
    }

    #[test]
    fn who_has_too_much_is_named_once_and_others_are_left_alone() {
        let (notices, inbox, _wake) = Notices::new().unwrap();
        let watch = Watch::start(notices).unwrap();
        let seat = |slot| Seat {
            slot,
            generation: 7,
        };
        watch.begin(seat(1), watched(u64::MAX));
        watch.begin(seat(2), watched(1));
        watch.begin(seat(3), watched(1));
        watch.over(seat(3));
        let notice = inbox.recv_timeout(Duration::from_secs(10)).unwrap();
        let Notice::Exceeded(found, exceeded) = notice else {
            panic!("{notice:?}");
        };
        assert_eq!((found, exceeded.limit), (seat(2), 1));
        assert!(exceeded.bytes > 1 << 16, "{exceeded:?}");
        drop(watch);
        // Its thread ends, and with it the last who could tell anything.
        assert!(inbox.recv_timeout(Duration::from_secs(10)).is_err());
    }

    #[test]
    fn job_after_job_does_not_put_off_the_look() {
        let (notices, inbox, _wake) = Notices::new().unwrap();
        let watch = Watch::start(notices).unwrap();
        let seat = Seat {
            slot: 1,
            generation: 7,
        };
        let until = Now::read().mono + Duration::from_secs(10);
        let found = loop {
            watch.begin(seat, watched(1));
            match inbox.recv_timeout(Duration::from_millis(1)) {
                Ok(notice) => break notice,
                Err(_) => assert!(Now::read().mono < until, "nobody looks"),
            }
        };
        assert!(
            matches!(found, Notice::Exceeded(it, _) if it == seat),
            "{found:?}"
        );
    }
}
