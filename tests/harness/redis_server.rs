//! Real Redis servers for tests: without a trace on disk unless told, gone with those who use them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bulkhead_shared::pidfd::PidFd;

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

/// Ports below those that the system gives to connections: a server that is started again finds
/// its port free, and who tries to reach it meanwhile never reaches itself.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

/// A server; killed when it is dropped, and when this process ends.
#[derive(Debug)]
pub struct RedisServer {
    running: Running,
    port: u16,
    arguments: Vec<String>,
    /// What it asks those for who want to use it.
    password: Option<String>,
}

/// One life of a server.
#[derive(Debug)]
struct Running {
    child: Child,
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

impl Running {
    /// Starts a server on a thread of its own that lives as long as what is returned: the kernel
    /// kills the server when that thread ends, whichever test started it.
    fn start(port: u16, arguments: &[String]) -> Self {
        let program = program();
        let mut command = Command::new(program);
        let sentinel = arguments.iter().any(|argument| argument == "--sentinel");
        if !sentinel {
            command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]);
            command.args(["--port", &port.to_string()]);
        }
        command
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
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
        Self {
            child: child.expect("the server starts"),
            _keeper: keeper,
        }
    }

    fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl RedisServer {
    /// Starts one, with more arguments than the usual ones, and waits until it answers.
    ///
    /// # Panics
    /// If there is none to be had.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let mut after = arguments.iter().skip_while(|one| **one != "--requirepass");
        let all = |_| arguments.iter().map(ToString::to_string).collect();
        Self::start_with(after.nth(1).copied(), all)
    }

    /// Starts one whose arguments depend on its port, and that asks for a password if there is one.
    ///
    /// # Panics
    /// If there is none to be had.
    #[must_use]
    pub fn start_with(password: Option<&str>, arguments: impl Fn(u16) -> Vec<String>) -> Self {
        until("a Redis server", START_WITHIN, || {
            let port = free_port();
            let arguments = arguments(port);
            let mut server = Self {
                running: Running::start(port, &arguments),
                port,
                arguments,
                password: password.map(Into::into),
            };
            // If somebody else was faster at the port, this one ends and another is tried.
            server.comes().then_some(server)
        })
    }

    /// Waits until it answers; false if it ends instead.
    fn comes(&mut self) -> bool {
        until("its answer", START_WITHIN, || {
            let has_ended = self.running.child.try_wait().expect("our child").is_some();
            (has_ended || self.answers()).then_some(!has_ended)
        })
    }

    /// SIGKILL, and its end.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: i32) {
        // It is our child and not reaped, so the number is its own.
        let pid = i32::try_from(self.running.child.id()).expect("pids are small");
        let pidfd = PidFd::open(pid).expect("it is our child");
        pidfd.signal(signal).expect("it is our child");
    }

    /// Starts it again after its end, at its old port and with its old arguments.
    ///
    /// # Panics
    /// If it does not come.
    pub fn start_again(&mut self) {
        until("the server once more", START_WITHIN, || {
            self.running.kill();
            self.running = Running::start(self.port, &self.arguments);
            self.comes().then_some(())
        });
    }

    /// Whether it is this server that answers at the port.
    fn answers(&self) -> bool {
        let own = format!("process_id:{}\r", self.running.child.id());
        let said = self.ask("INFO", true);
        said.is_ok_and(|text| text.contains(&own) && !text.contains("loading:1"))
    }

    /// A long answer is all there once the next one is: a connection whose write side is shut is
    /// closed in the middle of it. One that is paused or asleep has no next answer.
    pub(crate) fn ask(&self, line: &str, is_long: bool) -> std::io::Result<String> {
        const NEXT: &str = "+PONG\r\n";
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(START_WITHIN))?;
        let password = self.password.as_ref();
        let hello = password.map_or_else(String::new, |word| format!("AUTH {word}\r\n"));
        write!(stream, "{hello}{line}\r\n")?;
        let mut text = String::new();
        if is_long {
            write!(stream, "PING\r\n")?;
            let mut lines = BufReader::new(stream);
            loop {
                let start = text.len();
                let len = lines.read_line(&mut text)?;
                let line = &text[start..];
                // An error is the last of it, too: one that is loading what it had has no other.
                if len == 0 || line == NEXT || line.starts_with('-') {
                    break;
                }
            }
            text.truncate(text.trim_end_matches(NEXT).len());
        } else {
            stream.shutdown(Shutdown::Write)?;
            stream.read_to_string(&mut text)?;
        }
        match self.password {
            None => Ok(text),
            Some(_) => Ok(text.split_once("\r\n").unwrap_or_default().1.into()),
        }
    }

    /// Runs a command, written as a line, and returns the first line of the answer.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn command(&self, line: &str) -> String {
        let text = self.ask(line, false).expect("the server answers");
        text.lines().next().unwrap_or_default().into()
    }

    /// Runs a command, written as a line, and returns the whole answer.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn text(&self, line: &str) -> String {
        self.ask(line, true).expect("the server answers")
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
        self.running.kill();
    }
}

/// A port that nobody listens at now.
pub(crate) fn free_port() -> u16 {
    static TRIES: AtomicU16 = AtomicU16::new(0);
    // Processes begin at different places, so that they seldom want the same one.
    let start = u16::try_from(std::process::id() % 1250).expect("small") * 16;
    let count = PORTS.end - PORTS.start;
    until("a free port", START_WITHIN, || {
        let next = start.wrapping_add(TRIES.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + next % count;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .ok()
            .map(|_| port)
    })
}
