//! What is known here of the server's clock: enough to number jobs, and never ahead of it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Value;

use super::answer::{Items, bytes};
use super::trouble::Trouble;
use crate::time::Timestamp;

/// From then on it is asked for again.
const OLD: Duration = Duration::from_secs(10);

/// From then on it is not gone by any more: two clocks do not keep together for ever.
const STALE: Duration = Duration::from_secs(60);

/// Numbers are times in parts of a second, of which there are so many.
const PARTS: u64 = 1 << 20;

/// Later times cannot be told by numbers of scripts; it is the year 2242.
const SECONDS: u64 = (1 << 33) - 1;

/// The server's clock, as it was last heard of. What has passed here since then is told by readings of
/// [`crate::time::since_boot`]: the server's clock goes on while this machine is suspended.
#[derive(Debug, Default)]
pub(super) struct Clock(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The time of day there, and when that answer came.
    heard: Option<(Duration, Duration)>,
    /// The last number that was given out.
    last: u64,
}

impl Clock {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It may be another server.
    pub(super) fn forget(&self) {
        self.state().heard = None;
    }

    /// Whether it should be asked for.
    pub(super) fn is_old(&self, now: Duration) -> bool {
        let heard = self.state().heard;
        heard.is_none_or(|(_, at)| now.saturating_sub(at) > OLD)
    }

    /// Takes the answer to `TIME`. By when it came it is later there, at the most by as much as there
    /// is between the two instants: what was known before is better as long as it fits.
    pub(super) fn hear(
        &self,
        answer: Value,
        sent: Duration,
        came: Duration,
    ) -> Result<(), Trouble> {
        let mut parts = Items::of(answer)?;
        let mut part = || {
            let digits = String::from_utf8(bytes(parts.next()?)?).ok();
            let number = digits.and_then(|digits| digits.parse().ok());
            number.ok_or_else(|| Trouble::Nonsense("a time makes no sense".into()))
        };
        let (seconds, micros): (u64, u64) = (part()?, part()?);
        if seconds > SECONDS || micros >= 1_000_000 {
            return Err(Trouble::Nonsense(
                "the server's clock makes no sense".into(),
            ));
        }
        let least = Duration::from_secs(seconds) + Duration::from_micros(micros);
        let most = least + came.saturating_sub(sent);
        let mut state = self.state();
        let known = state.heard.map(|(time, at)| time + came.saturating_sub(at));
        let known = known.filter(|known| (least..=most).contains(known));
        state.heard = Some((known.unwrap_or(least), came));
        Ok(())
    }

    /// The time of day there, as far as it is known, and the first of `count` new numbers.
    pub(super) fn number(&self, count: usize, now: Duration) -> Option<(Timestamp, u64)> {
        let mut state = self.state();
        let (time, at) = state.heard?;
        let since = now.saturating_sub(at);
        if since > STALE {
            return None;
        }
        let time = time.saturating_add(since);
        let number =
            time.as_secs() * PARTS + u64::from(time.subsec_nanos()) * PARTS / 1_000_000_000;
        // If the clock has been set back, those before it are not waited for.
        let is_back = state.last > number + PARTS;
        let first = if is_back {
            number
        } else {
            number.max(state.last + 1)
        };
        state.last = first + u64::try_from(count).unwrap_or(u64::MAX).max(1) - 1;
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Some((Timestamp::from_millis(millis), first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: u64, micros: u64) -> Value {
        let text = |number: u64| Value::BulkString(number.to_string().into_bytes());
        Value::Array(vec![text(seconds), text(micros)])
    }

    fn hear(clock: &Clock, seconds: u64, micros: u64, now: Duration) {
        clock.hear(time(seconds, micros), now, now).expect("a time");
    }

    #[test]
    fn numbers_are_the_server_s_time_and_no_number_is_given_twice() {
        let (clock, start) = (Clock::default(), Duration::from_secs(7_000));
        assert_eq!(clock.number(1, start), None, "nothing is known of it yet");
        hear(&clock, 1_000, 500_000, start);
        let first = 1_000 * PARTS + PARTS / 2;
        let at = Timestamp::from_millis(1_000_500);
        assert_eq!(clock.number(3, start), Some((at, first)));
        assert_eq!(clock.number(1, start), Some((at, first + 3)));
        let later = start + Duration::from_millis(500);
        assert_eq!(clock.number(1, later).map(|(_, n)| n), Some(1_001 * PARTS));
    }

    #[test]
    fn a_clock_that_is_set_back_a_little_keeps_the_order_and_one_set_back_far_is_followed() {
        let (clock, start) = (Clock::default(), Duration::from_secs(7_000));
        hear(&clock, 1_000, 0, start);
        assert_eq!(clock.number(1, start).map(|(_, n)| n), Some(1_000 * PARTS));
        hear(&clock, 999, 900_000, start);
        assert_eq!(
            clock.number(1, start).map(|(_, n)| n),
            Some(1_000 * PARTS + 1)
        );
        hear(&clock, 900, 0, start);
        assert_eq!(clock.number(1, start).map(|(_, n)| n), Some(900 * PARTS));
    }

    #[test]
    fn an_answer_that_took_long_does_not_put_a_clock_back_that_is_known_better() {
        let (clock, start) = (Clock::default(), Duration::from_secs(7_000));
        let after = |millis| start + Duration::from_millis(millis);
        hear(&clock, 1_000, 0, start);
        let late = clock.hear(time(1_000, 500_000), after(400), after(2_000));
        assert!(late.is_ok());
        let now = |clock: &Clock| {
            clock
                .number(1, after(2_000))
                .map(|(now, _)| now.as_millis())
        };
        assert_eq!(now(&clock), Some(1_002_000));
        // It was not as late as that there when the question had not been asked yet.
        assert!(
            clock
                .hear(time(1_001, 0), after(1_900), after(2_000))
                .is_ok()
        );
        assert_eq!(now(&clock), Some(1_001_000));
    }

    #[test]
    fn a_time_that_is_none_is_refused() {
        let (clock, start) = (Clock::default(), Duration::from_secs(7_000));
        for (seconds, micros) in [(u64::MAX, 0), (1 << 33, 0), (1, u64::MAX), (1, 1_000_000)] {
            assert!(clock.hear(time(seconds, micros), start, start).is_err());
        }
        assert!(clock.hear(Value::Nil, start, start).is_err());
        assert!(clock.hear(Value::Array(Vec::new()), start, start).is_err());
        assert_eq!(clock.number(1, start), None);
    }

    #[test]
    fn what_was_heard_long_ago_is_not_gone_by() {
        let (clock, start) = (Clock::default(), Duration::from_secs(7_000));
        assert!(clock.is_old(start));
        hear(&clock, 1_000, 0, start);
        assert!(!clock.is_old(start));
        assert!(clock.is_old(start + Duration::from_secs(11)));
        assert_eq!(clock.number(1, start + Duration::from_secs(61)), None);
        clock.forget();
        assert_eq!(clock.number(1, start), None);
    }
}
