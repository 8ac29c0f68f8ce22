//! How many jobs the reactor can take, as the queue thread sees it.
//!
//! The room carries an epoch that the queue thread raises with every claim: a room that the
//! reactor worked out before it heard of that claim is stale and does not get in.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::pool::Lane;

/// Bits of the room of one lane, ...
const ROOM_BITS: u32 = 10;
/// ... which says no more than this: several claims.
const ROOM_MOST: u64 = (1 << ROOM_BITS) - 1;
/// Bits of the epoch; those that meet are a few claims apart.
const EPOCH_BITS: u32 = 24;

/// From the lowest bits up: the room of each lane, the epoch.
#[derive(Debug, Default)]
pub(crate) struct Room(AtomicU64);

/// The room of each lane, and the epoch it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    pub epoch: u32,
    pub rooms: Rooms,
}

/// How many jobs there is room for, by lane.
pub(crate) type Rooms = [u16; Lane::COUNT];

fn pack(offer: Offer) -> u64 {
    let lanes = offer.rooms.iter().rev();
    let epoch = u64::from(offer.epoch) & ((1 << EPOCH_BITS) - 1);
    lanes.fold(epoch, |value, &room| {
        value << ROOM_BITS | u64::from(room).min(ROOM_MOST)
    })
}

fn unpack(value: u64) -> Offer {
    let mut rest = value;
    let rooms = [(); Lane::COUNT].map(|()| {
        let room = u16::try_from(rest & ROOM_MOST).unwrap_or(u16::MAX);
        rest >>= ROOM_BITS;
        room
    });
    let epoch = u32::try_from(rest).unwrap_or(u32::MAX);
    Offer { epoch, rooms }
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
            Some(pack(Offer {
                epoch,
                rooms: Rooms::default(),
            }))
        };
        let before = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        let before = before.unwrap_or_else(|value| value);
        unpack(before).epoch.wrapping_add(1) & ((1 << EPOCH_BITS) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_worked_out_before_a_claim_was_heard_of_does_not_get_in() {
        let room = Room::default();
        let offer = |epoch, rooms| Offer { epoch, rooms };
        room.publish(offer(0, [8, 1, 1023, 0]));
        assert_eq!(room.look().rooms, [8, 1, 1023, 0]);
        let epoch = room.begin_epoch();
        room.publish(offer(0, [8, 0, 0, 0]));
        assert_eq!(room.look(), offer(epoch, [0; 4]));
        room.publish(offer(epoch, [3, 2000, 0, 1]));
        assert_eq!(room.look().rooms, [3, 1023, 0, 1]);
    }

    #[test]
    fn epochs_begin_again_without_a_trace() {
        let room = Room::default();
        for _ in 0..=1_u32 << EPOCH_BITS {
            let _ = room.begin_epoch();
        }
        let now = room.look();
        assert_eq!((now.epoch, now.rooms), (1, [0; 4]));
        assert_eq!(room.begin_epoch(), 2);
    }
}
