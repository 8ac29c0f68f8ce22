//! A stream that another one depends on: how far it has come, and how it is told that it is down.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pulse::State;
use super::{Distance, Pulse};
use crate::time::Timestamp;

/// A dependency whose times are behind by more than this is down, unless it says otherwise.
pub const DOWNTIME_THRESHOLD: Duration = Duration::from_secs(600);

/// Says for how long a dependency is down.
pub(super) type DowntimeCheck<M, D> =
    dyn Fn(&Pulse<M, D>, &Dependency<M, D>) -> Option<D> + Send + Sync;

/// Says whether a dependency that was down has caught up.
pub(super) type RecoveryCheck<M, D> = dyn Fn(&Pulse<M, D>, &Dependency<M, D>) -> bool + Send + Sync;

/// How a dependency is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing is known against it.
    #[default]
    Up,
    /// It is behind.
    Down,
    /// It was down and has caught up, and another one is still down.
    CaughtUp,
}

/// A stream that a dependent stream needs. Its name is kept with its checkpoint: do not change it.
pub struct Dependency<M = Timestamp, D = Duration> {
    name: String,
    threshold: Option<D>,
    downtime: Arc<DowntimeCheck<M, D>>,
    recovery: Arc<RecoveryCheck<M, D>>,
    pub(super) health: Health,
    pub(super) state: State,
    pub(super) marker: Option<M>,
}

impl Dependency {
    /// A dependency whose markers are times, and that is down when it is behind by more than
    /// [`DOWNTIME_THRESHOLD`].
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::within(name, DOWNTIME_THRESHOLD)
    }
}

impl<M: Distance + 'static> Dependency<M, M::Length> {
    /// A dependency that is down when it is behind the dependent by more than `threshold`.
    #[must_use]
    pub fn within(name: &str, threshold: M::Length) -> Self {
        Self {
            threshold: Some(threshold),
            ..Self::checked(name, default_downtime)
        }
    }
}

impl<M: Ord + 'static, D: 'static> Dependency<M, D> {
    /// A dependency of which `downtime_check` says for how long it is down, if it is. For markers
    /// that have an order and no distance.
    #[must_use]
    pub fn checked(
        name: &str,
        downtime_check: impl Fn(&Pulse<M, D>, &Self) -> Option<D> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            threshold: None,
            downtime: Arc::new(downtime_check),
            recovery: Arc::new(default_recovery),
            health: Health::Up,
            state: State::new(),
            marker: None,
        }
    }

    /// Asks this instead whether and for how long the dependency is down, at each pulse.
    #[must_use]
    pub fn downtime_check(
        mut self,
        check: impl Fn(&Pulse<M, D>, &Self) -> Option<D> + Send + Sync + 'static,
    ) -> Self {
        self.downtime = Arc::new(check);
        self
    }

    /// Asks this instead whether the dependency has caught up, at each heartbeat while it is down.
    #[must_use]
    pub fn recovery_check(
        mut self,
        check: impl Fn(&Pulse<M, D>, &Self) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.recovery = Arc::new(check);
        self
    }
}

impl<M, D> Dependency<M, D> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// By how much it may be behind, if that is how it is told.
    #[must_use]
    pub const fn downtime_threshold(&self) -> Option<&D> {
        self.threshold.as_ref()
    }

    /// How it is.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// Whether it is down.
    #[must_use]
    pub const fn is_down(&self) -> bool {
        matches!(self.health, Health::Down)
    }

    /// A copy of the dependent's state at the last heartbeat before it was down, or at the last one
    /// if it is up: what went out after that may have to be made anew.
    #[must_use]
    pub const fn checkpoint_state(&self) -> &State {
        &self.state
    }

    /// The marker of its last heartbeat; of the dependent's first pulse if there was none.
    #[must_use]
    pub const fn checkpoint_marker(&self) -> Option<&M> {
        self.marker.as_ref()
    }

    pub(super) fn downtime(&self, pulse: &Pulse<M, D>) -> Option<D> {
        (self.downtime)(pulse, self)
    }

    pub(super) fn has_caught_up(&self, pulse: &Pulse<M, D>) -> bool {
        (self.recovery)(pulse, self)
    }
}

/// Down is who is behind the dependent by more than the threshold.
fn default_downtime<M: Distance>(
    pulse: &Pulse<M, M::Length>,
    dependency: &Dependency<M, M::Length>,
) -> Option<M::Length> {
    let (dependent, own) = (pulse.state_marker()?, dependency.checkpoint_marker()?);
    let threshold = dependency.threshold.as_ref()?;
    let behind = dependent.ahead_of(own)?;
    (behind > *threshold).then_some(behind)
}

/// Recovered is who is ahead of the dependent.
fn default_recovery<M: Ord, D>(pulse: &Pulse<M, D>, dependency: &Dependency<M, D>) -> bool {
    dependency.checkpoint_marker() > pulse.state_marker()
}

impl<M: Clone, D: Clone> Clone for Dependency<M, D> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            threshold: self.threshold.clone(),
            downtime: Arc::clone(&self.downtime),
            recovery: Arc::clone(&self.recovery),
            health: self.health,
            state: self.state.clone(),
            marker: self.marker.clone(),
        }
    }
}

impl<M: fmt::Debug, D> fmt::Debug for Dependency<M, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dependency")
            .field("name", &self.name)
            .field("health", &self.health)
            .field("checkpoint_state", &self.state)
            .field("checkpoint_marker", &self.marker)
            .finish_non_exhaustive()
    }
}
