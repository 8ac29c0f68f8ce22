//! What the queue thread knows of each lane: each is claimed for as much room as it has, so that
//! none holds up another.

use std::collections::HashMap;

use bulkhead_shared::TaskName;
use bulkhead_shared::broker::Selection;
use bulkhead_shared::task::TaskSpec;

use super::room::Rooms;
use crate::job::usual_lane;
use crate::pool::Lane;

/// Jobs claimed at once: bounds the memory of a burst, and the wait of others for the store.
const CLAIM: usize = 256;

/// What the store holds for a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stock {
    /// The last claim took all that there was.
    Nothing,
    /// Something has happened since.
    Perhaps,
    /// The last claim left more behind.
    More,
}

/// The jobs of one lane.
#[derive(Debug)]
pub(super) struct Served {
    lane: Lane,
    pub(super) selection: Selection,
    stock: Stock,
}

impl Served {
    /// A claim of this lane was answered.
    pub(super) fn claimed(&mut self, left_more: bool) {
        self.stock = match left_more {
            true => Stock::More,
            false => Stock::Nothing,
        };
    }

    /// A claim of this lane failed.
    pub(super) fn failed(&mut self) {
        self.stock = Stock::Perhaps;
    }
}

/// The lanes that have tasks.
#[derive(Debug, Default)]
pub(super) struct Lanes(Vec<Served>);

impl Lanes {
    pub(super) fn new(selection: &Selection, specs: &HashMap<TaskName, TaskSpec>) -> Self {
        let of = |lane: Lane| {
            let is_in = |task: &&TaskName| {
                let spec = specs.get(*task);
                spec.map_or(Lane::Process, usual_lane) == lane
            };
            let tasks: Vec<_> = selection.tasks.iter().filter(is_in).cloned().collect();
            let queues = selection.queues.clone();
            Served {
                lane,
                selection: Selection { queues, tasks },
                stock: Stock::Perhaps,
            }
        };
        let mut lanes: Vec<_> = Lane::ALL.into_iter().map(of).collect();
        lanes.retain(|served| !served.selection.tasks.is_empty());
        Self(lanes)
    }

    /// The store may hold something for any of them.
    pub(super) fn look(&mut self) {
        for served in &mut self.0 {
            served.stock = served.stock.max(Stock::Perhaps);
        }
    }

    /// How many jobs there is room for.
    pub(super) fn room(&self, rooms: Rooms) -> usize {
        self.room_from(Stock::Nothing, rooms)
    }

    /// The same of lanes that the store may hold something for.
    pub(super) fn room_to_fill(&self, rooms: Rooms) -> usize {
        self.room_from(Stock::Perhaps, rooms)
    }

    /// The same of lanes that the store holds something for: how much of it can be had at once.
    /// The room of others may stay as it is for long, and is no reason to hurry.
    pub(super) fn room_for_more(&self, rooms: Rooms) -> usize {
        self.room_from(Stock::More, rooms)
    }

    fn room_from(&self, stock: Stock, rooms: Rooms) -> usize {
        let lanes = self.0.iter().filter(|served| served.stock >= stock);
        lanes.map(|served| room_of(rooms, served.lane)).sum()
    }

    /// Those with room, and how much.
    pub(super) fn with_room(&mut self, rooms: Rooms) -> impl Iterator<Item = (&mut Served, usize)> {
        let lanes = self.0.iter_mut();
        let with_room = lanes.map(move |served| {
            let room = room_of(rooms, served.lane);
            (served, room)
        });
        with_room.filter(|(_, room)| *room > 0)
    }
}

fn room_of(rooms: Rooms, lane: Lane) -> usize {
    usize::from(rooms[lane.index()]).min(CLAIM)
}

#[cfg(test)]
mod tests {
    use bulkhead_shared::QueueName;
    use bulkhead_shared::task::Mechanism;

    use super::*;

    /// Room for eight jobs in processes and for a hundred as futures.
    const ROOMS: Rooms = [8, 0, 100, 0];

    /// One with tasks for processes, one with tasks for a group's runtime.
    fn lanes() -> Lanes {
        let spec = |name: &str, mechanism| {
            let name = TaskName::new(name).unwrap();
            let mut spec = TaskSpec::new(name.clone());
            spec.mechanism = mechanism;
            (name, spec)
        };
        let specs = HashMap::from([
            spec("convert", Mechanism::Process),
            spec("fetch", Mechanism::Async),
        ]);
        let selection = Selection {
            queues: vec![QueueName::default()],
            tasks: specs.keys().cloned().collect(),
        };
        Lanes::new(&selection, &specs)
    }

    fn claim(lanes: &mut Lanes, left_more: impl Fn(Lane) -> bool) {
        for (served, _) in lanes.with_room(ROOMS) {
            served.claimed(left_more(served.lane));
        }
    }

    #[test]
    fn room_that_nothing_is_there_for_is_no_reason_to_look_or_to_hurry() {
        let mut lanes = lanes();
        assert_eq!((lanes.room(ROOMS), lanes.room_to_fill(ROOMS)), (108, 108));
        assert_eq!(lanes.room_for_more(ROOMS), 0);
        claim(&mut lanes, |lane| lane == Lane::Process);
        assert_eq!((lanes.room(ROOMS), lanes.room_to_fill(ROOMS)), (108, 8));
        assert_eq!(lanes.room_for_more(ROOMS), 8);
        claim(&mut lanes, |_| false);
        assert_eq!((lanes.room(ROOMS), lanes.room_to_fill(ROOMS)), (108, 0));
    }

    #[test]
    fn a_bell_makes_every_lane_worth_a_look_and_forgets_nothing() {
        let mut lanes = lanes();
        claim(&mut lanes, |lane| lane == Lane::Process);
        lanes.look();
        assert_eq!(lanes.room_to_fill(ROOMS), 108);
        assert_eq!(lanes.room_for_more(ROOMS), 8);
    }

    #[test]
    fn a_claim_that_failed_is_made_again() {
        let mut lanes = lanes();
        claim(&mut lanes, |_| false);
        for (served, _) in lanes.with_room(ROOMS) {
            served.failed();
        }
        assert_eq!(lanes.room_to_fill(ROOMS), 108);
    }

    #[test]
    fn lanes_without_room_are_not_claimed_for() {
        let mut lanes = lanes();
        let claimed: Vec<_> = lanes
            .with_room([0, 7, 1000, 0])
            .map(|(served, room)| (served.lane, room))
            .collect();
        assert_eq!(claimed, [(Lane::Async, CLAIM)]);
    }
}
