//! The example of the guide to durable tasks.

use std::time::Duration;

use bulkhead_child::{Uuid, anyhow, durable, task};
use serde_json::Value;

const THREE_DAYS: Duration = Duration::from_secs(3 * 24 * 3600);

/// Charges a customer, waits up to three days for somebody to approve, and gives the money back if
/// nobody does.
#[task]
pub(crate) fn order(customer: String, cents: u64) -> anyhow::Result<String> {
    let charge = durable::step("charge", |this| {
        bank("charge", &customer, cents, this.key())
    })?;
    let approved: Option<Value> = durable::wait_for("approved", THREE_DAYS)?;
    if approved.is_some() {
        return Ok(format!("{charge} stands"));
    }
    let refund = durable::step("refund", |this| {
        bank("refund", &customer, cents, this.key())
    })?;
    Ok(format!("{charge}, then {refund}"))
}

/// A bank that is sent a key does nothing twice under it.
fn bank(what: &str, customer: &str, cents: u64, key: Uuid) -> anyhow::Result<String> {
    anyhow::ensure!(!customer.is_empty(), "nobody to {what} (under {key})");
    Ok(format!("{what} of {cents}"))
}
