//! Keeps leases alive and writes notes about running jobs. Runs on a thread of its own, so that
//! neither a long claim nor a busy reactor can let a lease run out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkhead_shared::broker::{Broker, BrokerError, Note, Receipt, Renewal};
use bulkhead_shared::time::Now;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use tracing::{debug, warn};

use super::Held;
use crate::notice::{Notice, Notices};

/// What the thread works with.
#[derive(Debug)]
pub(crate) struct Renewer {
    pub broker: Arc<dyn Broker>,
    pub lease: Duration,
    pub held: Arc<Held>,
    pub notices: Notices,
    /// Ends the thread when its other side is dropped.
    pub notes: Receiver<Vec<Note>>,
}

impl Renewer {
    pub(crate) fn run(self) {
        let every = self.lease / 3;
        let mut due = Now::read().mono + every;
        let mut is_away = false;
        loop {
            let now = Now::read().mono;
            match self.notes.recv_timeout(due.saturating_duration_since(now)) {
                // While the store is away, each would hold the next renewal up for long.
                Ok(_) if is_away => {}
                Ok(notes) => self.write(&notes),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Now::read().mono;
            if now < due {
                continue;
            }
            match self.renew(now) {
                Ok(()) => {
                    due = now + every;
                    is_away = false;
                }
                Err(error) => {
                    if !is_away {
                        warn!(%error, "leases were not renewed; trying again");
                        is_away = true;
                    }
                    due = now + (every / 10).max(Duration::from_millis(50));
                }
            }
        }
    }

    fn renew(&self, now: Instant) -> Result<(), BrokerError> {
        let (tickets, receipts): (Vec<_>, Vec<Receipt>) = self.held.all().into_iter().unzip();
        if receipts.is_empty() {
            return Ok(());
        }
        let renewals = self.broker.renew(&receipts, self.lease)?;
        for (ticket, renewal) in tickets.into_iter().zip(renewals) {
            match renewal {
                Renewal::Held => self.held.renewed(ticket, now),
                Renewal::Revoked => {
                    self.held.renewed(ticket, now);
                    self.notices.send(Notice::Revoked(ticket));
                }
                Renewal::Lost => self.notices.send(Notice::Lost(ticket)),
            }
        }
        debug!(leases = receipts.len(), "leases renewed");
        Ok(())
    }

    fn write(&self, notes: &[Note]) {
        if let Err(error) = self.broker.note(notes) {
            // Only shown to people; the next note says the same and more.
            warn!(%error, "notes about running jobs were not written");
        }
    }
}
