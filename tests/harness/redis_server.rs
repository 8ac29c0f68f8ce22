//! Real Redis servers for tests: without a trace on disk, gone with those who use them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::until;

/// A server that is not there by then does not come.
const START_WITHIN: Duration = Duration::from_secs(30);

/// Programs that will do, the usual one first.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// The program that runs one.
///
/// # Panics
/// If there is none to be had.
#[must_use]
pub fn program() -> &'static str {
    PROGRAMS
        .into_iter()
        .find(|program| Path::new("/usr/bin").join(program).is_file())
        .expect("neither redis-server nor valkey-server is installed")
}

/// A running server; killed when it is dropped, and when this process ends.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
    /// Lets the thread go that the server's life hangs on.
    _keeper: SyncSender<()>,
}

/// One server for all that want one at the same time. Scenes keep apart by their namespaces.
pub fn shared() -> Arc<RedisServer> {
    static SHARED: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap();
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(RedisServer::start(&[]));
        *shared = Arc::downgrade(&server);
        server
    })
}

/// Starts `command` on a thread of its own that lives as long as what is returned: the kernel
/// kills the server when that thread ends, whichever test started it.
fn spawn(mut command: Command) -> (Child, SyncSender<()>) {
    let (give, take) = sync_channel(0);
    let (keeper, is_kept) = sync_channel::<()>(0);
    std::thread::spawn(move || {
        let child = crate::namespace::spawn_bound(&mut command);
        if give.send(child).is_ok() {
            // Ends when the other side is dropped; nothing is ever sent.
            let _ = is_kept.recv();
        }
    });
    let child = take.recv().expect("the thread runs");
    (child.expect("the server starts"), keeper)
}

impl RedisServer {
    /// Starts one, with more arguments than the usual ones, and waits until it answers.
    ///
    /// # Panics
    /// If there is none to be had.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let program = program();
        until("a Redis server", START_WITHIN, || {
            let port = free_port();
            let mut command = Command::new(program);
            command
                .args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"])
                .args(["--port", &port.to_string()])
                .args(arguments)
                .current_dir("/")
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            let (child, keeper) = spawn(command);
            let mut server = Self {
                child,
                port,
                _keeper: keeper,
            };
            // If somebody else was faster at the port, this one ends and another is tried.
            until("its answer", START_WITHIN, || {
                let has_ended = server.child.try_wait().expect("our child").is_some();
                (has_ended || server.answers()).then_some(!has_ended)
            })
            .then_some(server)
        })
    }

    /// Whether it is this server that answers at the port.
    fn answers(&self) -> bool {
        let own = format!("process_id:{}\r", self.child.id());
        let said = self.ask("INFO server");
        said.is_ok_and(|text| text.contains(&own))
    }

    fn ask(&self, line: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(START_WITHIN))?;
        write!(stream, "{line}\r\nQUIT\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Runs a command, written as a line, and returns the first line of the answer.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn command(&self, line: &str) -> String {
        let text = self.text(line);
        text.lines().next().unwrap_or_default().into()
    }

    /// Runs a command, written as a line, and returns the whole answer.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn text(&self, line: &str) -> String {
        self.ask(line).expect("the server answers")
    }

    /// Its port on this machine.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
