//! A store of its own for one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bulkhead_shared::backend::{Backend, Options};
use bulkhead_shared::broker::{
    Broker, Claim, Claimed, Overdue, Selection, Settled, Settlement, Submission, Submitted,
    SupervisorId, Turned,
};
use bulkhead_shared::catalog::{JobRow, State};
use bulkhead_shared::message::MessageBuilder;
use bulkhead_shared::retry::Move;
use bulkhead_shared::{Message, Namespace, QueueName, Uuid, redis, sqlite};

use crate::redis_server::RedisServer;
use crate::{Kind, TestClock, queue, redis_cluster, redis_server, settlement, supervisor, task};

/// The lease of claims in tests.
pub const LEASE: Duration = Duration::from_secs(30);

/// Whole seconds.
#[must_use]
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A store, its clock, and one supervisor that serves the queue `default` and the task `add`.
#[derive(Debug)]
pub struct Scene {
    /// Which backend.
    pub kind: Kind,
    /// The store's clock.
    pub clock: Arc<TestClock>,
    /// The store.
    pub store: Backend,
    /// Its only supervisor.
    pub me: SupervisorId,
    url: String,
    /// Lives as long as the scene.
    _server: Option<Arc<RedisServer>>,
    dir: tempfile::TempDir,
}

impl Scene {
    /// An empty store.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let (server, url) = match kind {
            Kind::SqliteFile | Kind::SqliteMemory => (None, String::new()),
            Kind::Redis => {
                let server = redis_server::shared();
                let url = server.url();
                (Some(server), url)
            }
            Kind::RedisCluster => (None, redis_cluster::shared().into()),
        };
        Self {
            _server: server,
            ..Self::on(kind, &url)
        }
    }

    /// An empty store on the server at `url`, if its kind has servers.
    #[must_use]
    pub fn on(kind: Kind, url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::new());
        let store = open(kind, &dir.path().join("s.db"), url, &clock, "bulkhead");
        Self {
            kind,
            url: url.into(),
            _server: None,
            clock,
            store,
            me: supervisor(),
            dir,
        }
    }

    /// Where its file is, if it has one.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("s.db")
    }

    /// The same store opened once more; in memory there is only the one.
    #[must_use]
    pub fn again(&self) -> Backend {
        match self.kind {
            Kind::SqliteMemory => self.store.clone(),
            Kind::SqliteFile | Kind::Redis | Kind::RedisCluster => {
                open(self.kind, &self.path(), &self.url, &self.clock, "bulkhead")
            }
        }
    }

    /// Another installation in the same store, where stores can be shared.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Backend {
        open(self.kind, &self.path(), &self.url, &self.clock, name)
    }

    /// Its broker.
    #[must_use]
    pub fn broker(&self) -> &dyn Broker {
        &*self.store.broker
    }

    /// Submits to `default` or to the queue that the message names.
    pub fn submit(&self, message: MessageBuilder) -> Uuid {
        let message = self.build(message);
        assert_eq!(self.offer(&message), Submitted::Created);
        message.uuid
    }

    /// Builds a message at the scene's time.
    #[must_use]
    pub fn build(&self, message: MessageBuilder) -> Message {
        use bulkhead_shared::sqlite::Clock;
        message.build_at(self.clock.wall()).unwrap()
    }

    /// Submits a message that was built.
    pub fn offer(&self, message: &Message) -> Submitted {
        let queue = message.queue.clone().unwrap_or_default();
        let submission = Submission {
            message,
            queue: &queue,
        };
        self.broker().submit(&[submission]).unwrap()[0]
    }

    /// Settles and claims from `default`.
    pub fn turn(&self, settlements: Vec<Settlement>, room: usize) -> Turned {
        self.turn_in(&[QueueName::default()], settlements, room)
    }

    /// Settles and claims from the given queues.
    pub fn turn_in(
        &self,
        queues: &[QueueName],
        settlements: Vec<Settlement>,
        room: usize,
    ) -> Turned {
        let selection = Selection {
            queues: queues.to_vec(),
            tasks: vec![task("add"), task("sub")],
        };
        let claim = Claim {
            owner: self.me,
            selection: &selection,
            room,
            lease: LEASE,
        };
        self.broker().turn(settlements, Some(claim)).unwrap()
    }

    /// Claims from `default`.
    pub fn claim(&self, room: usize) -> Vec<Claimed> {
        self.turn(Vec::new(), room).claimed
    }

    /// Claims the only job there is.
    pub fn claim_one(&self) -> Claimed {
        let mut claimed = self.claim(2);
        assert_eq!(claimed.len(), 1, "one job was expected");
        claimed.remove(0)
    }

    /// Claims from one queue.
    pub fn claim_from(&self, name: &str, room: usize) -> Vec<Claimed> {
        self.turn_in(&[queue(name)], Vec::new(), room).claimed
    }

    /// Ends an attempt.
    pub fn settle(&self, claimed: &Claimed, next: Move) -> Settled {
        let turned = self
            .broker()
            .turn(vec![settlement(claimed, next)], None)
            .unwrap();
        turned.settled[0]
    }

    /// Takes over what is overdue.
    pub fn take_over(&self, what: &Overdue<'_>) -> Vec<Claimed> {
        self.broker().take_over(what, self.me, 100, LEASE).unwrap()
    }

    /// A job that must be there.
    pub fn row(&self, uuid: Uuid) -> JobRow {
        let mut rows = self.store.catalog.jobs_by_id(&[uuid]).unwrap();
        rows.remove(0).expect("the store knows the job")
    }

    /// Where a job is, if the store knows it.
    #[must_use]
    pub fn state(&self, uuid: Uuid) -> Option<State> {
        let rows = self.store.catalog.jobs_by_id(&[uuid]).unwrap();
        rows[0].as_ref().map(|row| row.state)
    }
}

fn open(kind: Kind, path: &Path, url: &str, clock: &Arc<TestClock>, namespace: &str) -> Backend {
    let path = match kind {
        Kind::SqliteFile => path.to_str().unwrap(),
        Kind::SqliteMemory => ":memory:",
        Kind::Redis | Kind::RedisCluster => return open_redis(path, url, clock, namespace),
    };
    let options = Options {
        namespace: Namespace::new(namespace).unwrap(),
        ..Options::new(path)
    };
    sqlite::open_with_clock(path, &options, Arc::clone(clock) as _).unwrap()
}

/// The scenes of a process share a server; each has namespaces of its own, from the name of its
/// directory, of which there is only one.
fn open_redis(path: &Path, url: &str, clock: &Arc<TestClock>, namespace: &str) -> Backend {
    let scene = path.parent().and_then(|dir| dir.file_name()).unwrap();
    let namespace = spread(&format!("{}/{namespace}", scene.to_str().unwrap()));
    let options = Options {
        namespace: Namespace::new(&namespace).unwrap(),
        ..Options::new(url)
    };
    let clock = Arc::clone(clock);
    redis::open_with_clock(url, &options, Arc::new(move || clock.forward())).unwrap()
}

/// A namespace whose queues lie on different servers of a cluster: by itself a third of all scenes
/// would have both of theirs on the same one.
fn spread(namespace: &str) -> String {
    let master = |namespace: &str, queue: &str| {
        let tag = format!("{namespace}|{queue}");
        redis_cluster::master_of(&tag)
    };
    let is_spread = |namespace: &String| {
        ["default:later", "a:b", "default:q", "default:"]
            .iter()
            .filter_map(|two| two.split_once(':'))
            .all(|(one, two)| master(namespace, one) != master(namespace, two))
    };
    let numbered = (0..1000).map(|number| format!("{namespace}.{number}"));
    numbered.into_iter().find(is_spread).unwrap()
}
