//! The bell: one byte is written to `<db>.bell` after each commit that others may wait for.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::broker::{Bell, BrokerError, Heed, Interrupt, Wake};
use crate::wake::wait;

/// How often a listener looks by itself where the kernel has no more watches to give.
const WITHOUT_WATCH: Duration = Duration::from_millis(250);

/// Rings it.
#[derive(Debug, Clone)]
pub(super) enum Ringer {
    /// For all processes.
    File(Arc<File>),
    /// For the listeners of a store in memory.
    Memory(Arc<Mutex<Vec<Weak<Interrupt>>>>),
}

impl Ringer {
    /// Tells all listeners that something was committed.
    pub(super) fn ring(&self) {
        match self {
            // The commit stands whether or not it is heard; listeners also look by the clock.
            Self::File(file) => drop(file.write_at(b"!", 0)),
            Self::Memory(listeners) => {
                let mut listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
                listeners.retain(|listener| {
                    listener.upgrade().is_some_and(|bell| {
                        bell.raise();
                        true
                    })
                });
            }
        }
    }
}

/// Hears the commits of all processes.
#[derive(Debug)]
struct FileBell(Inotify);

/// Hears the commits of a store in memory.
#[derive(Debug)]
struct MemoryBell(Arc<Interrupt>);

/// Stands in where there are no watches left: looks again and again.
#[derive(Debug)]
struct BlindBell;

/// Starts to listen at the file `path`.
pub(super) fn listen(path: &Path) -> Box<dyn Bell> {
    let watch = || -> nix::Result<Inotify> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(
            path,
            AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DONT_FOLLOW,
        )?;
        Ok(inotify)
    };
    match watch() {
        Ok(inotify) => Box::new(FileBell(inotify)),
        Err(error) => {
            tracing::warn!(%error, "no file watch to be had, looking four times a second");
            Box::new(BlindBell)
        }
    }
}

/// Starts to listen to a store in memory.
pub(super) fn listen_in_memory(
    listeners: &Mutex<Vec<Weak<Interrupt>>>,
) -> Result<Box<dyn Bell>, BrokerError> {
    let bell = Arc::new(Interrupt::new().map_err(away)?);
    let mut listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
    listeners.push(Arc::downgrade(&bell));
    Ok(Box::new(MemoryBell(bell)))
}

impl Bell for FileBell {
    fn wait(
        &mut self,
        _: Heed,
        by: Option<&Interrupt>,
        at_most: Duration,
    ) -> Result<Wake, BrokerError> {
        let wake = wait(Some(self.0.as_fd()), by, at_most)?;
        // Drain, so that what is heard once does not wake again.
        while self.0.read_events().is_ok() {}
        Ok(wake)
    }
}

impl Bell for MemoryBell {
    fn wait(
        &mut self,
        _: Heed,
        by: Option<&Interrupt>,
        at_most: Duration,
    ) -> Result<Wake, BrokerError> {
        let wake = wait(Some(self.0.as_fd()), by, at_most)?;
        self.0.clear();
        Ok(wake)
    }
}

impl Bell for BlindBell {
    fn wait(
        &mut self,
        _: Heed,
        by: Option<&Interrupt>,
        at_most: Duration,
    ) -> Result<Wake, BrokerError> {
        match wait(None, by, at_most.min(WITHOUT_WATCH))? {
            Wake::TimedOut if at_most > WITHOUT_WATCH => Ok(Wake::Bell),
            wake => Ok(wake),
        }
    }
}

fn away(error: Errno) -> BrokerError {
    BrokerError::Away {
        reason: format!("cannot wait for commits: {error}"),
    }
}
