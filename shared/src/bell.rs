//! How a store calls those who wait for it.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::broker::{BrokerError, Selection, SupervisorId};
use crate::name::{LockName, StreamName};

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Something was committed.
    Bell,
    /// The caller's own [`Interrupt`] was raised.
    Interrupted,
    /// Nothing happened.
    TimedOut,
}

/// Wakes a [`Bell::wait`] from another thread.
#[derive(Debug)]
pub struct Interrupt(nix::sys::eventfd::EventFd);

impl Interrupt {
    /// A new one, not raised.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new() -> Result<Self, nix::Error> {
        use nix::sys::eventfd::{EfdFlags, EventFd};
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(EventFd::from_value_and_flags(0, flags)?))
    }

    /// Raises it: the current or the next wait ends at once.
    pub fn raise(&self) {
        // Full only after 2^64 - 1 raises, and then it is raised already.
        let _ = self.0.write(1);
    }

    /// Lowers it again.
    pub fn clear(&self) {
        // Nothing to read means it is lowered already.
        let _ = self.0.read();
    }
}

impl std::os::fd::AsFd for Interrupt {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What a bell is to be heard for. A store may ring for more than that.
#[derive(Debug, Clone, Copy)]
pub enum Listen<'a> {
    /// Jobs for a supervisor, and revocations of those it holds. Of several that wait for the
    /// same work a store need wake only one.
    Work {
        /// Who waits.
        owner: SupervisorId,
        /// For what.
        selection: &'a Selection,
    },
    /// Anything that becomes of these jobs.
    Jobs(&'a [Uuid]),
    /// That a lock may be free.
    Lock(&'a LockName),
    /// That there are events in these streams, that partitions of them may be taken, or that somebody
    /// wishes something of their processors.
    Streams(&'a [StreamName]),
}

/// What of it matters now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heed {
    /// All of it.
    Everything,
    /// There is no room for work: it is left to others, revocations alone are heard.
    Revocations,
}

/// Hears commits by anybody. Made before the last empty look, so that no commit is missed.
pub trait Bell: Send + fmt::Debug {
    /// Waits for a commit that it listens for, `interrupt` or `at_most`. May wake without a reason.
    ///
    /// # Errors
    /// When the store is away.
    fn wait(
        &mut self,
        heed: Heed,
        interrupt: Option<&Interrupt>,
        at_most: Duration,
    ) -> Result<Wake, BrokerError>;
}
