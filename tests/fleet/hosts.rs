//! A machine with a server on it and hosts that are wired to it: network namespaces without names,
//! which go with the last process in them and with the descriptors here, whatever ends the test.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// Whether this process may make them; if not, says so.
#[must_use]
#[expect(clippy::print_stderr, reason = "a test that shows nothing says why")]
pub(crate) fn can_be_made() -> bool {
    let can = nix::unistd::geteuid().is_root();
    if !can {
        eprintln!("network namespaces need root: the test is left out");
    }
    can
}

/// One network namespace.
#[derive(Debug)]
pub(crate) struct Net(File);

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
    pub(crate) fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            self.enter();
            act()
        };
        thread::scope(|scope| scope.spawn(enter).join()).expect("it does not panic")
    }

    /// Moves this thread there.
    pub(crate) fn enter(&self) {
        setns(&self.0, CloneFlags::CLONE_NEWNET).expect("we are root");
    }

    /// A second hold on it.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.try_clone().expect("a descriptor can be had"))
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    fn ip(&self, words: &str) {
        let mut command = Command::new("ip");
        command.args(words.split(' '));
        let output = self.within(|| command.output()).expect("`ip` is there");
        assert!(output.status.success(), "ip {words}: {output:?}");
    }
}

/// The server's machine and the hosts.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) middle: Net,
    pub(crate) hosts: Vec<Net>,
}

impl Network {
    pub(crate) fn new(hosts: usize) -> Self {
        let middle = Net::new();
        let wired = |number| {
            let host = Net::new();
            let wire = format!("to-{number}");
            let path = host.path();
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

    /// Where the server is, as a host sees it.
    pub(crate) fn url(host: usize) -> String {
        format!("redis://10.0.{host}.1:{}/0", crate::server::PORT)
    }

    /// Cuts a host's wire: nothing goes through, and nobody is told.
    pub(crate) fn cut(&self, host: usize) {
        self.middle.ip(&format!("link set to-{host} down"));
    }

    pub(crate) fn mend(&self, host: usize) {
        self.middle.ip(&format!("link set to-{host} up"));
    }
}
