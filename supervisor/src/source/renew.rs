//! Keeps leases alive and writes notes about running jobs. Runs on a thread of its own, so that
//! neither a long claim nor a busy reactor can let a lease run out.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_shared::broker::{Broker, BrokerError, Note, Receipt, Renewal};
use bulkhead_shared::time::Now;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use tracing::{debug, error, warn};

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
        let mut renewed = Now::read().mono;
        let mut due = renewed + every;
        let mut has_warned = false;
        loop {
            let now = Now::read().mono;
            match self.notes.recv_timeout(due.saturating_duration_since(now)) {
                Ok(notes) => self.write(&notes),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Now::read().mono;
            if now < due {
                continue;
            }
            match self.renew() {
                Ok(()) => {
                    renewed = now;
                    due = now + every;
                    has_warned = false;
                }
                Err(error) => {
                    // Well before the end of the lease, another supervisor must not find these
                    // jobs running here as well.
                    if now.duration_since(renewed) >= self.lease * 2 / 3 && !has_warned {
                        error!(%error, "leases cannot be renewed; running tasks are killed");
                        self.notices.send(Notice::LeasesLost);
                        has_warned = true;
                    }
                    due = now + (every / 10).max(Duration::from_millis(50));
                }
            }
        }
    }

    fn renew(&self) -> Result<(), BrokerError> {
        let (tickets, receipts): (Vec<_>, Vec<Receipt>) = self.held.all().into_iter().unzip();
        if receipts.is_empty() {
            return Ok(());
        }
        let renewals = self.broker.renew(&receipts, self.lease)?;
        for (ticket, renewal) in tickets.into_iter().zip(renewals) {
            match renewal {
                Renewal::Held => {}
                Renewal::Revoked => self.notices.send(Notice::Revoked(ticket)),
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
