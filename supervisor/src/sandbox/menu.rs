//! The profiles of a run, resolved: which one a job gets, and what is refused.

use std::collections::HashMap;
use std::sync::Arc;

use bulkhead_shared::isolation::Containment;
use bulkhead_shared::name::{QueueName, TaskName};

use super::plan::{Lack, Plan};
use super::probe::Host;
use super::profile::{Profile, Profiles};
use crate::config::RunConfig;

/// Profiles that a host cannot give.
#[derive(Debug, thiserror::Error)]
#[error("{}", say(.profile, .lacks))]
pub(crate) struct Refusal {
    pub profile: String,
    pub lacks: Vec<Lack>,
}

fn say(profile: &str, lacks: &[Lack]) -> String {
    let each = lacks.iter().map(|lack| {
        format!(
            "\n  `{}` needs {}: {}",
            lack.asked, lack.lacks, lack.way_out
        )
    });
    format!(
        "this host cannot give the profile `{profile}`:{}\n  (or take less, and have it said in \
         each verdict, with --sandbox-best-effort; `supervisor sandbox probe` shows what there is)",
        each.collect::<String>()
    )
}

/// One profile of a run.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub profile: Profile,
    pub plan: Plan,
    /// It may be used on this host.
    pub is_open: bool,
}

/// What a job is to run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Within {
    /// A process of its own.
    Process,
    /// A group, of which all have the same profile.
    Group,
}

/// The profiles of a run, by their numbers.
#[derive(Debug, Clone)]
pub(crate) struct Menu {
    entries: Arc<[Entry]>,
    /// The one of tasks for which nothing says another.
    usual: u16,
    /// The one of all groups.
    groups: u16,
    queues: Arc<HashMap<QueueName, u16>>,
    tasks: Arc<HashMap<TaskName, u16>>,
}

impl Menu {
    /// Resolves all profiles against the host.
    ///
    /// # Errors
    /// When one that is asked for by the configuration cannot be given, and less is not enough.
    pub(crate) fn resolve(config: &RunConfig, host: &Host) -> Result<Self, Refusal> {
        let profiles = &config.profiles;
        let entries: Vec<Entry> = profiles
            .iter()
            .map(|profile| {
                let plan = Plan::resolve(profile, config, host);
                Entry {
                    is_open: plan.lacks.is_empty() || config.best_effort,
                    profile: profile.clone(),
                    plan,
                }
            })
            .collect();
        let asked = |entry: &Entry| {
            [&config.sandbox, &config.group_sandbox].contains(&&entry.profile.name)
                || config
                    .profile_of_queue
                    .values()
                    .any(|name| *name == entry.profile.name)
                || config
                    .profile_of_task
                    .values()
                    .any(|name| *name == entry.profile.name)
                || Profiles::default().get(&entry.profile.name).is_none()
        };
        if let Some(entry) = entries.iter().find(|entry| asked(entry) && !entry.is_open) {
            return Err(Refusal {
                profile: entry.profile.name.clone(),
                lacks: entry.plan.lacks.clone(),
            });
        }
        // Names were checked when the configuration was read.
        let number = |name: &str| u16::try_from(profiles.index(name).unwrap_or(0)).unwrap_or(0);
        let queues = config.profile_of_queue.iter();
        let mut menu = Self {
            usual: number(&config.sandbox),
            groups: number(&config.group_sandbox),
            queues: Arc::new(
                queues
                    .map(|(queue, name)| (queue.clone(), number(name)))
                    .collect(),
            ),
            tasks: Arc::default(),
            entries: entries.into(),
        };
        menu.give_tasks(&config.profile_of_task);
        Ok(menu)
    }

    /// Gives tasks the profiles that the configuration names for them. Where it names one that was
    /// not declared at the start, the task keeps what it has.
    pub(crate) fn give_tasks(&mut self, names: &HashMap<TaskName, String>) {
        let number = |(task, name): (&TaskName, &String)| {
            let kept = || self.tasks.get(task).copied();
            Some((task.clone(), self.number(name).or_else(kept)?))
        };
        self.tasks = Arc::new(names.iter().filter_map(number).collect());
    }

    pub(crate) fn entry(&self, number: u16) -> &Entry {
        &self.entries[usize::from(number)]
    }

    pub(crate) fn name(&self, number: u16) -> &str {
        &self.entry(number).profile.name
    }

    pub(crate) fn containment(&self, number: u16) -> Containment {
        self.entry(number).plan.setup.containment
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) const fn usual(&self) -> u16 {
        self.usual
    }

    pub(crate) const fn groups(&self) -> u16 {
        self.groups
    }

    /// Changes what every plan has in common.
    pub(crate) fn change(&mut self, mut what: impl FnMut(&mut Plan)) {
        let mut entries = self.entries.to_vec();
        entries.iter_mut().for_each(|entry| what(&mut entry.plan));
        self.entries = entries.into();
    }

    /// Profiles whose processes run one job only, as bits.
    pub(crate) fn single_use(&self) -> u64 {
        let single = self.entries.iter().enumerate();
        single
            .filter(|(_, entry)| entry.plan.single_use)
            .fold(0, |bits, (number, _)| bits | 1 << number)
    }

    /// The profile of a job. Its queue has one, or the supervisor; its task may ask for another
    /// that is not looser, or the configuration gives it any; its message may ask for one that is
    /// not looser than its task's.
    ///
    /// # Errors
    /// Why it cannot be had, for the job's verdict.
    pub(crate) fn choose(
        &self,
        message: Option<&str>,
        spec: Option<&str>,
        task: &TaskName,
        queue: &QueueName,
        within: Within,
    ) -> Result<u16, String> {
        let usual = match within {
            Within::Process => self.usual,
            Within::Group => self.groups,
        };
        let floor = self.queues.get(queue).copied().unwrap_or(usual);
        let base = match (self.tasks.get(task), spec) {
            // The operator's own word.
            (Some(number), _) => *number,
            (None, Some(name)) => {
                let asked = self.find(name, "the task")?;
                self.not_looser(asked, floor, |name, floor, what| {
                    format!(
                        "the task asks for the profile `{name}`, which is looser than the one it \
                         would have here, `{floor}`, in `{what}` (if its program is to be \
                         trusted, say so in the configuration file: `[task.{task}]` with \
                         `profile = \"{name}\"`)"
                    )
                })?;
                asked
            }
            (None, None) => floor,
        };
        let number = match message {
            None => base,
            Some(name) => {
                let asked = self.find(name, "the message")?;
                self.not_looser(asked, base, |name, base, what| {
                    format!(
                        "the message asks for the profile `{name}`, which is looser than its \
                         task's, `{base}`, in `{what}` (leave the profile out, or name one that \
                         is not looser)"
                    )
                })?;
                asked
            }
        };
        if within == Within::Group {
            self.suits_groups(number, task)?;
        }
        let entry = self.entry(number);
        match entry.is_open {
            true => Ok(number),
            false => Err(Refusal {
                profile: entry.profile.name.clone(),
                lacks: entry.plan.lacks.clone(),
            }
            .to_string()),
        }
    }

    /// Whether groups are under this profile, and it lets jobs share a process.
    fn suits_groups(&self, number: u16, task: &TaskName) -> Result<(), String> {
        let name = self.name(number);
        if number != self.groups {
            let groups = self.name(self.groups);
            return Err(format!(
                "task `{task}` runs in a group, whose profile is `{groups}`, not `{name}` (leave \
                 the profile out, make it a task for a process, or have all groups under it by \
                 --group-sandbox {name})"
            ));
        }
        match self.entry(number).plan.single_use {
            false => Ok(()),
            true => Err(format!(
                "task `{task}` runs in a group, and under the profile `{name}` each job has a \
                 process of its own (make it a task for a process, or name another profile for \
                 groups by --group-sandbox)"
            )),
        }
    }

    fn not_looser(
        &self,
        asked: u16,
        base: u16,
        say: impl FnOnce(&str, &str, &str) -> String,
    ) -> Result<(), String> {
        let (asked, base) = (&self.entry(asked).profile, &self.entry(base).profile);
        asked
            .looser_than(base)
            .map_or(Ok(()), |what| Err(say(&asked.name, &base.name, what)))
    }

    fn number(&self, name: &str) -> Option<u16> {
        let mut all = self.entries.iter();
        let found = all.position(|entry| entry.profile.name == name);
        found.and_then(|index| u16::try_from(index).ok())
    }

    fn find(&self, name: &str, who: &str) -> Result<u16, String> {
        self.number(name).ok_or_else(|| {
            let known = self.entries.iter().map(|entry| entry.profile.name.as_str());
            format!(
                "{who} asks for the profile `{name}`, which this supervisor does not have (it has \
                 {}; declare it in the configuration file)",
                known.collect::<Vec<_>>().join(", ")
            )
        })
    }
}
