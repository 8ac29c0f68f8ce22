//! Reads the configuration again after a SIGHUP, on a thread of its own: a file may lie where
//! reading takes its time. What can change while tasks run is told to the reactor; what cannot is
//! told to people.

use std::io::Read;
use std::os::unix::net::UnixStream;

use tracing::{error, info, warn};

use crate::config::{Again, ConfigError, RunConfig, Setting, profiles};
use crate::notice::{Notice, Notices};
use crate::observe;
use crate::sandbox::profile::Profiles;

/// Options that change without a restart, and without dropping work.
const CHANGEABLE: [&str; 7] = [
    "patience",
    "grace",
    "unknown-after",
    "queues",
    "tasks",
    "task-output",
    "log-level",
];

/// What the thread works with.
#[derive(Debug)]
pub(crate) struct Reloader {
    pub again: Again,
    /// What is in force: what cannot change stays as it was at the start.
    pub settings: Vec<Setting>,
    /// Those of the start, which are all that tasks can be given.
    pub profiles: Profiles,
    pub notices: Notices,
    /// Has a byte for each SIGHUP, and ends with the run.
    pub signals: UnixStream,
}

/// What became of an option.
#[derive(Debug, PartialEq, Eq)]
struct Change<'a> {
    name: &'a str,
    from: Option<&'a str>,
    to: Option<&'a str>,
    is_in_force: bool,
}

impl Reloader {
    pub(crate) fn run(mut self) {
        // Several signals in a row are one reason to read the file again.
        let mut bytes = [0; 64];
        while let Ok(1..) = self.signals.read(&mut bytes) {
            match self.again.read() {
                Ok((config, settings)) => self.reload(config, settings),
                Err(error) => refuse(&error),
            }
        }
    }

    fn reload(&mut self, config: RunConfig, settings: Vec<Setting>) {
        let late = late(&config, &self.profiles);
        let is_changeable = |name: &str| is_changeable(name) && !late.iter().any(|one| one == name);
        let changes = compare(&self.settings, &settings, is_changeable);
        for change in &changes {
            let Change { name, .. } = change;
            let (from, to) = (change.from.unwrap_or("-"), change.to.unwrap_or("-"));
            if change.is_in_force {
                info!(name, from, to, "configuration changed");
            } else {
                warn!(
                    name,
                    from, to, "configuration not changed: this needs a restart"
                );
            }
        }
        let changed = changes.iter().filter(|change| change.is_in_force).count();
        info!(changed, "configuration read again");
        let is_changeable = |setting: &Setting| is_changeable(&setting.name);
        self.settings.retain(|setting| !is_changeable(setting));
        self.settings
            .extend(settings.into_iter().filter(is_changeable));
        observe::log::set_level(config.log_level);
        self.notices.send(Notice::Configured(Box::new(config)));
    }
}

/// Whether an option, a task or a secret changes without a restart.
fn is_changeable(name: &str) -> bool {
    let is_extra = ["task.", "secret."]
        .iter()
        .any(|kind| name.starts_with(kind));
    is_extra || CHANGEABLE.contains(&name)
}

/// The settings that give a task a profile which was not declared at the start: the task keeps the
/// one it has.
fn late(config: &RunConfig, profiles: &Profiles) -> Vec<String> {
    let given = config.profile_of_task.iter();
    given
        .filter(|(_, profile)| profiles.get(profile).is_none())
        .map(|(task, _)| profiles::of_task(task.as_str()))
        .collect()
}

fn refuse(error: &ConfigError) {
    error!(
        error = crate::commands::chain(error),
        "configuration not read again: what was in force stays in force"
    );
}

fn compare<'a>(
    old: &'a [Setting],
    new: &'a [Setting],
    is_changeable: impl Fn(&str) -> bool,
) -> Vec<Change<'a>> {
    let value = |settings: &'a [Setting], name: &str| {
        let found = settings.iter().find(|setting| setting.name == name);
        found.and_then(|setting| setting.value.as_deref())
    };
    let names = old.iter().chain(new).map(|setting| setting.name.as_str());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    let change = |name| {
        let (from, to) = (value(old, name), value(new, name));
        let is_in_force = is_changeable(name);
        (from != to).then_some(Change {
            name,
            from,
            to,
            is_in_force,
        })
    };
    names.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn setting(name: &str, value: &str) -> Setting {
        Setting {
            name: name.into(),
            value: Some(value.into()),
            source: Source::Default,
        }
    }

    #[test]
    fn what_changes_at_once_and_what_needs_a_restart_are_told_apart() {
        let old = [
            setting("grace", "30s"),
            setting("patience", "1s"),
            setting("processes", "2"),
        ];
        let new = [
            setting("env.A", "b"),
            setting("grace", "30s"),
            setting("patience", "2s"),
            setting("processes", "3"),
        ];
        let found = compare(&old, &new, is_changeable);
        let found: Vec<_> = found.iter().map(|c| (c.name, c.is_in_force)).collect();
        assert_eq!(
            found,
            [("env.A", false), ("patience", true), ("processes", false)]
        );
    }

    #[test]
    fn each_changeable_option_exists() {
        let names = crate::config::option_names();
        for name in CHANGEABLE {
            assert!(names.iter().any(|one| one == name), "{name}");
        }
    }
}
