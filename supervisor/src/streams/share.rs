//! Who holds which partition: what one supervisor gives back and takes. Pure.
//!
//! Every supervisor sees the same members and partitions, and each counts for itself how many are its
//! due: an equal part, and the members that came first one more where it does not come out even. Who
//! has more gives some back, who has less takes what is free. So nothing moves that need not, and
//! nobody has to agree with anybody.

use bulkhead_shared::broker::SupervisorId;
use bulkhead_shared::stream::keep::{Rest, Share, View};

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// These go.
    pub give_back: Vec<u16>,
    /// These are to be had.
    pub take: Vec<u16>,
    /// How many are due to it that it does not hold.
    pub lacks: usize,
}

/// What `me` is to do who holds `mine`.
pub(super) fn plan(view: &View, me: SupervisorId, mine: &[u16]) -> Plan {
    let is_of_use = |share: &&Share| !is_quarantined(share);
    let partitions = view.shares.iter().filter(is_of_use).count();
    let Some(rank) = view.members.iter().position(|&member| member == me) else {
        // Believed dead, or not seen yet: what is held is lost, and nothing can be had.
        return Plan::default();
    };
    let due = due(partitions, view.members.len(), rank);
    if mine.len() >= due {
        let mut give_back: Vec<u16> = mine.to_vec();
        give_back.sort_unstable();
        return Plan {
            give_back: give_back.split_off(due),
            take: Vec::new(),
            lacks: 0,
        };
    }
    let free = view.shares.iter().filter(|share| {
        share.owner.is_none() && !is_quarantined(share) && !mine.contains(&share.partition)
    });
    Plan {
        give_back: Vec::new(),
        take: free
            .map(|share| share.partition)
            .take(due - mine.len())
            .collect(),
        lacks: due - mine.len(),
    }
}

/// How many of `partitions` are for the member of this rank.
fn due(partitions: usize, members: usize, rank: usize) -> usize {
    partitions / members + usize::from(rank < partitions % members)
}

/// Whether nobody is to process it.
fn is_quarantined(share: &Share) -> bool {
    let rest = share.trouble.as_ref().and_then(|trouble| trouble.rest);
    rest == Some(Rest::Quarantined) && share.moved_to.is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bulkhead_shared::stream::Place;
    use bulkhead_shared::stream::keep::Trouble;
    use bulkhead_shared::{Timestamp, Uuid};
    use proptest::prelude::*;

    use super::*;

    fn member(n: u128) -> SupervisorId {
        SupervisorId(Uuid::from_u128(n))
    }

    fn share(partition: u16, owner: Option<SupervisorId>) -> Share {
        Share {
            partition,
            owner,
            fence: 1,
            passed: Place::default(),
            moved_to: None,
            last: Place::default(),
            waiting_since: None,
            trouble: None,
            dead: 0,
        }
    }

    fn quarantined(partition: u16) -> Share {
        let trouble = Trouble {
            place: Place::default(),
            tries: 1,
            at: Timestamp::from_millis(0),
            cause: "crash".into(),
            error: "{}".into(),
            rest: Some(Rest::Quarantined),
        };
        Share {
            trouble: Some(trouble),
            ..share(partition, None)
        }
    }

    /// Lets each member plan and act once, in turn. Returns how many partitions moved.
    fn round(members: &[SupervisorId], owners: &mut BTreeMap<u16, Option<SupervisorId>>) -> usize {
        let mut moved = 0;
        for &me in members {
            let shares = owners.iter().map(|(&p, &owner)| share(p, owner)).collect();
            let view = View {
                members: members.to_vec(),
                shares,
                paused: None,
            };
            let mine: Vec<u16> = (owners.iter())
                .filter(|(_, owner)| **owner == Some(me))
                .map(|(&partition, _)| partition)
                .collect();
            let plan = plan(&view, me, &mine);
            assert!(plan.give_back.is_empty() || plan.take.is_empty());
            for partition in plan.give_back {
                assert_eq!(owners.insert(partition, None), Some(Some(me)));
            }
            for partition in plan.take {
                assert_eq!(owners.insert(partition, Some(me)), Some(None));
                moved += 1;
            }
        }
        moved
    }

    proptest! {
        #[test]
        fn all_is_shared_fairly_and_nothing_moves_that_need_not(
            partitions in 1..40_u16,
            changes in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..12),
        ) {
            let mut owners: BTreeMap<u16, Option<SupervisorId>> =
                (0..partitions).map(|partition| (partition, None)).collect();
            let mut members: Vec<SupervisorId> = Vec::new();
            let mut count = 0;
            for (joins, which) in changes {
                if joins || members.is_empty() {
                    count += 1;
                    members.push(member(count));
                } else {
                    let gone = members.remove(which.index(members.len()));
                    for owner in owners.values_mut() {
                        owner.take_if(|owner| *owner == gone);
                    }
                    if members.is_empty() {
                        continue;
                    }
                }
                let held = |me| owners.values().filter(|owner| **owner == Some(me)).count();
                // Each is to get what it lacks, and no more.
                let needed: usize = members.iter().enumerate().map(|(rank, &me)| {
                    due(partitions.into(), members.len(), rank).saturating_sub(held(me))
                }).sum();
                let moved = round(&members, &mut owners) + round(&members, &mut owners);
                prop_assert_eq!(moved, needed);
                prop_assert_eq!(round(&members, &mut owners), 0);
                let counts: Vec<usize> = members.iter().map(|&me| {
                    owners.values().filter(|owner| **owner == Some(me)).count()
                }).collect();
                prop_assert!(owners.values().all(Option::is_some));
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                prop_assert!(most - least <= 1, "{:?}", counts);
            }
        }
    }

    #[test]
    fn who_is_no_member_takes_nothing_and_what_is_quarantined_is_nobodys() {
        let view = View {
            members: vec![member(1)],
            shares: vec![share(0, None), quarantined(1)],
            paused: None,
        };
        assert_eq!(plan(&view, member(2), &[]), Plan::default());
        assert_eq!(plan(&view, member(1), &[]).take, [0]);
    }
}
