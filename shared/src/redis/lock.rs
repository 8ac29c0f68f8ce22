//! Locks. All of a namespace lie in one slot, so that one counter gives them their fences.

use std::collections::HashMap;
use std::time::Duration;

use redis::Value;

use super::answer::{Items, bytes, count, number};
use super::bell::rung;
use super::call::Call;
use super::script::LOCK;
use super::store::Store;
use super::trouble::Trouble;
use crate::broker::BrokerError;
use crate::catalog::{Catalog, State};
use crate::lock::{Acquisition, HeldLock, Locks, Release, Right, Tenure};
use crate::name::{LockName, LockOwner};
use crate::time::{Timestamp, millis};

/// A lock whose holder is a job that has ended is taken from it; so often, at the most, in one call.
const TAKEN_FROM: usize = 3;

/// Locks without an end of their own that one look for those of ended jobs takes.
const LOOKED_AT: usize = 200;

/// An answer of the script.
struct Answer {
    kind: i64,
    held: Option<HeldLock>,
}

impl Store {
    fn lock_call(
        &self,
        what: &str,
        name: &str,
        owner: &str,
        ttl: Option<Duration>,
        fence: Option<u64>,
    ) -> Call {
        let mut call = Call::script(&LOCK, &self.common_tag(), &self.clock());
        let ttl = ttl.map(|ttl| millis(ttl).min(Timestamp::MAX.as_millis()).to_string());
        call.arg(what)
            .arg(name)
            .arg(owner)
            .arg(ttl.unwrap_or_default())
            .arg(fence.map_or_else(String::new, |fence| fence.to_string()));
        call
    }

    fn ask_lock(&self, call: Call) -> Result<Answer, BrokerError> {
        answer(self.on_one(call)?).map_err(|trouble| self.say(&trouble))
    }

    /// Who holds a lock, as far as its own time tells.
    fn seemingly_held(&self, name: &LockName) -> Result<Option<HeldLock>, BrokerError> {
        let call = self.lock_call("h", name.as_str(), "", None, None);
        Ok(self.ask_lock(call)?.held)
    }

    fn free(
        &self,
        name: &LockName,
        owner: &str,
        fence: Option<u64>,
    ) -> Result<Answer, BrokerError> {
        let mut call = self.lock_call("f", name.as_str(), owner, None, fence);
        call.arg(rung(name.as_str()));
        self.ask_lock(call)
    }

    /// Which of these are over because the job, or the attempt, that holds them is. It lies in
    /// another slot, so nothing frees the lock in the move that ends it.
    fn are_over(&self, all: &[HeldLock]) -> Result<Vec<bool>, BrokerError> {
        let tenures: Vec<_> = all.iter().map(|held| Tenure::of(&held.owner)).collect();
        let jobs: Vec<_> = tenures
            .iter()
            .flatten()
            .map(|tenure| tenure.job())
            .collect();
        if jobs.is_empty() {
            return Ok(vec![false; all.len()]);
        }
        let rows = self.jobs_by_id(&jobs)?;
        let rows: HashMap<_, _> = jobs.into_iter().zip(rows).collect();
        let is_over = |tenure: &Tenure| {
            let row = rows.get(&tenure.job()).and_then(Option::as_ref);
            row.is_none_or(|row| match tenure {
                Tenure::Job(_) => {
                    matches!(row.state, State::Succeeded | State::Dead | State::Dropped)
                }
                Tenure::Attempt { fence, .. } => row.state != State::Leased || row.fence != *fence,
            })
        };
        let over = tenures
            .iter()
            .map(|tenure| tenure.as_ref().is_some_and(is_over));
        Ok(over.collect())
    }

    fn is_over(&self, held: &HeldLock) -> Result<bool, BrokerError> {
        Ok(self.are_over(std::slice::from_ref(held))? == [true])
    }

    /// Forgets locks whose time is over, and those of jobs that have ended.
    pub(super) fn forget_locks(&self, limit: usize) -> Result<usize, BrokerError> {
        let limit = limit.min(LOOKED_AT).to_string();
        let answer = self.on_one(self.lock_call("x", &limit, "", None, None))?;
        let read = || -> Result<(u64, Vec<HeldLock>), Trouble> {
            let mut items = Items::of(answer)?;
            Ok((count(&items.next()?)?, all_held(&mut items)?))
        };
        let (over, endless) = read().map_err(|trouble| self.say(&trouble))?;
        let mut forgotten = usize::try_from(over).unwrap_or(usize::MAX);
        for (held, is_over) in endless.iter().zip(self.are_over(&endless)?) {
            if is_over {
                self.free(&held.name, "", Some(held.fence))?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    fn listed(&self, limit: usize) -> Result<Vec<HeldLock>, BrokerError> {
        let call = self.lock_call("l", &limit.min(10_000).to_string(), "", None, None);
        let listed = Items::of(self.on_one(call)?).and_then(|mut items| all_held(&mut items));
        listed.map_err(|trouble| self.say(&trouble))
    }
}

impl Locks for Store {
    fn acquire(
        &self,
        name: &LockName,
        owner: &LockOwner,
        ttl: Option<Duration>,
    ) -> Result<Acquisition, BrokerError> {
        for attempt in 0.. {
            let call = self.lock_call("a", name.as_str(), owner.as_str(), ttl, None);
            let Answer { kind, held } = self.ask_lock(call)?;
            let held = held.ok_or_else(|| self.say(&nonsense()))?;
            match kind {
                1 => return Ok(Acquisition::Acquired { fence: held.fence }),
                2 => return Ok(Acquisition::AlreadyYours { fence: held.fence }),
                _ if attempt == TAKEN_FROM || !self.is_over(&held)? => {
                    return Ok(Acquisition::Held(held));
                }
                // Under the fence that was seen: whoever was faster keeps what he has.
                _ => drop(self.free(name, "", Some(held.fence))?),
            }
        }
        unreachable!("the loop ends by returning")
    }

    fn renew_lock(
        &self,
        name: &LockName,
        fence: u64,
        ttl: Option<Duration>,
    ) -> Result<bool, BrokerError> {
        let call = self.lock_call("r", name.as_str(), "", ttl, Some(fence));
        Ok(self.ask_lock(call)?.kind == 1)
    }

    fn pass_on(&self, name: &LockName, fence: u64, owner: &LockOwner) -> Result<bool, BrokerError> {
        let call = self.lock_call("p", name.as_str(), owner.as_str(), None, Some(fence));
        Ok(self.ask_lock(call)?.kind == 1)
    }

    fn release(&self, name: &LockName, right: Right<'_>) -> Result<Release, BrokerError> {
        let (owner, fence) = match right {
            Right::Fence(fence) => ("", Some(fence)),
            Right::Owner(owner) => (owner.as_str(), None),
            Right::Force => ("", None),
        };
        let Answer { kind, held } = self.free(name, owner, fence)?;
        Ok(match held {
            None => Release::Free,
            Some(_) if kind == 1 => Release::Released,
            Some(held) if self.is_over(&held)? => Release::Free,
            Some(held) => Release::Refused(held),
        })
    }

    fn holder(&self, name: &LockName) -> Result<Option<HeldLock>, BrokerError> {
        match self.seemingly_held(name)? {
            Some(held) if !self.is_over(&held)? => Ok(Some(held)),
            _ => Ok(None),
        }
    }

    fn locks(&self, limit: usize) -> Result<Vec<HeldLock>, BrokerError> {
        let mut all = self.listed(limit)?;
        let mut over = self.are_over(&all)?.into_iter();
        all.retain(|_| !over.next().unwrap_or(false));
        Ok(all)
    }
}

fn answer(answer: Value) -> Result<Answer, Trouble> {
    let mut items = Items::of(answer)?;
    let kind = number(&items.next()?)?;
    let held = (items.len() > 0).then(|| held(&mut items)).transpose()?;
    Ok(Answer { kind, held })
}

fn all_held(items: &mut Items) -> Result<Vec<HeldLock>, Trouble> {
    let mut all = Vec::with_capacity(items.len() / 3);
    while items.len() > 0 {
        all.push(held(items)?);
    }
    Ok(all)
}

/// A lock from its name, what is kept about it, and the time it has left.
fn held(items: &mut Items) -> Result<HeldLock, Trouble> {
    let text = |value| String::from_utf8(bytes(value)?).map_err(|_| nonsense());
    let (name, about) = (text(items.next()?)?, text(items.next()?)?);
    let left = u64::try_from(number(&items.next()?)?).ok();
    let mut parts = about.splitn(3, ' ');
    let mut part = || parts.next().ok_or_else(nonsense);
    let number = |text: &str| text.parse().map_err(|_| nonsense());
    let (fence, since, owner) = (number(part()?)?, number(part()?)?, part()?);
    Ok(HeldLock {
        name: LockName::new(&name).map_err(|_| nonsense())?,
        owner: LockOwner::new(owner).map_err(|_| nonsense())?,
        fence,
        since: Timestamp::from_millis(since),
        left: left.map(Duration::from_millis),
    })
}

fn nonsense() -> Trouble {
    Trouble::Nonsense("a lock's record makes no sense".into())
}
