//! What the pool may ask for of groups, and when.

use super::crowd::{Death, Deed, Job, Ride, World, ms};
use crate::pool::{Answer, End, Input, Lane, LinkEvent, Seat, Sweep, TicketId};

impl World {
    pub(super) fn send(&mut self, seat: Seat, id: TicketId) {
        assert!(!self.was_stopped, "{id:?} is sent after a stop");
        let life = self.alive(seat);
        assert!(!life.is_killed && !life.is_quit && !life.has_lied && !life.has_hung_up);
        let mut lanes: Vec<_> = self.riding(seat).map(|(_, job)| job.order.lane).collect();
        let asked = |(_, job): (_, &Job)| job.ride.as_ref().unwrap().halted.is_some();
        assert!(
            !self.riding(seat).any(asked),
            "{seat:?} takes more before it has answered"
        );
        let job = self.jobs.get_mut(&id).unwrap();
        let order = job.order;
        assert!(job.expires.is_none_or(|expires| expires > self.now));
        assert!(!job.is_revoked && !job.is_lost && job.ride.is_none());
        let timeout = self.now + ms(order.timeout_ms);
        job.ride = Some(Ride {
            seat,
            deadline: job.expires.map_or(timeout, |expires| expires.min(timeout)),
            halted: None,
            is_revoked: false,
            is_lost: false,
        });
        lanes.push(order.lane);
        let lone = self.limits.slots + self.limits.groups;
        assert_eq!(order.is_alone, seat.slot == lone);
        assert!(!order.is_alone || lanes.len() == 1, "{id:?} is not alone");
        let of = |lane| lanes.iter().filter(|one| **one == lane).count();
        assert!(of(Lane::Thread) <= usize::from(self.limits.threads));
        assert!(of(Lane::Async) <= usize::from(self.limits.async_tasks));
        assert!(of(Lane::Main) <= 1 && of(Lane::Process) == 0);
        match order.deed {
            Deed::Answers(after, answer) => self.plan(after, Input::Answered(seat, id, answer)),
            Deed::Hangs => {}
            Deed::Crashes(after) => {
                self.plan(after, Input::Link(seat, LinkEvent::Hangup));
                self.plan(after, Input::Link(seat, LinkEvent::Exited));
            }
            Deed::Lies(after) => self.plan(after, Input::Link(seat, LinkEvent::Violation)),
            Deed::HangsUp(after) => self.plan(after, Input::Link(seat, LinkEvent::Hangup)),
        }
    }

    pub(super) fn halt(&mut self, seat: Seat, id: TicketId) {
        let life = self.alive(seat);
        assert!(!life.is_killed && !life.has_hung_up);
        let now = self.now;
        let is_stopped = self.pool.is_draining();
        let job = self.jobs.get_mut(&id).unwrap();
        let ride = job.ride.as_mut().expect("it rides");
        assert_eq!(ride.seat, seat);
        assert!(
            ride.halted.replace(now).is_none(),
            "{id:?} is asked only once"
        );
        assert!(
            ride.deadline <= now || ride.is_revoked || is_stopped,
            "{id:?} is asked too early"
        );
        if let Deed::Answers(_, answer) = job.order.deed {
            self.plan(1, Input::Answered(seat, id, answer));
        }
    }

    pub(super) fn kill(&mut self, seat: Seat) {
        let (now, limits) = (self.now, self.limits);
        let due = |(_, job): (_, &Job)| {
            let ride = job.ride.as_ref().unwrap();
            let patience = ms(job.order.patience_ms);
            let asked = ride.halted.map(|at| at.min(ride.deadline) + patience);
            ride.is_lost || asked.is_some_and(|kill_at| kill_at <= now)
        };
        let is_due = self.riding(seat).any(due);
        let life = self.alive(seat);
        assert!(
            !std::mem::replace(&mut life.is_killed, true),
            "{seat:?} is killed twice"
        );
        let is_late = life.born + limits.ready_within <= now;
        let is_faulty = life.has_lied || life.has_hung_up || life.is_quit;
        assert!(
            is_due || is_faulty || is_late,
            "{seat:?} is killed for nothing"
        );
        if !matches!(life.nature.death, Death::Never) {
            self.plan(1, Input::Link(seat, LinkEvent::Exited));
        }
    }

    pub(super) fn sweep(&mut self, seat: Seat) {
        let life = &self.lives[&seat];
        assert!(life.is_dead);
        match life.nature.death {
            Death::Clean | Death::Never => self.plan(1, Input::Swept(seat, Sweep::Clean)),
            Death::Files(after) => {
                self.plan(1, Input::Swept(seat, Sweep::Files));
                self.plan(1 + after, Input::Swept(seat, Sweep::Clean));
            }
            Death::Unkillable => self.plan(1, Input::Swept(seat, Sweep::Unkillable)),
            Death::Silent => {}
        }
    }

    pub(super) fn finish(&mut self, id: TicketId, seat: Seat, end: End) {
        let job = self.jobs.remove(&id).expect("a ticket leaves once");
        let ride = job.ride.as_ref().expect("it rode");
        assert_eq!(ride.seat, seat);
        let life = &self.lives[&seat];
        let is_answer = self.answering.is_some_and(|(one, _)| one == id);
        let was_asked = ride.halted.is_some();
        let is_stopped = self.pool.is_draining();
        let is_life = job.expires == Some(ride.deadline);
        if is_answer {
            assert!(!life.is_killed, "{id:?} is heard of after its kill");
        } else {
            assert!(
                life.is_swept || matches!(end, End::Unkillable | End::Forgotten),
                "{id:?} ends as {end:?} before the sweep"
            );
        }
        assert_eq!(end == End::Forgotten, ride.is_lost, "{id:?}");
        match end {
            End::Returned => {
                assert_eq!(self.answering, Some((id, Answer::Returned)));
                assert!(!ride.is_revoked);
                self.returned += 1;
            }
            End::Failed => {
                assert_eq!(self.answering, Some((id, Answer::Failed)));
                assert!(!was_asked);
            }
            End::Displaced => {
                assert!(!was_asked && !job.order.is_alone && !ride.is_revoked);
                let others = life.at_end > 1 || (life.is_killed && !life.has_lied);
                assert!(others, "{id:?} was alone: nobody else is to blame");
            }
            End::Crashed | End::Protocol => {
                assert!(!was_asked && life.at_end == 1, "{id:?} was not alone");
                let is_crash = !life.is_killed;
                assert_eq!(end == End::Crashed, is_crash, "{id:?}");
            }
            End::TimedOut => assert!(was_asked && ride.deadline <= self.now && !ride.is_revoked),
            End::Expired => assert!(was_asked && is_life && !ride.is_revoked),
            End::Revoked => assert!(ride.is_revoked),
            End::Released => assert!(is_stopped && !ride.is_revoked),
            End::Forgotten => {}
            End::Unkillable => assert!(
                !matches!(life.nature.death, Death::Clean),
                "{id:?} ends as unkillable"
            ),
        }
    }

    pub(super) fn check(&self) {
        for (id, job) in &self.jobs {
            let Some(ride) = &job.ride else { continue };
            let life = &self.lives[&ride.seat];
            if life.is_dead || life.is_killed {
                continue;
            }
            let last = ride.deadline + ms(job.order.patience_ms);
            assert!(last >= self.now, "{id:?} is late: {job:?}");
            let is_asked = ride.halted.is_some() || life.has_hung_up;
            assert!(
                is_asked || ride.deadline >= self.now,
                "{id:?} is not asked to stop"
            );
            assert!(!ride.is_lost, "{id:?} runs on without a lease");
        }
        let counts = self.pool.snapshot();
        let riding = self.jobs.values().filter(|job| job.ride.is_some()).count();
        assert_eq!(counts.riding, riding);
        assert_eq!(counts.waiting + riding, self.jobs.len());
        for lane in [Lane::Thread, Lane::Async, Lane::Main] {
            let places = usize::from(self.limits.groups * lane.most(&self.limits));
            assert!(self.pool.room_in_groups(lane, self.now) <= 65 * places);
        }
        assert!(!self.pool.is_draining() || counts.waiting == 0);
    }
}
