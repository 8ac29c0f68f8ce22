//! How many jobs the reactor can take, as the queue thread sees it.
//!
//! The room carries an epoch that the queue thread raises with every claim: a room that the
//! reactor worked out before it heard of that claim is stale and does not get in.

use std::sync::atomic::{AtomicU64, Ordering};

/// Low half: the room. High half: the epoch.
#[derive(Debug, Default)]
pub(crate) struct Room(AtomicU64);

/// A room and the epoch it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    pub epoch: u32,
    pub room: u32,
}

fn pack(offer: Offer) -> u64 {
    u64::from(offer.epoch) << 32 | u64::from(offer.room)
}

fn unpack(value: u64) -> Offer {
    let half = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    Offer {
        epoch: half(value >> 32),
        room: half(value),
    }
}

impl Room {
    /// Says how much room there is, knowing of all claims up to `epoch`.
    pub(crate) fn publish(&self, offer: Offer) {
        let newer = |value| (unpack(value).epoch == offer.epoch).then(|| pack(offer));
        // A newer epoch means that jobs are on their way; the reactor publishes again then.
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, newer);
    }

    pub(crate) fn look(&self) -> Offer {
        unpack(self.0.load(Ordering::SeqCst))
    }

    /// Begins a new epoch with no room, and returns it: jobs are about to be handed over.
    pub(crate) fn begin_epoch(&self) -> u32 {
        let next = |value| {
            let epoch = unpack(value).epoch.wrapping_add(1);
            Some(pack(Offer { epoch, room: 0 }))
        };
        let before = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        let before = before.unwrap_or_else(|value| value);
        unpack(before).epoch.wrapping_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_worked_out_before_a_claim_was_heard_of_does_not_get_in() {
        let room = Room::default();
        room.publish(Offer { epoch: 0, room: 8 });
        assert_eq!(room.look().room, 8);
        let epoch = room.begin_epoch();
        room.publish(Offer { epoch: 0, room: 8 });
        assert_eq!(room.look(), Offer { epoch, room: 0 });
        room.publish(Offer { epoch, room: 3 });
        assert_eq!(room.look().room, 3);
    }
}
