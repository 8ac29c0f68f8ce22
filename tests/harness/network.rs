//! Machines that are wired to each other: network namespaces without names, which go with the last
//! process in them and with the descriptors here, whatever ends the test.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// Whether this process may make them; if not, says so.
#[must_use]
#[expect(clippy::print_stderr, reason = "a test that shows nothing says why")]
pub fn can_be_made() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    let has_wires = is_root && thread::spawn(try_a_wire).join().unwrap_or(false);
    if !has_wires {
        eprintln!("virtual networks need root and `ip`: the test is left out");
    }
    has_wires
}

/// Whether a new network can have a wire. Leaves this thread in that network.
fn try_a_wire() -> bool {
    let words = "link add here type veth peer name there";
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    unshare(CloneFlags::CLONE_NEWNET).is_ok()
        && command.output().is_ok_and(|output| output.status.success())
}

/// One machine's network.
#[derive(Debug)]
pub struct Net(File);

impl Net {
    fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("we are root");
            File::open("/proc/thread-self/ns/net").expect("a thread has a network")
        };
        // It is that of one thread only.
        let net = Self(thread::scope(|scope| scope.spawn(make).join()).expect("we are root"));
        net.ip("link set lo up");
        net
    }

    /// Does something on a thread that is there; what it starts is there too.
    ///
    /// # Panics
    /// If `act` does.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            self.enter();
            act()
        };
        let done = thread::scope(|scope| scope.spawn(enter).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Moves this thread there.
    ///
    /// # Panics
    /// Without root's rights.
    pub fn enter(&self) {
        setns(&self.0, CloneFlags::CLONE_NEWNET).expect("we are root");
    }

    /// A second hold on it.
    ///
    /// # Panics
    /// When this process is out of descriptors.
    #[must_use]
    pub fn share(&self) -> Self {
        Self(self.0.try_clone().expect("a descriptor can be had"))
    }

    fn ip(&self, words: &str) {
        let mut command = Command::new("ip");
        command.args(words.split(' '));
        let output = self.within(|| command.output()).expect("`ip` is there");
        assert!(output.status.success(), "ip {words}: {output:?}");
    }
}

/// A machine in the middle, and others that are wired to it.
#[derive(Debug)]
pub struct Network {
    /// Where servers are.
    pub middle: Net,
    /// The others; the middle is 10.0.N.1 for the N-th of them.
    pub hosts: Vec<Net>,
}

impl Network {
    /// All wires are whole.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        let middle = Net::new();
        let wired = |number| {
            let host = Net::new();
            let path = format!("/proc/{}/fd/{}", std::process::id(), host.0.as_raw_fd());
            let wire = format!("to-{number}");
            middle.ip(&format!(
                "link add {wire} type veth peer name wire netns {path}"
            ));
            middle.ip(&format!("address add 10.0.{number}.1/24 dev {wire}"));
            middle.ip(&format!("link set {wire} up"));
            host.ip(&format!("address add 10.0.{number}.2/24 dev wire"));
            host.ip("link set wire up");
            host
        };
        let hosts = (0..hosts).map(wired).collect();
        Self { middle, hosts }
    }

    /// Cuts the wire of a host: nothing goes through, and nobody is told.
    pub fn cut(&self, host: usize) {
        self.middle.ip(&format!("link set to-{host} down"));
    }

    /// Makes it whole again.
    pub fn mend(&self, host: usize) {
        self.middle.ip(&format!("link set to-{host} up"));
    }
}
