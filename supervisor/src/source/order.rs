//! The hold that others have on the queue thread, and what they tell it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bulkhead_shared::broker::{Interrupt, Selection};
use bulkhead_shared::outcome::Ended;
use crossbeam::channel::Sender;

use super::Room;
use super::room::{Offer, Rooms};
use crate::job::{Job, Rules};
use crate::pool::TicketId;

/// What the queue thread is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// An attempt has ended.
    Settle(Box<Job>, Ended),
    /// Somebody else has the job, or will: hold its lease no longer.
    Forget(TicketId),
    /// From now on, claim these.
    Serve(Selection, Rules),
    /// Nobody takes jobs any more: claim nothing more, give back what was not taken, settle what
    /// there is, end.
    Stop,
}

/// The reactor's and upkeep's hold on the queue thread.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    orders: Sender<Order>,
    interrupt: Arc<Interrupt>,
    is_waiting: Arc<AtomicBool>,
    room: Arc<Room>,
}

impl Queue {
    /// To the thread that has the other end of each.
    pub(super) fn new(
        orders: Sender<Order>,
        interrupt: &Arc<Interrupt>,
        is_waiting: &Arc<AtomicBool>,
        room: &Arc<Room>,
    ) -> Self {
        Self {
            orders,
            interrupt: Arc::clone(interrupt),
            is_waiting: Arc::clone(is_waiting),
            room: Arc::clone(room),
        }
    }

    pub(crate) fn send(&self, order: Order) {
        // The thread ends only after Stop; what comes later has nobody left to care.
        let _ = self.orders.send(order);
        self.wake();
    }

    /// Says how much room there is.
    pub(crate) fn publish(&self, epoch: u32, rooms: Rooms) {
        let before = self.room.look().rooms;
        self.room.publish(Offer { epoch, rooms });
        let is_new = |(before, now): (&u16, &u16)| *before == 0 && *now > 0;
        if before.iter().zip(&rooms).any(is_new) {
            self.wake();
        }
    }

    fn wake(&self) {
        if self.is_waiting.swap(false, Ordering::SeqCst) {
            self.interrupt.raise();
        }
    }
}
