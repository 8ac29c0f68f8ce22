//! A supervisor in a box, whom attacks are on, and what else runs meanwhile.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::thread;

use bulkhead_tests::cli::Place;
use bulkhead_tests::ignores_term;
use bulkhead_tests::namespace::{ProcessLimit, can_make_namespaces};
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

/// Who runs the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Root,
    User,
}

/// Processes in the box.
const MOST: u32 = 1500;

/// All that an attack needs around it.
pub(crate) struct Stage {
    // In this order they go: the limit waits for its processes' end.
    supervisor: std::cell::RefCell<Option<Supervisor<'static>>>,
    pub(crate) place: &'static Place,
    _limit: &'static ProcessLimit,
    neighbour: String,
    go: PathBuf,
    victims: Value,
}

fn echo(mut stream: impl Read + Write) {
    let mut byte = [0];
    if stream.read_exact(&mut byte).is_ok() {
        let _ = stream.write_all(&byte);
    }
}

/// Listens on everything there is, and answers; the threads end with the test.
fn listen(place: &Place) -> Value {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let path = place.path("foreign/socket");
    let unix = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let name = format!("bulkhead-attacked-{}", place.path("").display());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let abstracted = UnixListener::bind_addr(&address).unwrap();
    let victims = json!({
        "tcp": tcp.local_addr().unwrap().port(),
        "udp": udp.local_addr().unwrap().port(),
        "unix": path,
        "abstract": name,
    });
    thread::spawn(move || tcp.incoming().flatten().for_each(echo));
    thread::spawn(move || {
        let mut byte = [0];
        while let Ok((_, from)) = udp.recv_from(&mut byte) {
            let _ = udp.send_to(&byte, from);
        }
    });
    thread::spawn(move || unix.incoming().flatten().for_each(echo));
    thread::spawn(move || abstracted.incoming().flatten().for_each(echo));
    victims
}

/// The file of this name below a directory.
fn find(below: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(below).ok()?.flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|found| found == name) {
            return Some(path);
        }
        if let Some(found) = find(&path, name) {
            return Some(found);
        }
    }
    None
}

impl Stage {
    /// Starts a supervisor with this profile and a neighbour in it; `None` where there is no box.
    pub(crate) fn set(profile: &str, who: Who) -> Option<Self> {
        if !can_make_namespaces() {
            return None;
        }
        // They live as long as the test's process: what borrows them is kept beside them.
        let limit: &'static ProcessLimit = Box::leak(Box::new(ProcessLimit::new(MOST)?));
        let place: &'static Place = Box::leak(Box::new(match who {
            Who::Root => Place::new(),
            Who::User => Place::of_user(61_000 + std::process::id() % 4000),
        }));
        let foreign = place.path("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::set_permissions(&foreign, fs::Permissions::from_mode(0o777)).unwrap();
        let mut victims = listen(place);
        let supervisor = Supervisor::at(place)
            .tasks_of("hostile-child")
            .args([
                "--sandbox",
                profile,
                "--processes",
                "2",
                "--memory",
                "64MiB",
            ])
            .args(["--patience", "200ms"])
            .env("SECRET", "hidden")
            .as_pid_1()
            .limited(limit)
            .start();
        let go = place.path("go");
        let mut stage = Self {
            supervisor: Some(supervisor).into(),
            place,
            _limit: limit,
            neighbour: String::new(),
            go: go.clone(),
            victims: Value::Null,
        };
        // Under a root of its own it never sees the file, and is revoked in the end.
        stage.neighbour = stage.submit(&json!({
            "task": "lodge", "args": [go], "max_retries": 0, "timeout": "10m",
        }));
        let running = place.status_when(&stage.neighbour, "there", |status| {
            status["progress"] == "lodged" && !status["pid"].is_null()
        });
        victims["neighbour"] = json!(stage.neighbour);
        victims["supervisor"] = json!(1);
        victims["sibling"] = running["pid"].clone();
        victims["foreign"] = json!(foreign);
        victims["store"] = json!(place.store());
        let own = find(&place.temporary(), "mine").unwrap_or_else(|| "/tmp/mine".into());
        victims["neighbours"] = json!(own);
        stage.victims = victims;
        Some(stage)
    }

    fn submit(&self, line: &Value) -> String {
        let file = self.place.file("message.jsonl", &format!("{line}\n"));
        let ran = self
            .place
            .run(&["submit", "--from", file.to_str().unwrap()]);
        ran.succeeds().stdout.trim().to_owned()
    }

    /// Makes one attack; its job's status.
    pub(crate) fn attacked(&self, name: &str) -> Value {
        let uuid = self.submit(&json!({
            "task": "attack", "args": [name, self.victims], "max_retries": 0, "timeout": "20s",
        }));
        self.place.ended(&uuid)
    }

    /// The line of an attack's job.
    pub(crate) fn line_of(&self, name: &str, timeout: &str) -> Value {
        json!({
            "task": "attack", "args": [name, self.victims], "max_retries": 0, "timeout": timeout,
        })
    }

    /// Submits jobs at once and waits for all; their statuses in order.
    pub(crate) fn all_ended(&self, lines: &[Value]) -> Vec<Value> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let file = self.place.file("messages.jsonl", &text);
        let file = file.to_str().unwrap();
        let ran = self.place.run(&["submit", "--from", file]).succeeds();
        let uuids: Vec<_> = ran.stdout.lines().map(str::to_owned).collect();
        uuids.iter().map(|uuid| self.place.ended(uuid)).collect()
    }

    /// Memory of the supervisor, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let pid = self.supervisor.borrow().as_ref().unwrap().pid();
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// A process of an attempt that has ended.
    pub(crate) fn left_behind(&self) -> Option<String> {
        let supervisor = self.supervisor.borrow();
        let processes = supervisor.as_ref()?.processes();
        // Fugitives block every signal; nobody else does.
        let mut fugitives = processes.into_iter().filter(|&pid| ignores_term(pid));
        fugitives.next().map(|pid| format!("process {pid}"))
    }

    /// The neighbour has come to no harm, honest jobs run, and at the end nothing is left.
    pub(crate) fn goes_on(&self) {
        fs::write(&self.go, "").unwrap();
        let mut supervisor = self.supervisor.borrow_mut().take().unwrap();
        let running = self.place.status(&self.neighbour);
        assert!(
            ["RUNNING", "SUCCEEDED"].contains(&running["status"].as_str().unwrap()),
            "{running:#}\n{}",
            supervisor.log()
        );
        assert_eq!(
            running["attempt"].as_u64().unwrap_or(1).max(1),
            1,
            "{running:#}"
        );
        for _ in 0..3 {
            let honest = self.submit(&json!({"task": "long", "args": [10], "max_retries": 0}));
            assert_eq!(self.place.returned(&honest), "x".repeat(10));
        }
        let _ = self.place.run(&["revoke", &self.neighbour]);
        assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
        supervisor.leaves_nothing();
        assert!(
            !supervisor.log().contains("panicked"),
            "{}",
            supervisor.log()
        );
        assert_eq!(self.place.runs_left(), 0);
    }
}
