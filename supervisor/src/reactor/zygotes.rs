//! Hears zygotes, starts them, and lets go of those that nobody needs.

use std::collections::VecDeque;
use std::time::Duration;

use bulkhead_shared::outcome::{Cause, ErrorDetails, Outcome};
use bulkhead_shared::time::Now;
use nix::sys::epoll::EpollFlags;
use tracing::{debug, error, info, warn};

use super::nursery::{ANSWER_WITHIN, READY_WITHIN, Stage};
use super::place::{Process, SetUp};
use super::{Reactor, watch, zygote_token};
use crate::job::Job;
use crate::pool::{Input, Seat};
use crate::process::zygote::{Said, Zygote, ZygoteError};

/// Zygotes at once: each is a copy of the tasks' program in memory.
const ZYGOTES: usize = 8;

/// A zygote that nobody has wanted a process of for so long ends.
const ZYGOTE_IDLE: Duration = Duration::from_secs(60);

impl Reactor {
    pub(super) fn start_zygote(&mut self, profile: u16, now: Now) {
        self.make_room_for(profile);
        let index = usize::from(profile);
        let cgroups = self.cgroups.as_ref().map(|cgroups| cgroups.as_fd());
        let zygote = Zygote::start(&self.nurseries[index].recipe, cgroups).and_then(|zygote| {
            let input = EpollFlags::EPOLLIN;
            watch(
                &self.epoll,
                zygote.socket(),
                input,
                zygote_token(profile, false),
            )
            .and_then(|()| {
                watch(
                    &self.epoll,
                    zygote.output(),
                    input,
                    zygote_token(profile, true),
                )
            })
            .map_err(|errno| ZygoteError::Start(errno.into()))?;
            Ok(zygote)
        });
        match zygote {
            Ok(zygote) => self.nurseries[index].starting(zygote, now.mono),
            Err(error) => self.zygote_failed(profile, &error, now),
        }
    }

    /// Lets the zygote go that has been idle for longest, if there are as many as there may be.
    fn make_room_for(&mut self, profile: u16) {
        let alive = self
            .nurseries
            .iter()
            .filter(|nursery| !nursery.is_dormant());
        if alive.count() < ZYGOTES {
            return;
        }
        let usual = usize::from(self.menu.usual());
        let idle = self
            .nurseries
            .iter()
            .enumerate()
            .filter_map(|(index, nursery)| {
                let is_other = index != usual && index != usize::from(profile);
                let since = nursery.idle_since().filter(|_| is_other)?;
                Some((since, index))
            });
        if let Some((_, index)) = idle.min() {
            self.nurseries[index].rest_for_long();
        }
    }

    /// Lets go of zygotes that nobody has wanted a process of for long.
    pub(super) fn let_idle_zygotes_go(&mut self, now: Now) {
        let usual = usize::from(self.menu.usual());
        for (index, nursery) in self.nurseries.iter_mut().enumerate() {
            let is_idle = |since| now.mono.saturating_duration_since(since) > ZYGOTE_IDLE;
            if index != usual && nursery.idle_since().is_some_and(is_idle) {
                nursery.rest_for_long();
            }
        }
    }

    fn zygote_failed(&mut self, profile: u16, error: &ZygoteError, now: Now) {
        error!(profile = self.menu.name(profile), "{error}; trying again");
        let asked = self.nurseries[usize::from(profile)]
            .fail(now.mono)
            .map(|zygote| {
                let asked = zygote.asked.clone();
                drop(zygote.end());
                asked
            });
        self.nurseries[usize::from(profile)].failed_by(error);
        self.fail_spawns(profile, asked.unwrap_or_default(), now);
    }

    /// How a job ends whose profile cannot be set up: without this it would never find a process.
    /// Without the usual profile nothing runs, and its jobs wait for somebody to mend it.
    pub(super) fn refused(&self, job: &Job) -> Option<Outcome> {
        if job.profile == self.menu.usual() || job.ticket.is_of_stream() {
            return None;
        }
        let why = self.nurseries[usize::from(job.profile)].unfit()?;
        let name = self.menu.name(job.profile);
        let text = format!(
            "the profile `{name}` cannot be set up: {why} (mend what it says, or the profile; it is \
             tried again by itself)"
        );
        Some(Outcome::Failed {
            cause: Cause::Sandbox,
            error: ErrorDetails::new("profile", text),
            is_final: false,
        })
    }

    /// The spawns that were waiting for a zygote, or were asked of it, will come to nothing.
    fn fail_spawns(&mut self, profile: u16, asked: VecDeque<u64>, now: Now) {
        let waiting = std::mem::take(&mut self.nurseries[usize::from(profile)].waiting);
        let mut seats: Vec<Seat> = waiting.into_iter().map(|spawn| spawn.seat).collect();
        for (place, slot) in self.places.iter().zip(0..) {
            let generation = place.process.as_ref().map(|process| process.generation);
            if let Some(generation) = generation.filter(|generation| asked.contains(generation)) {
                seats.push(Seat { slot, generation });
            }
        }
        for seat in seats {
            self.drop_unborn(seat, now);
        }
    }

    pub(super) fn hear_zygote(&mut self, profile: u16, now: Now) {
        let index = usize::from(profile);
        loop {
            let Some(zygote) = self.nurseries[index].zygote() else {
                return;
            };
            match zygote.hear() {
                Ok(Said::Nothing) => return,
                Ok(Said::Ready(tasks)) => {
                    self.nurseries[index].ready(now.mono);
                    debug!(tasks = tasks.len(), "zygote ready");
                    self.memory = self.registrar.register(tasks);
                    self.ask_zygote(profile, now);
                }
                Ok(Said::Forked {
                    generation,
                    pid,
                    pidfd,
                }) => {
                    self.nurseries[index].answered(now.mono);
                    self.born(generation, pid, pidfd, now);
                    self.ask_zygote(profile, now);
                }
                Ok(Said::ForkFailed { generation, error }) => {
                    warn!(%error, "the zygote could not fork");
                    self.nurseries[index].answered(now.mono);
                    let asked = VecDeque::from([generation]);
                    let waiting = std::mem::take(&mut self.nurseries[index].waiting);
                    self.fail_spawns(profile, asked, now);
                    // Those that were added meanwhile come last.
                    let added = std::mem::replace(&mut self.nurseries[index].waiting, waiting);
                    self.nurseries[index].waiting.extend(added);
                    self.ask_zygote(profile, now);
                }
                Ok(Said::Gone) => return self.zygote_died(profile, now),
                Err(error) => {
                    self.nurseries[index]
                        .zygote()
                        .map(|zygote| self.epoll.delete(zygote.socket()));
                    return self.zygote_failed(profile, &error, now);
                }
            }
        }
    }

    fn born(&mut self, generation: u64, pid: i32, pidfd: bulkhead_shared::pidfd::PidFd, now: Now) {
        let is_it = |p: &Process| p.generation == generation;
        let slot = self
            .places
            .iter()
            .position(|p| p.process.as_ref().is_some_and(is_it));
        let Some(slot) = slot.and_then(|slot| u16::try_from(slot).ok()) else {
            // Nobody waits for it any more; its job pipe is closed, so it ends by itself.
            return debug!(pid, "a process came too late");
        };
        let seat = Seat { slot, generation };
        let mut is_expected = false;
        let mut signal = None;
        if let Some(process) = self.process(seat) {
            process.pid = pid;
            process.pidfd = Some(pidfd);
            is_expected = process.set_up == SetUp::Expected;
            signal = process.signal.take();
        }
        if let Err(error) = self.watch_process(seat) {
            error!(%error, pid, "a process cannot be watched (raise fs.epoll.max_user_watches)");
        }
        if let Some(force) = signal {
            self.signal(seat, force, now);
        }
        if !is_expected {
            self.tell(now, Input::Spawned(seat));
        }
    }

    fn zygote_died(&mut self, profile: u16, now: Now) {
        let was_ready = self.nurseries[usize::from(profile)]
            .zygote()
            .is_some_and(|zygote| zygote.is_ready());
        let Some(zygote) = self.nurseries[usize::from(profile)].fail(now.mono) else {
            return;
        };
        let asked = zygote.asked.clone();
        let error = zygote.end();
        if was_ready {
            // Once it was of use; a new one is worth a try at once. Running tasks are not harmed.
            warn!(%error, "the zygote died; starting another");
            self.start_zygote(profile, now);
        } else {
            error!("{error}; trying again");
            self.nurseries[usize::from(profile)].failed_by(&error);
        }
        self.fail_spawns(profile, asked, now);
    }

    pub(super) fn hear_zygote_output(&mut self, profile: u16) {
        let Some(zygote) = self.nurseries[usize::from(profile)].zygote() else {
            return;
        };
        let (lines, is_open) = zygote.read_output();
        if !is_open {
            let _ = self.epoll.delete(zygote.output());
        }
        for line in lines {
            info!(line, "the child binary said");
        }
    }

    /// A rest or a start has lasted long enough.
    pub(super) fn tend_zygote(&mut self, profile: u16, now: Now) {
        match &self.nurseries[usize::from(profile)].stage {
            Stage::Dormant => {}
            Stage::Resting { .. } => self.start_zygote(profile, now),
            Stage::Starting { zygote, .. } => {
                let error = zygote.slow(READY_WITHIN.as_secs());
                self.zygote_failed(profile, &error, now);
            }
            Stage::Ready(zygote) => {
                let error = zygote.stuck(ANSWER_WITHIN.as_secs());
                self.zygote_failed(profile, &error, now);
            }
        }
    }
}
