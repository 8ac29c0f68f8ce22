//! A Redis server that forgets nothing it has answered, and is killed and started again.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};

use bulkhead_tests::namespace::spawn_bound;
use bulkhead_tests::network::Net;
use bulkhead_tests::redis_server::program;
use bulkhead_tests::supervise::PATIENCE;
use bulkhead_tests::until;
use redis::Connection;

/// It has a network of its own, so the usual port is free.
pub(crate) const PORT: u16 = 6379;

/// Where it is, as a host sees it.
pub(crate) fn url(host: usize) -> String {
    format!("redis://10.0.{host}.1:{PORT}/0")
}

/// The server; killed when it is dropped, and when this process ends.
#[derive(Debug)]
pub(crate) struct Server {
    net: Net,
    directory: PathBuf,
    child: Child,
    /// Lets the thread go that the server's life hangs on.
    keeper: SyncSender<()>,
}

impl Server {
    /// Starts one that keeps its files in `directory`.
    pub(crate) fn start(net: Net, directory: PathBuf) -> Self {
        let (child, keeper) = spawn(&net, &directory);
        let server = Self {
            net,
            directory,
            child,
            keeper,
        };
        drop(server.connect());
        server
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
    }

    /// A start from what is on disk.
    pub(crate) fn start_again(&mut self) {
        (self.child, self.keeper) = spawn(&self.net, &self.directory);
        drop(self.connect());
    }

    /// Its URL for those who share its disk, as the test does.
    pub(crate) fn url(&self) -> String {
        let socket = self.directory.join("socket");
        format!("redis+unix://{}", socket.display())
    }

    /// Waits until it answers.
    pub(crate) fn connect(&self) -> Connection {
        let client = redis::Client::open(self.url()).expect("a path");
        until("the server's answer", PATIENCE, || {
            let mut connection = client.get_connection().ok()?;
            let pong: redis::RedisResult<String> = redis::cmd("PING").query(&mut connection);
            pong.ok().map(|_| connection)
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it on a thread of its own that lives as long as what is returned: the kernel kills the
/// server when that thread ends.
fn spawn(net: &Net, directory: &PathBuf) -> (Child, SyncSender<()>) {
    let mut command = Command::new(program());
    command
        .args(["--port", &PORT.to_string(), "--unixsocket", "socket"])
        .args(["--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""])
        .args(["--appendonly", "yes", "--appendfsync", "always"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let net = net.share();
    let (give, take) = sync_channel(0);
    let (keeper, is_kept) = sync_channel::<()>(0);
    std::thread::spawn(move || {
        net.enter();
        if give.send(spawn_bound(&mut command)).is_ok() {
            // Ends when the other side is dropped; nothing is ever sent.
            let _ = is_kept.recv();
        }
    });
    let child = take.recv().expect("the thread runs");
    (child.expect("the server starts"), keeper)
}
