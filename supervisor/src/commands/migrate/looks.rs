//! Looks that go on until nothing is left in any queue of the source: one of them may take only some.

use bulkhead_shared::broker::BrokerError;
use bulkhead_shared::catalog::QUEUES_A_LOOK;

use super::stores::Stores;
use crate::commands::CommandError;

/// Looks again until as many in a row as take all queues have found nothing.
pub(super) fn until_empty<E>(
    stores: &Stores,
    mut look: impl FnMut() -> Result<usize, E>,
) -> Result<(), CommandError>
where
    CommandError: From<E>,
{
    let looks = in_a_round(stores)?;
    let mut empty = 0;
    while empty < looks {
        empty = match look()? {
            0 => empty + 1,
            _ => 0,
        };
    }
    Ok(())
}

fn in_a_round(stores: &Stores) -> Result<usize, BrokerError> {
    let queues = stores.source.catalog.queues()?;
    Ok(queues.len().div_ceil(QUEUES_A_LOOK).max(1))
}
