//! A Redis Cluster of three masters, put together without any tool but the servers themselves.
//!
//! To make one takes some seconds, in which its servers wait for each other. So all tests of one
//! run share one: the first starts a process that keeps it until the run is over.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use bulkhead_shared::pidfd::PidFd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cli::program;
use crate::redis_server::{RedisServer, free_port};
use crate::until;

/// Slots of a cluster.
const SLOTS: u16 = 16384;

/// A cluster that does not agree with itself by then never will.
const AGREE_WITHIN: Duration = Duration::from_secs(30);

/// Three masters; killed when it is dropped.
#[derive(Debug)]
pub struct RedisCluster {
    /// Its servers, in the order of their slots.
    pub masters: Vec<RedisServer>,
    _dir: tempfile::TempDir,
}

impl RedisCluster {
    /// Starts one and waits until all of it agrees that it is whole.
    ///
    /// # Panics
    /// If it does not come about.
    #[must_use]
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Beside the port for clients there is one for the other servers.
        let bus = std::cell::Cell::new(0);
        let start = |_| {
            let server = RedisServer::start_with(None, |port| {
                bus.set(free_port());
                let line = format!(
                    "--cluster-enabled yes --cluster-port {} --cluster-config-file {port}.conf \
                     --cluster-node-timeout 5000 --cluster-allow-replica-migration no --dir {}",
                    bus.get(),
                    dir.path().display()
                );
                line.split(' ').map(str::to_owned).collect()
            });
            (server, bus.get())
        };
        let (masters, buses): (Vec<_>, Vec<_>) = (0..3).map(start).unzip();
        for (index, master) in masters.iter().enumerate() {
            let (from, to) = (slots_from(index), slots_from(index + 1) - 1);
            let say = |line: String| assert_eq!(master.command(&line), "+OK", "{line}");
            // Masters with the same epoch would have to find out which of them changes it.
            say(format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1));
            say(format!("CLUSTER ADDSLOTSRANGE {from} {to}"));
            for (other, bus) in masters.iter().zip(&buses) {
                if other.port() != master.port() {
                    say(format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port()));
                }
            }
        }
        for master in &masters {
            until("the cluster to agree", AGREE_WITHIN, || {
                let info = master.text("CLUSTER INFO");
                let is = |line| info.contains(line);
                let agrees = is("cluster_state:ok")
                    && is("cluster_known_nodes:3")
                    && is("cluster_slots_ok:16384");
                agrees.then_some(())
            });
        }
        Self { masters, _dir: dir }
    }

    /// Its URL, which names two of its servers.
    #[must_use]
    pub fn url(&self) -> String {
        let host = |master: &RedisServer| format!("127.0.0.1:{}", master.port());
        let hosts: Vec<_> = self.masters.iter().take(2).map(host).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }
}

/// The first slot of a master, by its number.
fn slots_from(master: usize) -> u16 {
    u16::try_from(usize::from(SLOTS) * master / 3).expect("slots are few")
}

/// Which of the masters has the keys that begin with `{tag}`.
#[must_use]
pub fn master_of(tag: &str) -> usize {
    let slot = crc16(tag.as_bytes()) % SLOTS;
    (0..3)
        .rfind(|&master| slots_from(master) <= slot)
        .unwrap_or(0)
}

/// CRC-16/XMODEM, by which a cluster spreads keys.
fn crc16(bytes: &[u8]) -> u16 {
    let shift = |crc: u16| crc << 1 ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 };
    let mix = |crc: u16, &byte: &u8| (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| shift(crc));
    bytes.iter().fold(0, mix)
}

/// The URL of a cluster that all tests of this run share. Scenes keep apart by their namespaces.
///
/// # Panics
/// If there is none to be had.
pub fn shared() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        let (run, end) = this_run();
        let dir = std::env::temp_dir().join(format!("bulkhead-cluster-{run}"));
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
        // Others of this run wait here for whoever is first.
        let lock = File::create(dir.join("lock")).unwrap();
        lock.lock().unwrap();
        let url = dir.join("url");
        fs::read_to_string(&url).unwrap_or_else(|_| {
            let text = keep_one(&dir, end);
            fs::write(&url, &text).unwrap();
            text
        })
    })
}

/// The name of this run of tests, and the process that lives as long as it.
#[expect(
    clippy::disallowed_methods,
    reason = "the test runner tells its tests by variables"
)]
fn this_run() -> (String, PidFd) {
    let own = i32::try_from(std::process::id()).expect("pids are small");
    // One process for each test has one parent for all; otherwise this process is the run.
    let (name, pid) = match std::env::var("NEXTEST_RUN_ID") {
        Ok(name) => (name, nix::unistd::getppid().as_raw()),
        Err(_) => (format!("of-{own}"), own),
    };
    (name, PidFd::open(pid).unwrap())
}

#[expect(
    clippy::zombie_processes,
    reason = "it outlives this process, and init reaps it"
)]
/// Starts the process that keeps a cluster until `end` ends. Returns the cluster's URL.
fn keep_one(dir: &Path, end: PidFd) -> String {
    let mut command = Command::new(program("redis-cluster"));
    command
        .arg(dir)
        // It has no other use for it: it waits until what it holds there ends.
        .stdin(Stdio::from(OwnedFd::from(end)))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // What ends this test is not to end it.
        .process_group(0);
    let mut keeper = command.spawn().expect("it is built");
    let mut url = String::new();
    BufReader::new(keeper.stdout.take().expect("it was piped"))
        .read_line(&mut url)
        .unwrap();
    assert!(url.ends_with('\n'), "no cluster came about");
    url.trim().to_owned()
}

/// The body of the process that keeps a cluster: says its URL, and waits for the end of the
/// process that is its standard input.
///
/// # Panics
/// If no cluster comes about.
pub fn keep(dir: PathBuf) {
    let cluster = RedisCluster::start();
    #[expect(clippy::print_stdout, reason = "the one who waits reads it")]
    {
        println!("{}", cluster.url());
    }
    let input = std::io::stdin();
    let mut end = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    while poll(&mut end, PollTimeout::NONE) == Err(nix::errno::Errno::EINTR) {}
    drop(cluster);
    // It is only a directory of ours; whoever finds it next time has another name.
    let _ = fs::remove_dir_all(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }
}
