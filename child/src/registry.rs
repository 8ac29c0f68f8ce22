//! The tasks of one binary, checked once at its start.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt;

use bulkhead_shared::backoff::Backoff;
#[cfg(feature = "async")]
use bulkhead_shared::frame::Failure;
use bulkhead_shared::name::{NameError, QueueName, StreamName, TaskName};
use bulkhead_shared::policy::{Keep, Retries};
use bulkhead_shared::stream::{ProcessorSpec, StreamError, StreamSpec};
use bulkhead_shared::task::{Mechanism, TaskSpec};
use bulkhead_shared::trigger::{TriggerError, TriggerSpec};

use crate::answer::Reply;
use crate::arguments::Given;
use crate::context::Context;
use crate::hooks::Hooks;
use crate::processor::{Assignment, Processor};

/// What `#[task]` writes down about a function. `None` is the supervisor's default.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub name: &'static str,
    pub queue: Option<&'static str>,
    pub timeout_ms: Option<u64>,
    pub max_retries: Option<Retries>,
    pub backoff: Option<Backoff>,
    pub patience_ms: Option<u64>,
    pub result_ttl: Option<Keep>,
    pub memory: Option<u64>,
    pub profile: Option<&'static str>,
    /// A trigger as JSON.
    pub trigger: Option<&'static str>,
    pub concurrency: Option<u32>,
    pub params: &'static [&'static str],
    pub positional: bool,
    pub hooks: Hooks,
    pub mechanism: Mechanism,
    pub run_in_main_thread: bool,
    pub processor: Option<&'static Processor>,
    pub call: Function,
    /// Decodes arguments of its parameters' types, and calls nothing.
    pub rehearse: fn(),
}

impl Definition {
    /// One with nothing but a function.
    #[must_use]
    pub const fn new(call: Function) -> Self {
        Self {
            name: "",
            queue: None,
            timeout_ms: None,
            max_retries: None,
            backoff: None,
            patience_ms: None,
            result_ttl: None,
            memory: None,
            profile: None,
            trigger: None,
            concurrency: None,
            params: &[],
            positional: true,
            hooks: Hooks::NONE,
            mechanism: Mechanism::Process,
            run_in_main_thread: false,
            processor: None,
            call,
            rehearse: || {},
        }
    }
}

/// A task's function, as the runtime calls it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum Function {
    Sync(fn(&Context, Given<'_>) -> Reply),
    /// Of a processor.
    Processor(fn(&Context, &Assignment) -> Reply),
    /// Takes its arguments at once; what it gives borrows nothing.
    #[cfg(feature = "async")]
    Async(fn(Context, Given<'_>) -> Result<Future, Failure>),
}

/// A call of an `async fn`.
#[cfg(feature = "async")]
#[doc(hidden)]
pub type Future = std::pin::Pin<Box<dyn std::future::Future<Output = Reply> + Send>>;

/// A function that carries `#[task]`, as [`tasks!`](crate::tasks) lists it.
///
/// ```
/// #[bulkhead_child::task(name = "mail.send")]
/// fn send(to: String) {}
/// assert_eq!(bulkhead_child::tasks![send][0].name(), "mail.send");
/// ```
#[derive(Clone, Copy)]
pub struct Task(&'static Definition);

impl Task {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(definition: &'static Definition) -> Self {
        Self(definition)
    }

    /// The name messages call it by.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.0.name
    }

    pub(crate) const fn definition(&self) -> &'static Definition {
        self.0
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Task").field(&self.0.name).finish()
    }
}

/// Why a list of tasks cannot be served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RegistryError {
    #[error("no task is registered (list them: `bulkhead_child::run(tasks![add])`)")]
    Empty,
    #[error(
        "task `{name}` is registered twice (rename one: `#[task(name = \"other\")]`, or list it once)"
    )]
    Twice { name: &'static str },
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("task `{name}`: {source}")]
    Trigger {
        name: &'static str,
        source: TriggerError,
    },
    #[error(
        "task `{name}` has a trigger that cannot be read: {reason} (build it with the macros of this release)"
    )]
    TriggerText { name: &'static str, reason: String },
    #[error("processor `{name}`: {source}")]
    Processor {
        name: &'static str,
        source: StreamError,
    },
    #[error(
        "stream `{stream}` is not the same for processors `{name}` and `{other}` (declare it in one function, and name that in both)"
    )]
    Streams {
        stream: StreamName,
        name: String,
        other: &'static str,
    },
}

/// All tasks of this binary.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    tasks: Vec<(TaskSpec, Task)>,
}

impl Registry {
    pub(crate) fn new(tasks: Vec<Task>) -> Result<Self, RegistryError> {
        if tasks.is_empty() {
            return Err(RegistryError::Empty);
        }
        let mut tasks = tasks
            .into_iter()
            .map(|task| Ok((spec(task.definition())?, task)))
            .collect::<Result<Vec<_>, RegistryError>>()?;
        tasks.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        match tasks
            .windows(2)
            .find(|pair| pair[0].0.name == pair[1].0.name)
        {
            Some(pair) => Err(RegistryError::Twice {
                name: pair[0].1.name(),
            }),
            None => match streams_differ(&tasks) {
                Some(error) => Err(error),
                None => Ok(Self { tasks }),
            },
        }
    }

    /// That of a program whose only tasks are commands.
    pub(crate) const fn without_tasks() -> Self {
        Self { tasks: Vec::new() }
    }

    /// The task of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Task> {
        let by_name = |(spec, _): &(TaskSpec, Task)| spec.name.as_str().cmp(name);
        let at = self.tasks.binary_search_by(by_name).ok()?;
        Some(self.tasks[at].1)
    }

    /// What is announced to supervisors, in the order of the names.
    pub(crate) fn specs(&self) -> impl Iterator<Item = &TaskSpec> {
        self.tasks.iter().map(|(spec, _)| spec)
    }

    /// The tasks, in the order of their names.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = &'static Definition> {
        self.tasks.iter().map(|(_, task)| task.definition())
    }

    /// Where the functions of the tasks begin, in the order of the names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = *const ()> {
        let tasks = self.tasks.iter();
        tasks.map(|(_, task)| match task.definition().call {
            Function::Sync(call) => call as *const (),
            Function::Processor(call) => call as *const (),
            #[cfg(feature = "async")]
            Function::Async(call) => call as *const (),
        })
    }
}

fn trigger(definition: &Definition) -> Result<Option<TriggerSpec>, RegistryError> {
    let Some(text) = definition.trigger else {
        return Ok(None);
    };
    let name = definition.name;
    let spec: TriggerSpec =
        serde_json::from_str(text).map_err(|error| RegistryError::TriggerText {
            name,
            reason: error.to_string(),
        })?;
    match spec.check() {
        Ok(_) => Ok(Some(spec)),
        Err(source) => Err(RegistryError::Trigger { name, source }),
    }
}

fn processor(definition: &Definition) -> Result<Option<ProcessorSpec>, RegistryError> {
    let name = definition.name;
    let spec = definition.processor.map(Processor::spec).transpose();
    spec.map_err(|source| RegistryError::Processor { name, source })
}

/// Two processors whose streams have one name and are not the same.
fn streams_differ(specs: &[(TaskSpec, Task)]) -> Option<RegistryError> {
    let streams = specs.iter().filter_map(|(spec, task)| {
        let processor = spec.processor.as_ref()?;
        Some((task.name(), &processor.stream))
    });
    let mut seen: HashMap<_, (&str, &StreamSpec)> = HashMap::new();
    for (other, stream) in streams {
        let (name, first) = *seen.entry(&stream.name).or_insert((other, stream));
        if first != stream {
            return Some(RegistryError::Streams {
                stream: stream.name.clone(),
                name: name.into(),
                other,
            });
        }
    }
    None
}

fn spec(definition: &Definition) -> Result<TaskSpec, RegistryError> {
    Ok(TaskSpec {
        name: TaskName::new(definition.name)?,
        queue: definition.queue.map(QueueName::new).transpose()?,
        timeout_ms: definition.timeout_ms,
        max_retries: definition.max_retries,
        backoff: definition.backoff,
        patience_ms: definition.patience_ms,
        result_ttl: definition.result_ttl,
        memory: definition.memory,
        profile: definition.profile.map(Into::into),
        trigger: trigger(definition)?,
        concurrency: definition.concurrency,
        params: definition.params.iter().map(|&name| name.into()).collect(),
        positional: definition.positional,
        hooks: definition.hooks.kinds(),
        mechanism: definition.mechanism,
        run_in_main_thread: definition.run_in_main_thread,
        processor: processor(definition)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks;

    #[crate::task]
    fn one() {}
    #[crate::task(name = "one")]
    fn other() {}
    #[crate::task]
    fn two() {}

    #[test]
    fn a_name_used_twice_is_refused_and_named() {
        let error = Registry::new(tasks![one, two, other]).unwrap_err();
        assert_eq!(error, RegistryError::Twice { name: "one" });
        assert!(error.to_string().contains("`one` is registered twice"));
    }

    #[test]
    fn an_empty_list_is_refused() {
        assert_eq!(Registry::new(tasks![]).unwrap_err(), RegistryError::Empty);
    }

    #[test]
    fn tasks_are_found_by_their_exact_names() {
        let registry = Registry::new(tasks![two, one]).unwrap();
        assert_eq!(registry.find("two").unwrap().name(), "two");
        assert!(registry.find("tw").is_none());
        let names: Vec<_> = registry.specs().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
    }
}
