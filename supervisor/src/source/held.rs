//! The leases this supervisor holds: filled by the queue thread, renewed by the renew thread,
//! watched by the guard.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bulkhead_shared::broker::Receipt;
use bulkhead_shared::time::Now;

use crate::pool::TicketId;

/// A lease, and until when nobody else can have it, whatever the store says meanwhile.
#[derive(Debug)]
struct Hold {
    receipt: Receipt,
    sure_until: Instant,
    /// See [`Held::sure_for`].
    sure_for: Duration,
    /// The guard has given it up.
    is_unsure: bool,
}

#[derive(Debug)]
struct State {
    holds: HashMap<TicketId, Hold>,
    /// When the guard looks again by itself.
    looks_at: Instant,
    is_closed: bool,
}

/// All leases, by ticket.
#[derive(Debug)]
pub(crate) struct Held {
    state: Mutex<State>,
    change: Condvar,
    /// Counted from when the store was asked, since it counts the lease from when it heard of it.
    /// What is left of the lease is for the end of what runs under it.
    sure_for: Duration,
}

/// Leases that may be somebody else's soon.
#[derive(Debug)]
pub(crate) struct Unsure {
    pub tickets: Vec<TicketId>,
    /// How many of them were sure until now.
    pub new: usize,
}

impl Held {
    /// None yet, of those that the store gives for `lease`.
    pub(crate) fn new(lease: Duration) -> Self {
        Self {
            state: Mutex::new(State {
                holds: HashMap::new(),
                looks_at: Now::read().mono,
                is_closed: false,
            }),
            change: Condvar::new(),
            sure_for: lease * 2 / 3,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The map is whole after every single operation, also if a thread died between two.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that was asked for at `asked`.
    pub(crate) fn add(&self, ticket: TicketId, receipt: Receipt, asked: Instant) {
        self.keep(ticket, receipt, asked, self.sure_for);
    }

    /// The same, of a lease that is as long as this.
    pub(crate) fn add_for(
        &self,
        ticket: TicketId,
        receipt: Receipt,
        asked: Instant,
        lease: Duration,
    ) {
        self.keep(ticket, receipt, asked, lease * 2 / 3);
    }

    fn keep(&self, ticket: TicketId, receipt: Receipt, asked: Instant, sure_for: Duration) {
        let sure_until = asked + sure_for;
        let mut state = self.state();
        let hold = Hold {
            receipt,
            sure_until,
            sure_for,
            is_unsure: false,
        };
        state.holds.insert(ticket, hold);
        if sure_until < state.looks_at {
            self.change.notify_one();
        }
    }

    /// The store has renewed one when it was asked at `asked`.
    pub(crate) fn renewed(&self, ticket: TicketId, asked: Instant) {
        if let Some(hold) = self.state().holds.get_mut(&ticket) {
            hold.sure_until = asked + hold.sure_for;
            hold.is_unsure = false;
        }
    }

    pub(crate) fn remove(&self, ticket: TicketId) {
        self.state().holds.remove(&ticket);
    }

    pub(crate) fn len(&self) -> usize {
        self.state().holds.len()
    }

    /// A copy of everything.
    pub(crate) fn all(&self) -> Vec<(TicketId, Receipt)> {
        let state = self.state();
        let holds = state.holds.iter();
        holds
            .map(|(&ticket, hold)| (ticket, hold.receipt.clone()))
            .collect()
    }

    /// The ticket of a lease.
    pub(crate) fn ticket_of(&self, receipt: &Receipt) -> Option<TicketId> {
        let is_it = |held: &Receipt| held.uuid == receipt.uuid && held.fence == receipt.fence;
        let state = self.state();
        let mut holds = state.holds.iter();
        holds
            .find(|(_, hold)| is_it(&hold.receipt))
            .map(|(&ticket, _)| ticket)
    }

    /// Waits for leases that nobody has renewed in time. Those that stay so are named again and
    /// again: a job may have been on its way to where it runs. `None` after [`Held::close`].
    pub(crate) fn wait_for_unsure(&self) -> Option<Unsure> {
        let mut state = self.state();
        loop {
            if state.is_closed {
                return None;
            }
            let now = Now::read().mono;
            let again = now + self.sure_for / 2;
            let mut unsure = Unsure {
                tickets: Vec::new(),
                new: 0,
            };
            let mut looks_at = again;
            for (&ticket, hold) in &mut state.holds {
                if hold.sure_until <= now {
                    unsure.tickets.push(ticket);
                    unsure.new += usize::from(!hold.is_unsure);
                    hold.is_unsure = true;
                    hold.sure_until = again;
                }
                looks_at = looks_at.min(hold.sure_until);
            }
            if !unsure.tickets.is_empty() {
                return Some(unsure);
            }
            state.looks_at = looks_at;
            let woken = self.change.wait_timeout(state, looks_at - now);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the wait of the guard.
    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        self.change.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use bulkhead_shared::{QueueName, Uuid};

    use super::*;

    const LEASE: Duration = Duration::from_millis(300);

    fn receipt() -> Receipt {
        Receipt {
            uuid: Uuid::now_v7(),
            fence: 1,
            mark: 1,
            queue: QueueName::default(),
        }
    }

    #[test]
    fn a_lease_that_is_not_renewed_becomes_unsure_before_it_ends() {
        let held = Held::new(LEASE);
        let asked = Now::read().mono;
        held.add(TicketId(1), receipt(), asked);
        let unsure = held.wait_for_unsure().unwrap();
        assert_eq!((unsure.tickets, unsure.new), (vec![TicketId(1)], 1));
        assert!(Now::read().mono - asked >= LEASE * 2 / 3);
        // It stays so until it is renewed.
        let unsure = held.wait_for_unsure().unwrap();
        assert_eq!((unsure.tickets, unsure.new), (vec![TicketId(1)], 0));
        held.renewed(TicketId(1), Now::read().mono);
        assert_eq!(held.wait_for_unsure().unwrap().new, 1);
    }

    #[test]
    fn a_lease_whose_answer_came_late_is_unsure_at_once() {
        let held = Arc::new(Held::new(Duration::from_hours(1)));
        let own = Arc::clone(&held);
        let guard = thread::spawn(move || own.wait_for_unsure().unwrap().tickets);
        let late = Now::read().mono - Duration::from_hours(1);
        held.add(TicketId(7), receipt(), late);
        assert_eq!(guard.join().unwrap(), [TicketId(7)]);
    }

    #[test]
    fn a_guard_ends_when_it_is_told() {
        let held = Arc::new(Held::new(Duration::from_hours(1)));
        let own = Arc::clone(&held);
        let guard = thread::spawn(move || own.wait_for_unsure().is_none());
        held.close();
        assert!(guard.join().unwrap());
    }
}
