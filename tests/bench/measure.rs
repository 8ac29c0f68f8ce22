//! Clocks, medians, percentiles.

use std::time::{Duration, Instant};

use bulkhead_shared::time::Now;
use nix::poll::{PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};

/// The monotonic clock.
pub(crate) fn now() -> Instant {
    Now::read().mono
}

/// How long `work` takes, and what it gives.
pub(crate) fn timed<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(Duration, T)> {
    let start = now();
    let value = work()?;
    Ok((now().duration_since(start), value))
}

/// Lets time pass, so that what is measured next is idle.
pub(crate) fn rest(time: Duration) {
    let until = now() + time;
    loop {
        let left = until.saturating_duration_since(now());
        if left.is_zero() {
            return;
        }
        let ms = u16::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        // Nothing is watched: it ends by time or by a signal.
        let _ = poll(&mut [], PollTimeout::from(ms));
    }
}

/// `count` things in `time`, per second.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts are far below 2^52, and rates are rounded"
)]
pub(crate) fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

/// The value below which `part` of all values lie. Sorts them.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index among a few thousand values"
)]
pub(crate) fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * part).ceil() as usize;
    let last = values.len().saturating_sub(1);
    values
        .get(place.saturating_sub(1).min(last))
        .copied()
        .unwrap_or(f64::NAN)
}

/// The value in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(&mut values.to_vec(), 0.5)
}

/// CPU time of all children that have been waited for, and of those they have waited for.
pub(crate) fn children_cpu() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = |time: nix::sys::time::TimeVal| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        Duration::from_secs(seconds)
            + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or(0))
    };
    Ok(micros(usage.user_time()) + micros(usage.system_time()))
}
