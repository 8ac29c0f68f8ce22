//! What the child can do, once a zygote has said it: told to upkeep, which announces it before
//! anything is claimed.

use std::collections::HashMap;
use std::sync::Arc;

use bulkhead_shared::broker::Selection;
use bulkhead_shared::policy::Defaults;
use bulkhead_shared::task::TaskSpec;
use bulkhead_shared::{QueueName, TaskName};
use crossbeam::channel::Sender;
use tracing::{error, info, warn};

use crate::config::RunConfig;
use crate::job::{Rules, usual_lane, within};
use crate::sandbox::menu::Menu;
use crate::streams::{self, Streams};
use crate::upkeep::Word;

/// Turns registrations into what is claimed.
#[derive(Debug)]
pub(crate) struct Registrar {
    config: RunConfig,
    defaults: Defaults,
    menu: Menu,
    words: Sender<Word>,
    streams: Streams,
    /// What the child said last; `None` before it said anything.
    specs: Option<Vec<TaskSpec>>,
}

impl Registrar {
    pub(crate) const fn new(
        config: RunConfig,
        defaults: Defaults,
        menu: Menu,
        words: Sender<Word>,
        streams: Streams,
    ) -> Self {
        Self {
            config,
            defaults,
            menu,
            words,
            streams,
            specs: None,
        }
    }

    /// Takes what can change of a configuration. Returns what [`Registrar::register`] does, if
    /// there is anything to be registered yet.
    pub(crate) fn configure(&mut self, config: RunConfig) -> Option<Option<u64>> {
        self.config.queues = config.queues;
        self.config.tasks = config.tasks;
        self.config.extras = config.extras;
        self.menu.give_tasks(&config.profile_of_task);
        self.defaults.patience = config.patience;
        let _ = self.words.send(Word::UnknownAfter(config.unknown_after));
        let specs = self.specs.clone()?;
        Some(self.register(specs))
    }

    /// Takes a child's registrations. Returns the most memory that any job may have.
    pub(crate) fn register(&mut self, specs: Vec<TaskSpec>) -> Option<u64> {
        self.specs = Some(specs.clone());
        let specs = with_commands(specs, &self.config.extras.specs);
        let wanted = |spec: &TaskSpec| {
            self.config
                .tasks
                .as_ref()
                .is_none_or(|tasks| tasks.contains(&spec.name))
        };
        let specs: HashMap<TaskName, TaskSpec> = specs
            .into_iter()
            .filter(wanted)
            .map(|spec| (spec.name.clone(), spec))
            .collect();
        for name in self.config.tasks.iter().flatten() {
            if !specs.contains_key(name) {
                warn!(task = %name, "the child has no such task (named by --tasks)");
            }
        }
        self.say_unfit(&specs);
        let largest = specs.values().filter_map(|spec| spec.memory).max();
        let most_memory = self
            .config
            .memory
            .map(|usual| usual.max(largest.unwrap_or(0)));
        let rules = Rules {
            defaults: self.defaults.clone(),
            specs: Arc::default(),
            extras: Arc::new(self.config.extras.of.clone()),
            menu: Some(self.menu.clone()),
            most_memory,
        };
        let (processors, specs) = specs
            .into_iter()
            .partition::<HashMap<_, _>, _>(|(_, spec)| spec.processor.is_some());
        let of_streams = Rules {
            specs: Arc::new(processors.clone()),
            ..rules.clone()
        };
        let processors = processors.into_values().collect();
        self.streams
            .send(streams::Word::Serve(processors, of_streams));
        let selection = self.select(&specs);
        let queues = selection
            .queues
            .iter()
            .map(QueueName::as_str)
            .collect::<Vec<_>>()
            .join(",");
        info!(tasks = specs.len(), queues, "serving");
        let rules = Rules {
            specs: Arc::new(specs),
            ..rules
        };
        // Upkeep lives as long as the reactor.
        let _ = self.words.send(Word::Serve(selection, rules));
        most_memory
    }

    /// Tasks whose profile this host cannot give fail at once, each with its verdict; whoever reads
    /// the log should know before.
    fn say_unfit(&self, specs: &HashMap<TaskName, TaskSpec>) {
        for spec in specs.values() {
            let queue = spec.queue.clone().unwrap_or_default();
            let own = spec.profile.as_deref();
            let within = within(usual_lane(spec));
            if let Err(reason) = self.menu.choose(None, own, &spec.name, &queue, within) {
                error!(task = %spec.name, "its jobs will fail: {reason}");
            }
        }
    }

    fn select(&self, specs: &HashMap<TaskName, TaskSpec>) -> Selection {
        let mut tasks: Vec<TaskName> = specs.keys().cloned().collect();
        tasks.sort();
        let queues = self.config.queues.clone().unwrap_or_else(|| {
            let mut queues: Vec<_> = specs.values().filter_map(|s| s.queue.clone()).collect();
            queues.push(QueueName::default());
            queues.sort();
            queues.dedup();
            queues
        });
        Selection { queues, tasks }
    }
}

/// The tasks of the child with those of the configuration file, which go before.
fn with_commands(mut specs: Vec<TaskSpec>, commands: &[TaskSpec]) -> Vec<TaskSpec> {
    for command in commands {
        if specs.iter().any(|spec| spec.name == command.name) {
            warn!(task = %command.name, "the child has a task of this name too: the command of the configuration file is run");
            specs.retain(|spec| spec.name != command.name);
        }
    }
    specs.extend(commands.iter().cloned());
    specs
}
