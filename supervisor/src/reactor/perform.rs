//! Performs the pool's actions. Each does one thing to one process, at once, and blocks on
//! nothing.

use std::time::Duration;

use bulkhead_shared::frame::{self, ToTask};
use bulkhead_shared::isolation::Containment;
use bulkhead_shared::outcome::{Ended, Outcome};
use bulkhead_shared::retry::DISPLACED_MOST;
use bulkhead_shared::time::{Now, millis};
use nix::sys::epoll::EpollFlags;
use serde_bytes::ByteBuf;
use tracing::{debug, error, warn};

use super::ahead::end_of;
use super::events::Progress;
use super::nursery::Spawn;
use super::place::{Kind, Process, Running, earlier, token};
use super::{NOTE_AFTER, Reactor, verdict, watch};
use crate::job::Job;
use crate::pool::{Action, End, Force, Input, Lane, Seat, Ticket, TicketId};
use crate::process::limits::Cage;
use crate::process::link::{self, Link};
use crate::process::warden::Warden;
use crate::process::{home, pipes};
use crate::services::{Asked, Word};
use crate::source::queue::{Order, ended_unrun};
use crate::streams;

impl Reactor {
    pub(super) fn perform(&mut self, action: Action, now: Now) {
        match action {
            Action::Spawn(seat, profile) => self.spawn(seat, profile, now),
            Action::Send(seat, ticket) => self.send(seat, ticket, now),
            Action::Signal(seat, force) => self.signal(seat, force, now),
            Action::Halt(seat, ticket) => self.halt(seat, ticket, now),
            Action::Quit(seat) => {
                if let Some(process) = self.process(seat) {
                    process.link.hang_up();
                }
            }
            Action::Sweep(seat) => self.sweep(seat, now),
            Action::Finish { ticket, seat, end } => self.finish(ticket, seat, end, now),
            Action::Release(ticket) => self.release(ticket, now),
            Action::Forget(ticket) => self.forget(ticket),
        }
    }

    pub(super) fn process(&mut self, seat: Seat) -> Option<&mut Process> {
        self.places
            .get_mut(usize::from(seat.slot))?
            .process(seat.generation)
    }

    /// Takes claimed jobs in and offers them to the pool.
    #[expect(clippy::vec_box, reason = "each job stays in its box to its end")]
    pub(super) fn offer(&mut self, jobs: Vec<Box<Job>>, now: Now) {
        let mut tickets = Vec::with_capacity(jobs.len());
        for job in jobs {
            // A supervisor that stops gives back what it has not begun, and ends nothing.
            if let Some(outcome) = self.refused(&job).filter(|_| !self.is_stopping) {
                self.hand_back(job, ended_unrun(outcome, now.wall));
                continue;
            }
            // What lowers the limits of one job would be those of the next.
            let is_kept = job.policy.limits.is_empty();
            let kind = is_kept.then(|| self.kinds.number(&job.task, job.policy.memory));
            let expires = job.expires_at.map(|at| now.mono + at.since(now.wall));
            tickets.push(Ticket {
                id: job.ticket,
                lane: job.lane,
                is_alone: job.history.displaced >= DISPLACED_MOST,
                kind,
                profile: job.profile,
                timeout: job.left,
                patience: job.policy.patience,
                expires,
            });
            self.jobs.insert(job.ticket, job);
        }
        self.tell(now, Input::Offered(tickets));
    }

    fn spawn(&mut self, seat: Seat, profile: u16, now: Now) {
        let nursery = &mut self.nurseries[usize::from(profile)];
        if nursery.is_dormant() {
            self.start_zygote(profile, now);
        } else if nursery.retire_outdated(now.mono) {
            debug!("the child binary has changed: the next process comes from a new zygote");
            self.start_zygote(profile, now);
        }
        if self.nurseries[usize::from(profile)].is_resting() {
            return self.tell(now, Input::SpawnFailed(seat));
        }
        let plan = &self.menu.entry(profile).plan;
        let uid = match &mut self.users {
            Some(users) if plan.own_users => match users.take() {
                None => {
                    warn!(
                        slot = seat.slot,
                        "no user is left for a process (map more users into this container)"
                    );
                    return self.tell(now, Input::SpawnFailed(seat));
                }
                own => own,
            },
            _ => plan.uid,
        };
        let owner = uid.map(|uid| (uid, plan.gid.unwrap_or(uid)));
        let has_init = plan.setup.containment.has_init();
        let inside = plan.home_inside;
        let (single_use, amounts, output) = (plan.single_use, plan.amounts, plan.output);
        let home = self.home(seat.slot, profile);
        let kept = &mut self.places[usize::from(seat.slot)].home;
        if !plan.own_users {
            kept.forget();
        }
        if let Some(Err(error)) = home.as_ref().map(|home| home::give(home, owner, kept)) {
            warn!(%error, slot = seat.slot, "no private directory for a process (see TMPDIR)");
            self.give_back_user(uid);
            return self.tell(now, Input::SpawnFailed(seat));
        }
        if let Some(amounts) = amounts
            && let Err(error) = self.prepare_cage(seat.slot, profile, amounts)
        {
            warn!(%error, slot = seat.slot, "no cgroup to limit a process (is somebody else at work there?)");
            self.give_back_user(uid);
            return self.tell(now, Input::SpawnFailed(seat));
        }
        let is_below = self.keep_warden(seat.slot, profile, uid);
        let (ours, theirs) = match pipes::open(has_init && !is_below) {
            Ok(pipes) => pipes,
            Err(error) => {
                warn!(%error, slot = seat.slot, "no pipes for a process (raise the limit of open files)");
                self.give_back_user(uid);
                return self.tell(now, Input::SpawnFailed(seat));
            }
        };
        let is_group = (self.slots..self.first_of_streams).contains(&seat.slot);
        let is_of_stream = seat.slot >= self.first_of_streams;
        let fork = frame::Fork {
            generation: seat.generation,
            uid,
            home: None,
            memory: self.memory_of(profile),
            jobs: match (is_group, single_use) {
                (true, _) => 0,
                (false, true) => 1,
                (false, false) if is_of_stream => 1,
                (false, false) => self.tasks_per_process,
            },
        };
        let mut process = Process::new(seat.generation, Link::new(ours, output), profile);
        process.uid = uid;
        process.is_group = is_group;
        if is_group && let Ok(frame) = link::encode(&ToTask::Group(self.group)) {
            // An empty pipe takes it at once.
            process.link.send(frame);
        }
        if let Some(place) = self.places.get_mut(usize::from(seat.slot)) {
            place.process = Some(process);
        }
        let home = home.map(|path| path.to_string_lossy().into_owned());
        let home = home.or_else(|| inside.map(Into::into));
        let spawn = Spawn {
            seat,
            fork,
            home,
            theirs,
        };
        if is_below {
            return self.employ(&spawn, profile, now);
        }
        self.nurseries[usize::from(profile)]
            .waiting
            .push_back(spawn);
        self.ask_zygote(profile, now);
        if !is_of_stream {
            self.trust(seat, profile, now);
        }
    }

    /// Asks the zygote for as many waiting processes as it takes.
    pub(super) fn ask_zygote(&mut self, profile: u16, now: Now) {
        while let Some(spawn) = self.nurseries[usize::from(profile)].next() {
            let seat = spawn.seat;
            let (fork, descriptors) = spawn.request(
                &self.places[usize::from(seat.slot)],
                &self.menu.entry(profile).plan,
                // Known only since the zygote has said its tasks.
                self.memory_of(profile),
            );
            let nursery = &mut self.nurseries[usize::from(profile)];
            let number = nursery.number;
            let Some(zygote) = nursery.zygote() else {
                return;
            };
            let plan = &self.menu.entry(profile).plan;
            let stays = zygote.has_wardens() && plan.has_wardens(fork.uid);
            let asked = zygote.fork(fork, stays, &descriptors);
            if let Err(error) = asked {
                debug!(%error, slot = seat.slot, "the zygote could not be asked");
                self.drop_unborn(seat, now);
            } else if stays && let Some(process) = self.process(seat) {
                let socket = process.link.take_report();
                process.warden = socket.map(|socket| Warden::new(socket, number, profile));
            }
            self.nurseries[usize::from(profile)].asked(now.mono);
        }
    }

    pub(super) fn give_back_user(&mut self, uid: Option<u32>) {
        if let (Some(users), Some(uid)) = (&mut self.users, uid) {
            users.give_back(uid);
        }
    }

    fn send(&mut self, seat: Seat, ticket: TicketId, now: Now) {
        use std::hash::BuildHasher;
        let nonce = self.nonces.hash_one((ticket.0, seat.generation));
        let Some(job) = self.jobs.get_mut(&ticket) else {
            return;
        };
        let extra = job.extra.clone();
        let limits = job.policy.limits;
        let run = run_frame(job, nonce, now);
        let process = self.places[usize::from(seat.slot)].process(seat.generation);
        let Some(process) = process else { return };
        if !process.is_group {
            process.link.out.clear();
            process.link.err.clear();
        }
        process.running.push(Running {
            ticket,
            nonce,
            started: now,
            answer: None,
            declined: None,
            failed_allocation: None,
            forbidden: None,
            progress: None,
            asked: Asked::default(),
            events: Progress::default(),
            // Only what was submitted has a status.
            is_noted: ticket.is_of_stream(),
        });
        if !ticket.is_of_stream() {
            self.notes_due = earlier(self.notes_due, Some(now.mono + NOTE_AFTER));
        }
        self.lower_memory(seat, ticket, now);
        self.watch_memory(seat, ticket);
        for frame in extra.iter().flat_map(|extra| extra.frames(nonce)) {
            self.write(seat, &frame, now);
        }
        if !limits.is_empty() {
            self.lower(seat, nonce, &limits, now);
        }
        self.write(seat, &ToTask::Run(run), now);
    }

    /// Asks one job of a group to stop.
    fn halt(&mut self, seat: Seat, ticket: TicketId, now: Now) {
        let running = self
            .process(seat)
            .and_then(|process| process.running.iter().find(|one| one.ticket == ticket));
        if let Some(nonce) = running.map(|running| running.nonce) {
            self.write(seat, &ToTask::Stop { nonce }, now);
        }
    }

    pub(super) fn write(&mut self, seat: Seat, message: &ToTask, now: Now) {
        let frame = match link::encode(message) {
            Ok(frame) => frame,
            // A payload within its limit fits into a frame; a stored one may be over it.
            Err(error) => {
                return self.violate(seat, format!("the job cannot be sent: {error}"), now);
            }
        };
        let process = self.places[usize::from(seat.slot)].process(seat.generation);
        let Some(process) = process else { return };
        let is_watched = process.link.has_unsent();
        if process.link.send(frame)
            && !is_watched
            && let Some(job_pipe) = process.link.job()
        {
            let id = token(seat.slot, seat.generation, Kind::Job);
            // Without it a large job is written only in part, and times out.
            if let Err(error) = watch(&self.epoll, job_pipe, EpollFlags::EPOLLOUT, id) {
                error!(%error, "a job pipe cannot be watched");
            }
        }
    }

    pub(super) fn signal(&mut self, seat: Seat, force: Force, now: Now) {
        let Some(place) = self.places.get_mut(usize::from(seat.slot)) else {
            return;
        };
        let leaf = place.leaf.as_ref();
        let process = place
            .process
            .as_mut()
            .filter(|p| p.generation == seat.generation);
        let Some(process) = process else { return };
        let containment = self.menu.containment(process.profile);
        let can_signal_groups = self.menu.entry(process.profile).plan.pidfd_group;
        let group = can_signal_groups && !containment.has_init();
        let Some(pidfd) = &process.pidfd else {
            return self.stop_unborn(seat, force, now);
        };
        let send = |signal| match group {
            true => pidfd.signal_group(signal).or_else(|_| pidfd.signal(signal)),
            false => pidfd.signal(signal),
        };
        // Where no job runs it may not be listening yet.
        let has_warden = process.warden.is_some() && !process.running.is_empty();
        let sent = match (force, containment) {
            // A stopped process takes no SIGTERM before it is continued.
            (Force::Term, _) => send(libc::SIGTERM).and_then(|()| send(libc::SIGCONT)),
            (Force::Kill, containment) if has_warden || containment == Containment::Subreaper => {
                process.is_killed = true;
                // The init kills everything below it; killed itself, it could not, or could not tell.
                if has_warden {
                    self.wardens.is_told(seat);
                }
                pidfd
                    .signal(libc::SIGHUP)
                    .and_then(|()| pidfd.signal(libc::SIGCONT))
            }
            (Force::Kill, _) => {
                process.is_killed = true;
                let whole = leaf.map_or(Ok(()), |leaf| leaf.kill());
                pidfd.signal(libc::SIGKILL).and(whole)
            }
        };
        match sent {
            // It has ended by itself; its exit is on the way.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => error!(%error, pid = process.pid, "a process could not be signalled"),
            Ok(()) => {}
        }
    }

    fn finish(&mut self, ticket: TicketId, seat: Seat, end: End, now: Now) {
        let Some(job) = self.jobs.remove(&ticket) else {
            return;
        };
        let process = self.places[usize::from(seat.slot)].process(seat.generation);
        let end = end_of(process.as_deref(), end);
        if end == End::Released && self.is_stopping && !ticket.is_of_stream() {
            self.has_released = true;
        }
        let now = Now {
            mono: now.mono,
            wall: Now::read().wall,
        };
        let place = &mut self.places[usize::from(seat.slot)];
        let is_limited = self.menu.entry(job.profile).plan.amounts.is_some();
        let cage = place
            .cage
            .as_ref()
            .filter(|_| is_limited && end != End::Returned);
        let bumps = cage.map(Cage::bumps).unwrap_or_default();
        let process = place.process(seat.generation);
        let ended = match process {
            Some(process) => match take_running(process, ticket) {
                Some(running) => {
                    if running.asked.open > 0 {
                        let nonce = running.nonce;
                        // Once the thread has ended nobody waits any more.
                        let _ = self.services.send(Word::Over { seat, nonce });
                    }
                    let reported = running.answer.as_ref().map(|&(_, reported)| reported);
                    let under = verdict::Under {
                        policy: &job.policy,
                        left: job.left,
                        plan: &self.menu.entry(process.profile).plan,
                        bumps,
                    };
                    let ended = verdict::compose(process, running, end, under, now);
                    if let Some(reported) = reported {
                        process.reported.cpu_user_us += reported.cpu_user_us;
                        process.reported.cpu_system_us += reported.cpu_system_us;
                    }
                    ended
                }
                None => ended_unrun(Outcome::Released, now.wall),
            },
            None => ended_unrun(Outcome::Released, now.wall),
        };
        if end == End::Forgotten {
            self.forget(ticket);
        } else {
            self.hand_back(job, ended);
        }
    }

    /// An attempt has ended: whoever brought its job decides what follows.
    fn hand_back(&self, job: Box<Job>, ended: Ended) {
        match job.ticket.is_of_stream() {
            true => self
                .streams
                .send(streams::Word::Ended(job.ticket, Box::new(ended))),
            false => self.queue.send(Order::Settle(job, ended)),
        }
    }

    fn forget(&mut self, ticket: TicketId) {
        self.jobs.remove(&ticket);
        match ticket.is_of_stream() {
            true => self.streams.send(streams::Word::Forgotten(ticket)),
            false => self.queue.send(Order::Forget(ticket)),
        }
    }

    fn release(&mut self, ticket: TicketId, now: Now) {
        let Some(job) = self.jobs.remove(&ticket) else {
            return;
        };
        // It may have waited for a process that cannot be.
        let refused = self.refused(&job).filter(|_| !self.is_stopping);
        self.has_released |= self.is_stopping && !ticket.is_of_stream();
        let outcome = refused.unwrap_or(Outcome::Released);
        self.hand_back(job, ended_unrun(outcome, now.wall));
    }

    pub(super) fn stop_watching_job(&mut self, seat: Seat) {
        let place = self.places[usize::from(seat.slot)].process(seat.generation);
        if let Some(job) = place.and_then(|process| process.link.job()) {
            let _ = self.epoll.delete(job);
        }
    }

    /// Watches a process that has just been started.
    pub(super) fn watch_process(&mut self, seat: Seat) -> nix::Result<()> {
        use std::os::fd::AsFd;
        let Some(process) = self.places[usize::from(seat.slot)].process(seat.generation) else {
            return Ok(());
        };
        let id = |kind| token(seat.slot, seat.generation, kind);
        let input = EpollFlags::EPOLLIN;
        if let Some(pidfd) = &process.pidfd {
            watch(&self.epoll, pidfd.as_fd(), input, id(Kind::Exit))?;
        }
        if let Some(warden) = &process.warden {
            watch(&self.epoll, warden.socket(), input, id(Kind::Report))?;
        }
        self.watch_pipes(seat)
    }

    pub(super) fn watch_pipes(&mut self, seat: Seat) -> nix::Result<()> {
        let Some(process) = self.places[usize::from(seat.slot)].process(seat.generation) else {
            return Ok(());
        };
        let id = |kind| token(seat.slot, seat.generation, kind);
        let input = EpollFlags::EPOLLIN;
        let link = &process.link;
        let watched = [
            (link.result(), Kind::Result),
            (link.stream(link::Stream::Out), Kind::Stdout),
            (link.stream(link::Stream::Err), Kind::Stderr),
        ];
        for (pipe, kind) in watched {
            if let Some(pipe) = pipe {
                watch(&self.epoll, pipe, input, id(kind))?;
            }
        }
        Ok(())
    }
}

fn take_running(process: &mut Process, ticket: TicketId) -> Option<Running> {
    let mut running = process.running.iter();
    let index = running.position(|running| running.ticket == ticket)?;
    Some(process.running.swap_remove(index))
}

fn run_frame(job: &mut Job, nonce: u64, now: Now) -> frame::Run {
    let life = job.expires_at.map(|at| at.since(now.wall));
    let timeout = job.left.min(life.unwrap_or(Duration::MAX));
    frame::Run {
        nonce,
        uuid: job.receipt.uuid.into_bytes(),
        task: job.task.as_str().into(),
        queue: job.receipt.queue.as_str().into(),
        attempt: job.history.attempt.saturating_add(1),
        fence: job.receipt.fence,
        timeout_ms: millis(timeout.max(Duration::from_millis(1))),
        // A group has the limit of its process.
        memory: job.policy.memory.filter(|_| job.lane == Lane::Process),
        header: ByteBuf::from(std::mem::take(&mut job.header)),
        payload: ByteBuf::from(std::mem::take(&mut job.payload)),
    }
}
