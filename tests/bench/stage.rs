//! A place for one measurement: programs that any user may enter, a store, a supervisor.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bulkhead_shared::Message;
use bulkhead_shared::backend::{self, Backend, Options};
use bulkhead_shared::client::Client;
use bulkhead_shared::message::MessageBuilder;
use bulkhead_shared::pidfd::PidFd;
use bulkhead_tests::redis_server::RedisServer;

use crate::Store;
use crate::measure::{now, rest};

/// Bytes of the argument of a job that is there to be counted: with what belongs to it, 200.
const ARGUMENT: usize = 175;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// One build of the programs, where tasks' users may enter.
#[derive(Debug)]
pub(crate) struct Programs {
    dir: tempfile::TempDir,
}

impl Programs {
    /// Copies them from `built`.
    pub(crate) fn copy(built: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("bench-").tempdir()?;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        for name in ["supervisor", "child", "bench-tasks", "bench-streams"] {
            let (from, to) = (built.join(name), dir.path().join(name));
            fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
            fs::set_permissions(to, Permissions::from_mode(0o755))?;
        }
        Ok(Self { dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A store of its own.
#[derive(Debug)]
pub(crate) struct Stage {
    pub url: String,
    dir: tempfile::TempDir,
    /// Lives as long as this.
    _server: Option<RedisServer>,
}

impl Stage {
    pub(crate) fn new(store: Store) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("bench-").tempdir()?;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700))?;
        let file = || format!("sqlite:{}", dir.path().join("store.db").display());
        let (url, server) = match store {
            Store::Sqlite => (file(), None),
            Store::Redis => {
                let server = RedisServer::start(&[]);
                (server.url(), Some(server))
            }
        };
        Ok(Self {
            url,
            dir,
            _server: server,
        })
    }

    /// A file beside the store.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn backend(&self) -> anyhow::Result<Backend> {
        Ok(backend::open(&Options::new(&self.url))?)
    }

    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(self.backend()?))
    }

    /// Starts a supervisor.
    pub(crate) fn supervisor(
        &self,
        programs: &Programs,
        child: &str,
        options: &[&str],
    ) -> anyhow::Result<Supervisor> {
        let log = fs::File::create(self.path("log"))?;
        let child = Command::new(programs.path("supervisor"))
            .args(["--store", &self.url, "run", "--child"])
            .arg(programs.path(child))
            .args(options)
            .current_dir("/")
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Supervisor {
            child,
            log: self.path("log"),
        })
    }
}

/// A supervisor that runs.
#[derive(Debug)]
pub(crate) struct Supervisor {
    child: Child,
    log: PathBuf,
}

impl Supervisor {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended by itself, and well.
    pub(crate) fn ended(mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        let log = fs::read_to_string(&self.log)?;
        ensure!(
            status.success(),
            "the supervisor ended with {status}: {log}"
        );
        Ok(())
    }

    /// Has it end now; what runs is given back.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pidfd = PidFd::open(i32::try_from(self.child.id())?)?;
        pidfd.signal(libc::SIGTERM)?;
        rest(Duration::from_millis(100));
        // The second time it does not wait for jobs; it may have gone by then.
        let _ = pidfd.signal(libc::SIGTERM);
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // It has ended already, unless a measurement broke.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A job with a payload of 200 bytes.
pub(crate) fn job() -> MessageBuilder {
    job_for("echo")
}

/// The same for another task.
pub(crate) fn job_for(task: &str) -> MessageBuilder {
    Message::new(task)
        .arg("j".repeat(ARGUMENT))
        .queue("default")
}

/// `count` such jobs for `task`.
pub(crate) fn jobs(task: &str, count: usize) -> anyhow::Result<Vec<Message>> {
    (0..count).map(|_| Ok(job_for(task).build()?)).collect()
}

/// Looks again and again until `look` gives something.
pub(crate) fn wait_until<T>(
    what: &str,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let until = now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if now() > until {
            bail!("waited in vain for {what}");
        }
        rest(Duration::from_millis(20));
    }
}
