//! The opened store: what all moves share.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use redis::Value;
use uuid::Uuid;

use super::Time;
use super::address::Address;
use super::answer::{bytes, list};
use super::call::Call;
use super::doubt::Doubts;
use super::ear::Ear;
use super::lines::Lines;
use super::linked::Linked;
use super::record::name;
use super::script::Script;
use super::trouble::Trouble;
use crate::backend::{Missing, Options};
use crate::broker::BrokerError;
use crate::catalog::QUEUES_A_LOOK;
use crate::name::{Namespace, QueueName, StreamName};
use crate::task::TaskSpec;
use crate::time::{self, Timestamp, millis};

/// The oldest server whose scripts and commands do what is asked here.
const OLDEST: u32 = 7;

/// The layout of the keys that this version knows.
const LAYOUT: u32 = 2;

/// Where the next looks begin.
#[derive(Debug)]
pub(super) struct Rounds {
    pub(super) leases: AtomicUsize,
    pub(super) expired: AtomicUsize,
    pub(super) prune: AtomicUsize,
    pub(super) letters: AtomicUsize,
    pub(super) groups: AtomicUsize,
}

impl Rounds {
    /// Somewhere: several supervisors are to look at several parts.
    fn new() -> Self {
        let somewhere = Uuid::new_v4().as_fields().0;
        let start = || AtomicUsize::new(usize::try_from(somewhere).unwrap_or(0));
        Self {
            leases: start(),
            expired: start(),
            prune: start(),
            letters: start(),
            groups: start(),
        }
    }
}

/// One opened store.
pub(super) struct Store {
    /// For everything but renewals.
    pub(super) lines: Arc<Lines>,
    /// For renewals, which wait for nothing else.
    pub(super) pulse: Lines,
    pub(super) namespace: Namespace,
    /// Hears what becomes of jobs; made for the first client that waits.
    pub(super) jobs: Mutex<Option<Arc<Ear>>>,
    /// Hears of locks that are free; made for the first that waits for one.
    pub(super) free: Mutex<Option<Arc<Ear>>>,
    /// Hears of streams in which there is something to do; made for the first that waits for one.
    pub(super) flowing: Mutex<Option<Arc<Ear>>>,
    /// Bytes of the largest event in the last answer.
    pub(super) event_size: AtomicUsize,
    /// Registrations and when they were read: producers ask for them with every message.
    pub(super) specs: Mutex<Option<(Instant, Vec<TaskSpec>)>>,
    /// The locks of jobs that this process holds.
    pub(super) linked: Mutex<Linked>,
    /// What was sent and never answered.
    pub(super) doubts: Doubts,
    /// The token of the next job that is submitted: from anywhere on, for it tells a resend from the
    /// message of another process with the same uuid.
    pub(super) tokens: AtomicU64,
    /// Bells that transactions have rung so far.
    pub(super) rings: AtomicU64,
    /// Nothing says that the server allows none.
    pub(super) has_transactions: AtomicBool,
    pub(super) rounds: Rounds,
    /// Queues in which a group is said to be complete.
    complete: Mutex<BTreeSet<QueueName>>,
    known: Mutex<Vec<QueueName>>,
    /// What the store was when it was last looked at: another one holds other jobs.
    born: Mutex<Option<Vec<u8>>>,
    /// The store has lost what it held.
    pub(super) has_forgotten: AtomicBool,
    pub(super) time: Option<Time>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.lines.place).finish()
    }
}

impl Store {
    pub(super) fn open(
        url: &str,
        options: &Options,
        time: Option<Time>,
    ) -> Result<Self, BrokerError> {
        let address = Address::parse(url)?;
        let store = Self {
            pulse: Lines::new(address.clone()),
            lines: Arc::new(Lines::new(address)),
            namespace: options.namespace.clone(),
            jobs: Mutex::default(),
            free: Mutex::default(),
            flowing: Mutex::default(),
            event_size: AtomicUsize::new(usize::MAX),
            specs: Mutex::default(),
            linked: Mutex::default(),
            doubts: Doubts::new(),
            rings: AtomicU64::new(0),
            has_transactions: AtomicBool::new(true),
            tokens: AtomicU64::new(Uuid::new_v4().as_u64_pair().1),
            rounds: Rounds::new(),
            complete: Mutex::default(),
            known: Mutex::default(),
            born: Mutex::default(),
            has_forgotten: AtomicBool::new(false),
            time,
        };
        store.check(options.missing)?;
        Ok(store)
    }

    /// Refuses a server, or a layout, that this version cannot use.
    fn check(&self, missing: Missing) -> Result<(), BrokerError> {
        let (layout, ours) = (format!("{}layout", self.common_tag()), LAYOUT.to_string());
        let look = || Call::plain(&[b"GET", layout.as_bytes()]);
        let calls = [Call::plain(&[b"INFO", b"server"]), look()];
        let answers = self.lines.run_again(&calls)?;
        let mut answers = answers.into_iter();
        let place = &self.lines.place;
        let refused = |reason: String, way_out: &str| {
            Err(BrokerError::Refused {
                reason: format!("{place}: {reason}"),
                way_out: way_out.into(),
            })
        };
        let info = answers.next().map(bytes).and_then(Result::ok);
        let info = String::from_utf8_lossy(&info.unwrap_or_default()).into_owned();
        if let Some(version) = info
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"))
        {
            let major = version.split('.').next().and_then(|n| n.parse().ok());
            if major.is_some_and(|major: u32| major < OLDEST) {
                return refused(
                    format!("the server has version {}", version.trim()),
                    "use Redis 7 or Valkey",
                );
            }
        }
        let mut found = answers.next().unwrap_or_default();
        if found == Value::Nil {
            // Who only looks leaves nothing behind: a namespace without a layout is empty.
            if missing == Missing::Refuse {
                return Ok(());
            }
            // Of several that make it at once the first decides.
            let make = Call::plain(&[b"SET", layout.as_bytes(), ours.as_bytes(), b"NX"]);
            let mut answers = self.lines.run_again(&[make, look()])?;
            found = answers.pop().unwrap_or_default();
        }
        let found = bytes(found).ok();
        let found = String::from_utf8_lossy(&found.unwrap_or_default()).into_owned();
        if found != ours {
            let is_older = found.parse::<u32>().is_ok_and(|found| found < LAYOUT);
            return refused(
                format!(
                    "the keys of this namespace have layout `{found}`, this version knows {ours}"
                ),
                match is_older {
                    true => {
                        "move its jobs to another store with the release that wrote them \
                         (`supervisor migrate`), or use another --namespace"
                    }
                    false => "use the newer release that wrote them, or another --namespace",
                },
            );
        }
        Ok(())
    }

    /// Asks which store this is; if nothing says so it is a new one, and gets a name.
    pub(super) fn who_is_it(&self) -> [Call; 2] {
        let born = format!("{}born", self.common_tag());
        let new = name(Uuid::new_v4());
        [
            Call::plain(&[b"SET", born.as_bytes(), new.as_bytes(), b"NX"]),
            Call::plain(&[b"GET", born.as_bytes()]),
        ]
    }

    /// Whether it is another one than the last time.
    pub(super) fn is_another(&self, born: Vec<u8>) -> bool {
        let mut known = self.born.lock().unwrap_or_else(PoisonError::into_inner);
        let is_another = known.as_ref().is_some_and(|known| *known != born);
        *known = Some(born);
        is_another
    }

    /// Remembers that the queue whose keys begin with `tag` has a group that is complete.
    pub(super) fn remember_complete(&self, tag: &str) {
        let name = tag
            .split_once('|')
            .and_then(|(_, rest)| rest.strip_suffix('}'));
        let queue = name.and_then(|name| QueueName::new(name).ok());
        let mut complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner);
        complete.extend(queue);
    }

    /// The queues that were remembered.
    pub(super) fn take_complete(&self) -> Vec<QueueName> {
        let mut complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *complete).into_iter().collect()
    }

    /// What all keys of a queue begin with. No name holds `|` or braces.
    pub(super) fn tag(&self, queue: &QueueName) -> String {
        format!("{{{}|{queue}}}", self.namespace)
    }

    /// What all keys of a stream begin with. No name begins with `~`.
    pub(super) fn stream_tag(&self, stream: &StreamName) -> String {
        format!("{{{}|~{stream}}}", self.namespace)
    }

    /// What the keys begin with that belong to no queue.
    pub(super) fn common_tag(&self) -> String {
        format!("{{{}|}}", self.namespace)
    }

    /// The time as scripts take it: nothing, for the server's own.
    pub(super) fn clock(&self) -> String {
        match (&self.time, time::turned()) {
            (Some(time), _) => {
                let (wall, lease) = time();
                format!("{} {}", wall.as_millis(), millis(lease))
            }
            (None, 0) => String::new(),
            (None, turned) => format!("{turned:+}"),
        }
    }

    /// The time of day: the test's, or else this machine's.
    pub(super) fn now(&self) -> Timestamp {
        let time = self.time.as_ref().map(|time| time().0);
        time.unwrap_or_else(Timestamp::now)
    }

    /// A script for a queue.
    pub(super) fn script(&self, script: &'static Script, queue: &QueueName) -> Call {
        Call::script(script, &self.tag(queue), &self.clock())
    }

    /// All queues of the namespace, by name.
    pub(super) fn all_queues(&self) -> Result<Vec<QueueName>, BrokerError> {
        all_queues(&self.lines, &self.common_tag())
    }

    /// As many queues of the namespace as one look may take.
    pub(super) fn next_queues(&self, round: &AtomicUsize) -> Result<Vec<QueueName>, BrokerError> {
        Ok(some_of(self.all_queues()?, round))
    }

    /// The queues that the namespace had at the last look.
    pub(super) fn known_queues(&self) -> MutexGuard<'_, Vec<QueueName>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What tells the store of these queues, if it has not been told.
    pub(super) fn tell_of(&self, queues: &[&QueueName]) -> Option<Call> {
        if queues.is_empty() {
            return None;
        }
        let mut call = Call::plain(&[b"SADD", format!("{}queues", self.common_tag()).as_bytes()]);
        for queue in queues {
            call.arg(queue.as_str());
        }
        Some(call)
    }

    /// Runs one script on each of these queues, in one round trip.
    pub(super) fn on_each(
        &self,
        queues: &[QueueName],
        script: &'static Script,
        with: impl Fn(&mut Call),
    ) -> Result<Vec<Value>, BrokerError> {
        let call = |queue| {
            let mut call = self.script(script, queue);
            with(&mut call);
            call
        };
        let calls: Vec<_> = queues.iter().map(call).collect();
        self.lines.run_again(&calls)
    }

    /// Runs one script on one queue.
    pub(super) fn on_one(&self, call: Call) -> Result<Value, BrokerError> {
        let mut answers = self.lines.run(&[call])?;
        Ok(answers.swap_remove(0))
    }

    pub(super) fn specs(&self) -> MutexGuard<'_, Option<(Instant, Vec<TaskSpec>)>> {
        self.specs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn say(&self, trouble: &Trouble) -> BrokerError {
        trouble.translate(&self.lines.place)
    }

    pub(super) fn ear(&self) -> MutexGuard<'_, Option<Arc<Ear>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All queues of the namespace whose own keys begin with `tag`, by name.
pub(super) fn all_queues(lines: &Lines, tag: &str) -> Result<Vec<QueueName>, BrokerError> {
    let mut answers = lines.run_again(&[list_queues(tag)])?;
    queue_names(answers.swap_remove(0)).map_err(|trouble| trouble.translate(&lines.place))
}

/// Asks for the queues of a namespace.
pub(super) fn list_queues(tag: &str) -> Call {
    Call::plain(&[b"SMEMBERS", format!("{tag}queues").as_bytes()])
}

/// The queues of a namespace, by name.
pub(super) fn queue_names(answer: Value) -> Result<Vec<QueueName>, Trouble> {
    let names = list(answer)?;
    let mut queues = Vec::with_capacity(names.len());
    for name in names {
        let name = String::from_utf8(bytes(name)?).ok();
        // A name that this version does not allow is a later one's.
        queues.extend(name.and_then(|name| QueueName::new(&name).ok()));
    }
    queues.sort();
    Ok(queues)
}

/// All of them if they are few, else as many as one look may take, after those of the last one.
pub(super) fn some_of(mut queues: Vec<QueueName>, round: &AtomicUsize) -> Vec<QueueName> {
    if queues.len() > QUEUES_A_LOOK {
        let start = round.fetch_add(QUEUES_A_LOOK, Ordering::Relaxed) % queues.len();
        queues.rotate_left(start);
        queues.truncate(QUEUES_A_LOOK);
    }
    queues
}
