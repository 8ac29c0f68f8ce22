//! Notes about running jobs, for those who ask how they are.

use bulkhead_shared::broker::Note;
use bulkhead_shared::time::Now;

use super::place::earlier;
use super::{NOTE_AFTER, Reactor};

impl Reactor {
    /// Writes notes about jobs that have been running for a while, or have made progress.
    pub(super) fn write_notes(&mut self, now: Now) {
        self.notes_due = None;
        let mut notes = Vec::new();
        for process in self
            .places
            .iter_mut()
            .filter_map(|place| place.process.as_mut())
        {
            for running in process.running.iter_mut().filter(|r| !r.is_noted) {
                // Until its process is there nothing is to be said of it.
                let since = match process.pid {
                    0 => now.mono,
                    _ => running.started.mono,
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
    }
}
