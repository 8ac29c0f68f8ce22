//! How far a dependent stream and its dependencies have come. Pure: no clock, no I/O; every time is
//! one that events bring along.

use serde::{Deserialize, Serialize};

use super::{Dependency, Health};

/// What a dependent stream keeps for itself, such as offsets to read again from.
pub type State = serde_json::Map<String, serde_json::Value>;

/// A dependent stream and its dependencies.
#[derive(Debug)]
pub struct Pulse<M, D> {
    state: State,
    state_marker: Option<M>,
    dependencies: Vec<Dependency<M, D>>,
}

/// A dependency that is down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downtime<D> {
    /// Which.
    pub dependency: String,
    /// For how long, as its check says.
    pub length: D,
}

/// What a heartbeat shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat<M> {
    /// Whether the dependency is down still: what it brings is late, it is behind the dependent.
    pub is_late: bool,
    /// How far the dependent is, if it has come anywhere.
    pub dependent_marker: Option<M>,
    /// How far the dependency is.
    pub dependency_marker: M,
}

/// What a step has changed, as indexes of dependencies.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "callbacks are to be called"]
pub(super) struct News {
    /// Those that were up and are down.
    pub fallen: Vec<usize>,
    /// Those that were down, now that none is.
    pub recovered: Vec<usize>,
}

/// What is kept of a dependency. The names are the layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Saved<M> {
    name: String,
    health: Health,
    checkpoint_state: State,
    checkpoint_marker: Option<M>,
}

/// What is kept of a pulse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record<M> {
    state: State,
    state_marker: Option<M>,
    checkpoints: Vec<Saved<M>>,
}

impl<M: Ord + Clone, D: Ord + Clone> Pulse<M, D> {
    pub(super) fn new(dependencies: Vec<Dependency<M, D>>) -> Self {
        Self {
            state: State::new(),
            state_marker: None,
            dependencies,
        }
    }

    /// The dependent has come to `marker`. Tells the longest downtime.
    pub(super) fn check(&mut self, marker: M, state: State) -> (Option<Downtime<D>>, News) {
        self.state.extend(state);
        self.state_marker = Some(marker);
        let mut longest: Option<Downtime<D>> = None;
        let mut news = News::default();
        for index in 0..self.dependencies.len() {
            if self.dependencies[index].marker.is_none() {
                // It has not shown itself yet: it is measured from here on.
                let (state, marker) = (self.state.clone(), self.state_marker.clone());
                let dependency = &mut self.dependencies[index];
                dependency.state = state;
                dependency.marker = marker;
            }
            let Some(length) = self.dependencies[index].downtime(self) else {
                continue;
            };
            let dependency = &mut self.dependencies[index];
            if dependency.health != Health::Down {
                dependency.health = Health::Down;
                news.fallen.push(index);
            }
            if longest.as_ref().is_none_or(|it| length > it.length) {
                longest = Some(Downtime {
                    dependency: dependency.name().into(),
                    length,
                });
            }
        }
        (longest, news)
    }

    /// A dependency has come to `marker`.
    pub(super) fn beat(&mut self, index: usize, marker: M) -> (Beat<M>, News) {
        self.dependencies[index].marker = Some(marker.clone());
        let mut news = News::default();
        match self.dependencies[index].health {
            // While it is not well, its state stays what it was when it was last heard of before.
            Health::Up => self.dependencies[index].state = self.state.clone(),
            Health::CaughtUp => {}
            Health::Down if self.dependencies[index].has_caught_up(self) => {
                self.dependencies[index].health = Health::CaughtUp;
                if !self.is_down() {
                    news.recovered = self.unwell();
                }
            }
            Health::Down => {}
        }
        let beat = Beat {
            is_late: self.dependencies[index].is_down(),
            dependent_marker: self.state_marker.clone(),
            dependency_marker: marker,
        };
        (beat, news)
    }

    fn unwell(&self) -> Vec<usize> {
        let all = self.dependencies.iter().enumerate();
        all.filter(|(_, dependency)| dependency.health != Health::Up)
            .map(|(index, _)| index)
            .collect()
    }

    /// Those that have recovered are well again: everybody has been told.
    pub(super) fn rejoin(&mut self, recovered: &[usize]) {
        for &index in recovered {
            self.dependencies[index].health = Health::Up;
            self.dependencies[index].state = self.state.clone();
        }
    }

    pub(super) fn save(&self) -> Record<M> {
        let saved = |dependency: &Dependency<M, D>| Saved {
            name: dependency.name().into(),
            health: dependency.health,
            checkpoint_state: dependency.state.clone(),
            checkpoint_marker: dependency.marker.clone(),
        };
        Record {
            state: self.state.clone(),
            state_marker: self.state_marker.clone(),
            checkpoints: self.dependencies.iter().map(saved).collect(),
        }
    }

    /// Goes on from what was kept. Dependencies that are not there any more are forgotten, those
    /// that were not there yet begin.
    pub(super) fn load(&mut self, record: Option<Record<M>>) {
        let (state, state_marker, mut saved) = match record {
            Some(record) => (record.state, record.state_marker, record.checkpoints),
            None => (State::new(), None, Vec::new()),
        };
        self.state = state;
        self.state_marker = state_marker;
        for dependency in &mut self.dependencies {
            let place = saved.iter().position(|it| it.name == dependency.name());
            let saved = place.map(|place| saved.swap_remove(place));
            (dependency.health, dependency.state, dependency.marker) = match saved {
                Some(it) => (it.health, it.checkpoint_state, it.checkpoint_marker),
                None => (Health::Up, State::new(), None),
            };
        }
    }
}

impl<M, D> Pulse<M, D> {
    /// What the dependent keeps for itself.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// How far the dependent is: the marker of its last pulse.
    #[must_use]
    pub const fn state_marker(&self) -> Option<&M> {
        self.state_marker.as_ref()
    }

    /// All dependencies, in the order in which they were given.
    #[must_use]
    pub fn dependencies(&self) -> &[Dependency<M, D>] {
        &self.dependencies
    }

    /// A dependency by its name.
    #[must_use]
    pub fn dependency(&self, name: &str) -> Option<&Dependency<M, D>> {
        let mut all = self.dependencies.iter();
        all.find(|dependency| dependency.name() == name)
    }

    /// Whether any dependency is down: then the dependent pauses.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.dependencies.iter().any(Dependency::is_down)
    }
}

impl<M: Clone, D: Clone> Clone for Pulse<M, D> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            state_marker: self.state_marker.clone(),
            dependencies: self.dependencies.clone(),
        }
    }
}
