//! Gates that a connection watches: a transaction on it is done only if nobody has touched them since
//! they were looked at.

use std::time::Duration;

use redis::Value;

use super::answer::{bytes, list};
use super::call::{By, Call, Transaction};
use super::clock::Clock;
use super::line::{Line, accepted};
use super::trouble::Trouble;
use crate::time::since_boot;

/// Gates that are watched, if those of one call are not more: a producer may submit to several queues by
/// turns.
const WATCHED: usize = 4;

/// The gates, and whether each was open when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Watch(Vec<(String, bool)>);

impl Watch {
    /// Whether all of these are watched and were open.
    pub(super) fn is_open(&self, gates: &[String]) -> bool {
        let is_open = |gate: &String| {
            self.0
                .iter()
                .any(|(name, is_open)| name == gate && *is_open)
        };
        gates.iter().all(is_open)
    }

    /// Goes on with these, and with as many of the others as there may be. Whether some were dropped: the
    /// server watches them until it is told.
    #[must_use]
    fn turn_to(&mut self, gates: &[String]) -> bool {
        let is_known = |gate: &String| self.0.iter().any(|(name, _)| name == gate);
        if gates.iter().all(is_known) {
            return false;
        }
        let known = std::mem::take(&mut self.0);
        let is_open = |gate: &String| known.iter().any(|(name, is_open)| name == gate && *is_open);
        self.0 = gates
            .iter()
            .map(|gate| (gate.clone(), is_open(gate)))
            .collect();
        let mut others = known.into_iter().filter(|(name, _)| !gates.contains(name));
        let room = WATCHED.saturating_sub(gates.len());
        self.0.extend(others.by_ref().take(room));
        others.next().is_some()
    }

    /// What watches them, then looks at them, and at the clock.
    fn looks(&self, clock: Option<&Clock>) -> Vec<Call> {
        let mut looks = vec![Call::plain(&[b"WATCH"]), Call::plain(&[b"MGET"])];
        for look in &mut looks {
            self.0.iter().for_each(|(name, _)| {
                look.arg(name);
            });
        }
        looks.extend(clock.map(|_| Call::plain(&[b"TIME"])));
        looks
    }

    /// Takes the answers to that.
    fn see(
        &mut self,
        seen: Vec<Value>,
        clock: Option<&Clock>,
        sent: Duration,
    ) -> Result<(), Trouble> {
        seen.iter().try_for_each(accepted)?;
        let mut seen = seen.into_iter().skip(1);
        let states = list(seen.next().unwrap_or_default())?;
        if states.len() != self.0.len() {
            return Err(Trouble::Nonsense("not all gates were told of".into()));
        }
        for ((_, is_open), state) in self.0.iter_mut().zip(states) {
            *is_open = state == Value::Nil || bytes(state).is_ok_and(|state| state != b"2");
        }
        if let (Some(clock), Some(time)) = (clock, seen.next()) {
            clock.hear(time, sent, since_boot())?;
        }
        Ok(())
    }
}

impl Line {
    /// Runs all of it and returns the answers in order; then watches these gates, and listens to the
    /// clock if that is asked for.
    pub(super) fn run_and_watch(
        &mut self,
        mut calls: Vec<Call>,
        gates: &[String],
        clock: Option<&Clock>,
    ) -> Result<Vec<Value>, Trouble> {
        let Some(mut watch) = self.watch.take() else {
            return self.run(&calls);
        };
        let has_dropped = watch.turn_to(gates);
        let count = calls.len();
        // What is watched anew is looked at after that.
        calls.extend(has_dropped.then(|| Call::plain(&[b"UNWATCH"])));
        calls.extend(watch.looks(clock));
        let sent = since_boot();
        let mut answers = self.answers(&calls)?;
        let mut seen = answers.split_off(count);
        let is_told = !has_dropped || accepted(&seen.remove(0)).is_ok();
        answers.iter().try_for_each(accepted)?;
        // A server that lets nobody watch, or look, is not asked again.
        let is_seen = is_told && watch.see(seen, clock, sent).is_ok();
        self.watch = is_seen.then_some(watch);
        Ok(answers)
    }

    /// Whether all of these gates are watched and were open.
    pub(super) fn watches(&self, gates: &[String]) -> bool {
        self.watch
            .as_ref()
            .is_some_and(|watch| watch.is_open(gates))
    }

    /// Does all of it, or nothing if a gate that is watched was touched; then watches anew.
    pub(super) fn transact(
        &mut self,
        transaction: Transaction,
        clock: Option<&Clock>,
    ) -> Result<Option<Vec<Value>>, Trouble> {
        let Some(mut watch) = self.watch.take() else {
            return Ok(None);
        };
        let Some(connection) = self.server() else {
            return Ok(None);
        };
        let (looks, (mut out, commands)) = (watch.looks(clock), transaction.end());
        for look in &looks {
            look.write(&mut out, By::Digest);
        }
        let sent = since_boot();
        connection
            .send_packed_command(&out)
            .map_err(Trouble::Broken)?;
        let mut receive = || connection.recv_response().map_err(Trouble::Broken);
        // Whatever is refused fails all of it.
        let mut refused = None;
        for _ in 0..=commands {
            refused = refused.or(accepted(&receive()?).err());
        }
        let done = receive()?;
        let seen = looks.iter().map(|_| receive()).collect::<Result<_, _>>()?;
        if let Some(trouble) = refused {
            return Err(trouble);
        }
        accepted(&done)?;
        self.watch = watch.see(seen, clock, sent).is_ok().then_some(watch);
        if done == Value::Nil {
            return Ok(None);
        }
        let answers = list(done)?;
        answers.iter().try_for_each(accepted)?;
        if answers.len() != commands {
            return Err(Trouble::Nonsense("a transaction was half answered".into()));
        }
        Ok(Some(answers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(gates: &[&str]) -> Vec<String> {
        gates.iter().map(ToString::to_string).collect()
    }

    fn seen(watch: &mut Watch, states: Vec<Value>) {
        let ok = Value::Okay;
        watch
            .see(vec![ok, Value::Array(states)], None, since_boot())
            .expect("states");
    }

    #[test]
    fn a_gate_is_open_when_it_was_looked_at_and_lets_jobs_in() {
        let mut watch = Watch::default();
        let (a, both) = (names(&["a"]), names(&["a", "b"]));
        assert!(!watch.is_open(&a));
        let _ = watch.turn_to(&both);
        assert!(!watch.is_open(&a), "nobody has looked yet");
        seen(&mut watch, vec![Value::Nil, Value::BulkString(b"2".into())]);
        assert!(watch.is_open(&a));
        assert!(!watch.is_open(&both), "b is closed");
        seen(&mut watch, vec![Value::Nil, Value::BulkString(b"1".into())]);
        assert!(watch.is_open(&both), "a paused queue takes jobs");
    }

    #[test]
    fn an_answer_that_is_too_short_says_nothing_of_any_gate() {
        let mut watch = Watch::default();
        let _ = watch.turn_to(&names(&["a", "b"]));
        for states in [Vec::new(), vec![Value::Nil], vec![Value::Nil; 3]] {
            let answers = vec![Value::Okay, Value::Array(states)];
            let seen = watch.see(answers, None, since_boot());
            assert!(seen.is_err());
        }
        assert!(!watch.is_open(&names(&["a"])));
    }

    #[test]
    fn a_few_stay_watched_and_those_of_the_last_call_do_in_any_case() {
        let mut watch = Watch::default();
        assert!(!watch.turn_to(&names(&["a", "b", "c", "d"])));
        seen(&mut watch, vec![Value::Nil; 4]);
        assert!(!watch.turn_to(&names(&["a"])));
        assert!(watch.turn_to(&names(&["e"])), "one is dropped");
        assert!(watch.is_open(&names(&["a", "b", "c"])));
        assert!(!watch.is_open(&names(&["e"])), "nobody has looked yet");
        assert!(!watch.is_open(&names(&["d"])), "there are too many");
        assert!(watch.turn_to(&names(&["1", "2", "3", "a", "5", "6"])));
        assert_eq!(watch.0.len(), 6);
        assert!(watch.is_open(&names(&["a"])) && !watch.is_open(&names(&["b"])));
    }
}
