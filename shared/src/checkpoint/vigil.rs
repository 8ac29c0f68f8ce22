//! A checkpoint at work: steps of the [`Pulse`], the dependent paused and resumed, callbacks called,
//! all of it kept.
//!
//! The order of a step: pause, callbacks, resume, write; and only then it is so. A step that fails on
//! the way has not happened, and the same call makes it again: what was done is done once more, so
//! pauses, resumptions and callbacks come at least once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::keeper::Keeper;
use super::pulse::{News, Record};
use super::{Beat, Cause, CheckpointError, Checkpoints, Dependency, Downtime, Pulse, State};
use crate::name::{CheckpointName, Key};
use crate::time::Timestamp;

/// What names of checkpoints begin with, unless they say otherwise.
pub const PREFIX: &str = "_";

const KIND: &str = "dependencies";

/// A step is tried so often when other processes change the checkpoint at the same time.
const TRIES: usize = 16;

/// A stream that can be paused. Both may be asked for what is so already.
pub trait Dependent: Send + fmt::Debug {
    /// Delivers nothing more until it is resumed.
    ///
    /// # Errors
    /// Whatever went wrong; the step that asked for it has not happened.
    fn pause(&mut self) -> Result<(), Cause>;

    /// Goes on.
    ///
    /// # Errors
    /// Whatever went wrong; the step that asked for it has not happened.
    fn resume(&mut self) -> Result<(), Cause>;
}

type Callback<M, D> = Box<dyn FnMut(&Pulse<M, D>, &Dependency<M, D>) -> Result<(), Cause> + Send>;

/// How far a dependent stream and those it depends on have come.
///
/// `M` are the markers, `D` is how long one is behind another. Handlers that run on several threads
/// share it behind a mutex; several processes can each open it on the same store.
pub struct Checkpoint<M = Timestamp, D = Duration> {
    name: String,
    pulse: Pulse<M, D>,
    keeper: Option<Keeper<Record<M>>>,
    dependent: Option<Box<dyn Dependent>>,
    is_paused: bool,
    on_downtime: Option<Callback<M, D>>,
    on_recovery: Option<Callback<M, D>>,
}

/// What a [`Checkpoint`] is to be: see [`Checkpoint::builder`].
#[must_use = "nothing is there until it is opened"]
pub struct CheckpointBuilder<M = Timestamp, D = Duration> {
    name: String,
    dependencies: Vec<Dependency<M, D>>,
    store: Option<Arc<dyn Checkpoints>>,
    prefix: String,
    pause_dependent: bool,
    dependent: Option<Box<dyn Dependent>>,
    on_downtime: Option<Callback<M, D>>,
    on_recovery: Option<Callback<M, D>>,
}

impl<M, D> Checkpoint<M, D> {
    /// A checkpoint of that name, to be opened. The name is kept with it: do not change it.
    pub fn builder(name: &str) -> CheckpointBuilder<M, D> {
        CheckpointBuilder {
            name: name.into(),
            dependencies: Vec::new(),
            store: None,
            prefix: PREFIX.into(),
            pause_dependent: true,
            dependent: None,
            on_downtime: None,
            on_recovery: None,
        }
    }

    /// Its name, without the prefix.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How far all have come.
    #[must_use]
    pub const fn pulse(&self) -> &Pulse<M, D> {
        &self.pulse
    }
}

impl<M, D> CheckpointBuilder<M, D> {
    /// A stream that the dependent needs; call it once for each.
    pub fn dependency(mut self, dependency: Dependency<M, D>) -> Self {
        self.dependencies.push(dependency);
        self
    }

    /// Keeps the checkpoint there. Without a store it lasts as long as its process.
    pub fn store(mut self, store: Arc<dyn Checkpoints>) -> Self {
        self.store = Some(store);
        self
    }

    /// What the name in the store begins with, [`PREFIX`] if nothing is said.
    pub fn cache_key_prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The stream that is paused while a dependency is down.
    pub fn dependent(mut self, dependent: impl Dependent + 'static) -> Self {
        self.dependent = Some(Box::new(dependent));
        self
    }

    /// Whether to pause and resume the dependent; yes if nothing is said.
    pub const fn pause_dependent(mut self, pause: bool) -> Self {
        self.pause_dependent = pause;
        self
    }

    /// Called when a dependency goes down, after the dependent is paused; at least once each time.
    pub fn downtime_callback(
        mut self,
        callback: impl FnMut(&Pulse<M, D>, &Dependency<M, D>) -> Result<(), Cause> + Send + 'static,
    ) -> Self {
        self.on_downtime = Some(Box::new(callback));
        self
    }

    /// Called for each dependency that was down when none is any more, before the dependent is
    /// resumed; at least once each time.
    pub fn recovery_callback(
        mut self,
        callback: impl FnMut(&Pulse<M, D>, &Dependency<M, D>) -> Result<(), Cause> + Send + 'static,
    ) -> Self {
        self.on_recovery = Some(Box::new(callback));
        self
    }
}

impl<M, D> CheckpointBuilder<M, D>
where
    M: Ord + Clone + Serialize + DeserializeOwned,
    D: Ord + Clone,
{
    /// Reads what is kept, writes nothing, and pauses the dependent if a dependency was down. No
    /// callback is called.
    ///
    /// # Errors
    /// [`CheckpointError::Name`], [`CheckpointError::Dependencies`], [`CheckpointError::Damaged`],
    /// [`CheckpointError::Store`], [`CheckpointError::Dependent`].
    pub fn open(self) -> Result<Checkpoint<M, D>, CheckpointError> {
        let name = CheckpointName::new(&format!("{}{}", self.prefix, self.name))?;
        check_names(&self.name, &self.dependencies)?;
        let mut checkpoint = Checkpoint {
            keeper: (self.store).map(|store| Keeper::new(store, name, KIND)),
            name: self.name,
            pulse: Pulse::new(self.dependencies),
            dependent: self.dependent.filter(|_| self.pause_dependent),
            is_paused: false,
            on_downtime: self.on_downtime,
            on_recovery: self.on_recovery,
        };
        checkpoint.catch_up()?;
        if checkpoint.pulse.is_down() {
            checkpoint.pause()?;
        }
        Ok(checkpoint)
    }
}

impl<M, D> Checkpoint<M, D>
where
    M: Ord + Clone + Serialize + DeserializeOwned,
    D: Ord + Clone,
{
    /// The dependent has come to `marker`, usually the time of an event. `state` is added to its
    /// state: whatever is needed to make anew what went out while a dependency was down.
    ///
    /// Returns the dependency that is down for longest, as their checks say, if one is.
    ///
    /// # Errors
    /// [`CheckpointError`]; the pulse is then what it was, and the same call tries again.
    pub fn check_pulse<V: Into<serde_json::Value>>(
        &mut self,
        marker: M,
        state: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Result<Option<Downtime<D>>, CheckpointError> {
        let state = state.into_iter();
        let state: State = state
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        self.step(|pulse| pulse.check(marker.clone(), state.clone()))
    }

    /// The only dependency has come to `marker`, usually the time of an event. A lower marker than
    /// the last counts too: who reads again from an earlier place is behind.
    ///
    /// # Errors
    /// [`CheckpointError::Which`] if there are several; else as [`Self::check_pulse`].
    pub fn heartbeat(&mut self, marker: M) -> Result<Beat<M>, CheckpointError> {
        if self.pulse.dependencies().len() != 1 {
            let known = self.known();
            return Err(CheckpointError::Which { known });
        }
        self.step(|pulse| pulse.beat(0, marker.clone()))
    }

    /// That dependency has come to `marker`.
    ///
    /// # Errors
    /// [`CheckpointError::Unknown`]; else as [`Self::check_pulse`].
    pub fn heartbeat_of(
        &mut self,
        dependency: &str,
        marker: M,
    ) -> Result<Beat<M>, CheckpointError> {
        let mut all = self.pulse.dependencies().iter();
        let Some(index) = all.position(|it| it.name() == dependency) else {
            return Err(CheckpointError::Unknown {
                name: dependency.into(),
                known: self.known(),
            });
        };
        self.step(|pulse| pulse.beat(index, marker.clone()))
    }

    fn known(&self) -> String {
        let names = self.pulse.dependencies().iter();
        let names: Vec<_> = names.map(|it| format!("`{}`", it.name())).collect();
        names.join(", ")
    }

    fn step<T>(
        &mut self,
        step: impl Fn(&mut Pulse<M, D>) -> (T, News),
    ) -> Result<T, CheckpointError> {
        for _ in 0..TRIES {
            self.catch_up()?;
            let mut next = self.pulse.clone();
            let (told, news) = step(&mut next);
            if news != News::default() && !self.is_current()? {
                // Somebody may be told only of what is so, not of what was.
                continue;
            }
            if next.is_down() {
                self.pause()?;
            }
            call(self.on_downtime.as_mut(), &next, &news.fallen)?;
            call(self.on_recovery.as_mut(), &next, &news.recovered)?;
            next.rejoin(&news.recovered);
            if !next.is_down() {
                self.resume()?;
            }
            let written = self
                .keeper
                .as_mut()
                .map(|keeper| keeper.write(&next.save()));
            match written.transpose() {
                Ok(_) => {
                    self.pulse = next;
                    return Ok(told);
                }
                Err(CheckpointError::Overtaken { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(CheckpointError::Contended {
            name: self.name.clone(),
        })
    }

    /// Reads what is kept, and pauses or resumes the dependent as it says: for a process whose
    /// dependent is paused while another process hears of the dependencies. Writes nothing.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`], [`CheckpointError::Store`], [`CheckpointError::Dependent`].
    pub fn refresh(&mut self) -> Result<(), CheckpointError> {
        if let Some(keeper) = &mut self.keeper {
            self.pulse.load(keeper.read()?);
        }
        if self.pulse.is_down() {
            self.pause()
        } else {
            self.resume()
        }
    }

    fn is_current(&mut self) -> Result<bool, CheckpointError> {
        let keeper = self.keeper.as_mut();
        keeper.map_or(Ok(true), Keeper::is_current)
    }

    /// Reads what is kept, unless it is what this process has read or written last.
    fn catch_up(&mut self) -> Result<(), CheckpointError> {
        if let Some(keeper) = self.keeper.as_mut().filter(|keeper| !keeper.is_known()) {
            self.pulse.load(keeper.read()?);
        }
        Ok(())
    }

    fn pause(&mut self) -> Result<(), CheckpointError> {
        if let Some(dependent) = self.dependent.as_mut().filter(|_| !self.is_paused) {
            let paused = dependent.pause();
            let what = "paused";
            paused.map_err(|source| CheckpointError::Dependent { what, source })?;
            self.is_paused = true;
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), CheckpointError> {
        if let Some(dependent) = self.dependent.as_mut().filter(|_| self.is_paused) {
            let resumed = dependent.resume();
            let what = "resumed";
            resumed.map_err(|source| CheckpointError::Dependent { what, source })?;
            self.is_paused = false;
        }
        Ok(())
    }
}

fn call<M, D>(
    callback: Option<&mut Callback<M, D>>,
    pulse: &Pulse<M, D>,
    about: &[usize],
) -> Result<(), CheckpointError> {
    let Some(callback) = callback else {
        return Ok(());
    };
    for dependency in about.iter().map(|&index| &pulse.dependencies()[index]) {
        callback(pulse, dependency).map_err(|source| CheckpointError::Callback {
            dependency: dependency.name().into(),
            source,
        })?;
    }
    Ok(())
}

fn check_names<M, D>(name: &str, dependencies: &[Dependency<M, D>]) -> Result<(), CheckpointError> {
    let wrong = |what: String| Err(CheckpointError::Dependencies(what));
    if dependencies.is_empty() {
        return wrong(format!(
            "checkpoint `{name}` has no dependency (add one with `dependency`)"
        ));
    }
    for (index, dependency) in dependencies.iter().enumerate() {
        Key::new(dependency.name())?;
        let mut before = dependencies[..index].iter();
        if before.any(|it| it.name() == dependency.name()) {
            return wrong(format!(
                "checkpoint `{name}` has two dependencies `{}` (give each a name of its own)",
                dependency.name()
            ));
        }
    }
    Ok(())
}

impl<M: fmt::Debug, D> fmt::Debug for Checkpoint<M, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("name", &self.name)
            .field("state", self.pulse.state())
            .field("state_marker", &self.pulse.state_marker())
            .field("checkpoints", &self.pulse.dependencies())
            .field("is_paused", &self.is_paused)
            .finish_non_exhaustive()
    }
}

impl<M, D> fmt::Debug for CheckpointBuilder<M, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointBuilder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
