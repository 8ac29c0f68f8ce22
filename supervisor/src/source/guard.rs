//! Kills what runs under leases that nobody could renew: well before a lease ends, at two thirds of
//! it, no task may be left that another supervisor would find running. Runs on a thread of its own
//! that never asks the store, since a call may take longer than a lease when the network is cut.

use std::sync::Arc;

use tracing::error;

use super::Held;
use crate::notice::{Notice, Notices};

/// Runs until `held` is closed.
pub(crate) fn guard(held: &Arc<Held>, notices: &Notices) {
    while let Some(unsure) = held.wait_for_unsure() {
        if unsure.new > 0 {
            let leases = unsure.new;
            error!(
                leases,
                "leases could not be renewed in time; what runs under them is killed"
            );
        }
        for ticket in unsure.tickets {
            notices.send(Notice::Lost(ticket));
        }
    }
}
