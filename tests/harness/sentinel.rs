//! A master, its replica, and a sentinel that watches both and decides alone.

use std::fs;

use crate::redis_server::RedisServer;
use crate::supervise::PATIENCE;
use crate::until;

/// The name that the sentinel knows the two by.
pub const SERVICE: &str = "main";

/// Two servers and their sentinel; killed when it is dropped.
#[derive(Debug)]
pub struct Watched {
    /// The master, until it falls.
    pub master: RedisServer,
    /// Takes its place.
    pub replica: RedisServer,
    /// Decides.
    pub sentinel: RedisServer,
    _dir: tempfile::TempDir,
}

impl Watched {
    /// Starts all three, the sentinel with more lines than the usual ones, and waits until each
    /// knows the others.
    ///
    /// # Panics
    /// If they do not come.
    #[must_use]
    pub fn start(lines: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let master = RedisServer::start(&[]);
        let port = master.port().to_string();
        let quickly = [
            "--repl-ping-replica-period",
            "1",
            "--repl-diskless-sync-delay",
            "0",
        ];
        let follow = [&["--replicaof", "127.0.0.1", &port][..], &quickly].concat();
        let replica = RedisServer::start(&follow);
        let mut passwords = lines
            .iter()
            .filter_map(|line| line.strip_prefix("requirepass "));
        let password = passwords.next();
        let sentinel = RedisServer::start_with(password, |own| {
            let path = dir.path().join("sentinel.conf");
            let text = format!(
                "port {own}\nbind 127.0.0.1\ndir {}\n\
                 sentinel monitor {SERVICE} 127.0.0.1 {port} 1\n\
                 sentinel down-after-milliseconds {SERVICE} 500\n\
                 sentinel failover-timeout {SERVICE} 3000\n{}\n",
                dir.path().display(),
                lines.join("\n"),
            );
            fs::write(&path, text).unwrap();
            vec![path.to_str().unwrap().into(), "--sentinel".into()]
        });
        let watched = Self {
            master,
            replica,
            sentinel,
            _dir: dir,
        };
        watched.replica_has_everything();
        until("the sentinel to know both", PATIENCE, || {
            let info = watched.sentinel.text("INFO sentinel");
            let known = watched
                .sentinel
                .text(&format!("SENTINEL REPLICAS {SERVICE}"));
            // Also that it follows: otherwise it is not thought fit to be master.
            let follows = known.contains("master-link-status\r\n$2\r\nok");
            (follows && info.contains("status=ok")).then_some(())
        });
        watched
    }

    /// Waits until the replica has all that the master has.
    pub fn replica_has_everything(&self) {
        let number = |text: &str, name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        until("the replica to follow", PATIENCE, || {
            let wanted = number(&self.master.text("INFO replication"), "master_repl_offset:")?;
            let info = self.replica.text("INFO replication");
            let has = number(&info, "slave_repl_offset:")?;
            let is_up = info.contains("master_link_status:up");
            (is_up && has >= wanted).then_some(())
        });
    }

    /// Lets master and replica change places, and waits until they have.
    ///
    /// # Panics
    /// If they do not.
    pub fn fail_over(&self) {
        until("the sentinel to agree", PATIENCE, || {
            let said = self
                .sentinel
                .command(&format!("SENTINEL FAILOVER {SERVICE}"));
            (said == "+OK").then_some(())
        });
        until("the replica to be master", PATIENCE, || {
            // A sentinel closes the connections to a server that it makes the master.
            let info = self.replica.ask("INFO replication", true).ok()?;
            info.contains("role:master").then_some(())
        });
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        let port = self.sentinel.port();
        format!("redis+sentinel://127.0.0.1:{port}/{SERVICE}")
    }
}
