//! The leases this supervisor holds: filled by the queue thread, renewed by the renew thread.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bulkhead_shared::broker::Receipt;

use crate::pool::TicketId;

/// All leases, by ticket.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<HashMap<TicketId, Receipt>>);

impl Held {
    fn with<T>(&self, f: impl FnOnce(&mut HashMap<TicketId, Receipt>) -> T) -> T {
        // A map is whole after every single operation, also if a thread died between two.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn add(&self, ticket: TicketId, receipt: Receipt) {
        self.with(|held| held.insert(ticket, receipt));
    }

    pub(crate) fn remove(&self, ticket: TicketId) {
        self.with(|held| held.remove(&ticket));
    }

    pub(crate) fn len(&self) -> usize {
        self.with(|held| held.len())
    }

    /// A copy of everything.
    pub(crate) fn all(&self) -> Vec<(TicketId, Receipt)> {
        self.with(|held| {
            held.iter()
                .map(|(&ticket, receipt)| (ticket, receipt.clone()))
                .collect()
        })
    }

    /// The ticket of a lease.
    pub(crate) fn ticket_of(&self, receipt: &Receipt) -> Option<TicketId> {
        let is_it = |held: &Receipt| held.uuid == receipt.uuid && held.fence == receipt.fence;
        self.with(|held| {
            held.iter()
                .find(|(_, held)| is_it(held))
                .map(|(&ticket, _)| ticket)
        })
    }
}
