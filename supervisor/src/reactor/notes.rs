//! Notes about running jobs, for those who ask how they are.

use bulkhead_shared::broker::Note;
use bulkhead_shared::time::Now;

use super::nursery::READY_WITHIN;
use super::place::{SetUp, earlier};
use super::{NOTE_AFTER, Reactor};
use crate::pool::Seat;

impl Reactor {
    /// Writes notes about jobs that have been running for a while, or have made progress.
    pub(super) fn write_notes(&mut self, now: Now) {
        self.notes_due = None;
        let (mut notes, mut stuck) = (Vec::new(), Vec::new());
        for (place, slot) in self.places.iter_mut().zip(0..) {
            let Some(process) = &mut place.process else {
                continue;
            };
            for running in process.running.iter_mut().filter(|r| !r.is_noted) {
                // Until it has begun nothing is to be said of it.
                let is_begun = process.set_up != SetUp::Expected || process.link.was_read();
                if process.pid != 0 && !is_begun && running.started.mono + READY_WITHIN <= now.mono
                {
                    stuck.push(Seat {
                        slot,
                        generation: process.generation,
                    });
                }
                let since = match is_begun {
                    true => running.started.mono,
                    false => now.mono,
                };
                let due = since + NOTE_AFTER;
                if due > now.mono && running.progress.is_none() {
                    self.notes_due = earlier(self.notes_due, Some(due));
                    continue;
                }
                let Some(job) = self.jobs.get(&running.ticket) else {
                    continue;
                };
                running.is_noted = true;
                notes.push(Note {
                    receipt: job.receipt.clone(),
                    started_at: running.started.wall,
                    pid: u32::try_from(process.pid).unwrap_or(0),
                    progress: running.progress.clone(),
                });
            }
        }
        if !notes.is_empty() {
            // Only shown to people: while the store is slow, they do without.
            let _ = self.notes.try_send(notes);
        }
        self.end_stuck(stuck, now);
    }
}
