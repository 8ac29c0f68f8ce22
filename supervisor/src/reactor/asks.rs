//! What tasks ask for, on its way to those who answer, and back.

use bulkhead_shared::ask::{Ask, Denied, Reply, Standing};
use bulkhead_shared::frame::ToTask;
use bulkhead_shared::time::Now;
use tracing::info;

use super::Reactor;
use super::hear::call;
use crate::pool::Seat;
use crate::services::{Asker, Verdict, Wish, Word};

/// A task that leaves so many bytes of answers unread is not served any more.
const UNREAD_MOST: usize = 8 << 20;

impl Reactor {
    /// Hands an ask on, or denies it.
    pub(super) fn take_ask(&mut self, seat: Seat, (nonce, id): (u64, u32), ask: Ask, now: Now) {
        let Some(process) = self.places[usize::from(seat.slot)].process(seat.generation) else {
            return;
        };
        if matches!(ask, Ask::Events { .. }) {
            return self.take_wish_for_events(seat, (nonce, id), &ask, now);
        }
        let profile = process.profile;
        let entry = self.menu.entry(profile);
        let (name, may) = (&entry.profile.name, &entry.plan.may);
        let running = match call(&mut process.running, nonce) {
            Ok(running) => running,
            Err(violation) => return self.violate(seat, violation.into(), now),
        };
        if running.ticket.is_of_stream() {
            // Journals and locks are those of jobs, and would not outlive this very ask.
            let text = "a processor asks for nothing but events (locks, durable calls and jobs of one's own are for tasks)";
            let denied = Reply::denied(Denied::Forbidden, text);
            return self.reply(seat, (nonce, id), denied, now);
        }
        let Some(job) = self.jobs.get(&running.ticket) else {
            return;
        };
        match may.judge(name, &ask, &mut running.asked) {
            Verdict::Allowed => {
                let asker = Asker { seat, nonce, id };
                let receipt = job.receipt.clone();
                let wish = Wish {
                    asker,
                    receipt,
                    ask,
                    profile,
                    // This one is counted already.
                    left: may.all.saturating_sub(running.asked.all).saturating_add(1),
                };
                // The thread lives as long as this loop.
                let _ = self.services.send(Word::Wish(Box::new(wish)));
            }
            Verdict::Denied(reply) => {
                if let Reply::Denied { why, text } = &reply {
                    info!(job = %job.receipt.uuid, profile = name, ?why, text, "an ask was denied");
                }
                self.reply(seat, (nonce, id), reply, now);
            }
            Verdict::Flood => {
                let how = format!("asked on and on, though it had asked {} times", may.all);
                self.violate(seat, how, now);
            }
        }
    }

    /// Gives the answer to who asked, if the call still runs.
    pub(super) fn tell_asker(&mut self, asker: Asker, reply: Reply, now: Now) {
        let Asker { seat, nonce, id } = asker;
        let Some(profile) = self.process(seat).map(|process| process.profile) else {
            return;
        };
        let most = self.menu.entry(profile).plan.may.all;
        let Some(process) = self.process(seat) else {
            return;
        };
        let mut running = process.running.iter_mut();
        let Some(running) = running.find(|one| one.nonce == nonce && one.answer.is_none()) else {
            return;
        };
        running.asked.open = running.asked.open.saturating_sub(1);
        running.asked.recorded |= matches!(reply, Reply::Written { .. });
        if let Reply::Submitted { messages, .. } = reply {
            let all = &mut running.asked.all;
            *all = all
                .saturating_add(messages.saturating_sub(1))
                .min(most)
                .max(*all);
        }
        let is_large = matches!(&reply, Reply::Standing(Standing::Succeeded { .. }));
        let reply = match process.link.unsent() > UNREAD_MOST / 2 && is_large {
            true => {
                let text = "several large results at once (ask for one after the other)";
                Reply::denied(Denied::TooMany, text)
            }
            false => reply,
        };
        self.reply(seat, (nonce, id), reply, now);
    }

    pub(super) fn reply(&mut self, seat: Seat, (nonce, id): (u64, u32), reply: Reply, now: Now) {
        let Some(process) = self.process(seat) else {
            return;
        };
        if process.link.unsent() > UNREAD_MOST {
            return self.violate(seat, "asks, and does not read the answers".into(), now);
        }
        self.write(seat, &ToTask::Reply { nonce, id, reply }, now);
    }
}
