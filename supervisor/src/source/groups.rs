//! Closes groups whose members have all ended: by whoever ended the last one, else by upkeep.

use bulkhead_shared::broker::{Broker, BrokerError};
use bulkhead_shared::fault;
use bulkhead_shared::flow::follow::{self, About};
use bulkhead_shared::{QueueName, TaskName, Timestamp};
use tracing::{error, info};

/// Groups looked at in one move: what their members returned is in memory meanwhile.
const AT_ONCE: usize = 8;

/// Rounds of one call: nobody else is kept waiting for long.
const ROUNDS: usize = 32;

/// The queue of a message that names none: the first submission of a flow has settled all others.
pub(super) fn queue_of(_: &TaskName) -> QueueName {
    QueueName::default()
}

/// Closes what is complete; returns how many groups.
pub(crate) fn close(broker: &dyn Broker, now: Timestamp) -> Result<usize, BrokerError> {
    let about = About {
        wants_callback: true,
        now,
        queue_of: &queue_of,
    };
    let mut closed = 0;
    for _ in 0..ROUNDS {
        let groups = broker.complete(AT_ONCE)?;
        if groups.is_empty() {
            break;
        }
        fault::point("close");
        for group in &groups {
            let errands = follow::complete(group, &about).unwrap_or_else(|error| {
                error!(group = %group.uuid, %error, "nothing follows a damaged group");
                Vec::new()
            });
            if broker.close(group, errands)? {
                closed += 1;
                info!(group = %group.uuid, members = group.ends.len(), "group ended");
            }
        }
    }
    Ok(closed)
}
