//! What the configuration file says of profiles: `[profile.NAME]`, and who gets which.

use std::collections::{BTreeMap, HashMap};

use bulkhead_shared::name::{QueueName, TaskName};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::ConfigError;
use super::file::{File, FileError, Item, Table, Value};
use super::options::{Setting, Source};
use crate::sandbox::profile::{Profile, Profiles, Written};

/// The key that names the profile of a queue or a task.
const PROFILE: &str = "profile";

/// All that a file says of profiles.
#[derive(Debug, Clone, Default)]
pub(super) struct OfFile {
    pub profiles: Profiles,
    pub queues: HashMap<QueueName, String>,
    pub tasks: HashMap<TaskName, String>,
}

impl OfFile {
    /// The profile of this name, which an option has.
    pub(super) fn check(&self, option: &'static str, name: &str) -> Result<&Profile, ConfigError> {
        match self.profiles.get(name) {
            Some(profile) => Ok(profile),
            None => Err(ConfigError::NoProfile {
                option,
                name: name.into(),
                known: self.profiles.names().collect::<Vec<_>>().join(", "),
            }),
        }
    }
}

/// Reads it; without a file there are the built-in ones.
pub(super) fn of_file(file: Option<&File>) -> Result<OfFile, FileError> {
    file.map_or_else(|| Ok(OfFile::default()), |file| read(&file.table))
}

/// The first thing that is wrong with it.
pub(super) fn problems(file: &File) -> Option<FileError> {
    read(&file.table).err()
}

/// Each profile of the file and who gets which, so that a change of it is noticed.
pub(super) fn settings(file: &File) -> Vec<Setting> {
    let mut settings = Vec::new();
    for kind in [PROFILE, "queue"] {
        for (name, table) in file.table.named(kind).unwrap_or_default() {
            let line = file.table.table(kind).ok().flatten();
            let line = line
                .and_then(|all| all.get(name))
                .map_or(0, |item| item.at.line);
            settings.push(Setting {
                name: format!("{kind}.{name}"),
                value: Some(json(table).to_string()),
                source: Source::File(line),
            });
        }
    }
    for (name, table) in file.table.named("task").unwrap_or_default() {
        if let (Some(item), Ok(Some(profile))) = (table.get(PROFILE), table.text(PROFILE)) {
            settings.push(Setting {
                name: of_task(name),
                value: Some(profile.into()),
                source: Source::File(item.at.line),
            });
        }
    }
    settings
}

/// What the profile that the file gives to a task is called among the settings.
pub(crate) fn of_task(task: &str) -> String {
    format!("task.{task}.{PROFILE}")
}

fn read(all: &Table) -> Result<OfFile, FileError> {
    let mut declared = BTreeMap::new();
    let tables = all.named(PROFILE)?;
    for (name, table) in &tables {
        check(table)?;
        let written = Written::deserialize(json(table)).map_err(|error| wrong(table, &error))?;
        declared.insert((*name).to_owned(), written);
    }
    let profiles = Profiles::declare(&declared).map_err(|error| {
        let table = tables.iter().find(|(name, _)| *name == error.profile);
        match table {
            Some((_, table)) => table.wrong_itself(error.reason),
            // Named by one that inherits, and declared nowhere.
            None => all.wrong(
                PROFILE,
                format!("names `{}`: {}", error.profile, error.reason),
            ),
        }
    })?;
    let mut found = OfFile {
        profiles,
        ..OfFile::default()
    };
    for (name, table) in all.named("queue")? {
        if let Some(error) = table.strangers(&[PROFILE]).into_iter().next() {
            return Err(error);
        }
        if let Some(profile) = named(table, &found.profiles)? {
            let queue =
                QueueName::new(name).map_err(|error| table.wrong_itself(error.to_string()))?;
            found.queues.insert(queue, profile);
        }
    }
    for (name, table) in all.named("task")? {
        if let Some(profile) = named(table, &found.profiles)? {
            let task =
                TaskName::new(name).map_err(|error| table.wrong_itself(error.to_string()))?;
            found.tasks.insert(task, profile);
        }
    }
    Ok(found)
}

/// The profile that a table names.
fn named(table: &Table, profiles: &Profiles) -> Result<Option<String>, FileError> {
    let Some(name) = table.text(PROFILE)? else {
        return Ok(None);
    };
    if profiles.get(name).is_none() {
        let known = profiles.names().collect::<Vec<_>>().join(", ");
        let reason =
            format!("names the profile `{name}`, which is not declared (there are {known})");
        return Err(table.wrong(PROFILE, reason));
    }
    Ok(Some(name.into()))
}

/// An error of a profile's table, at the key that it speaks of.
fn wrong(table: &Table, error: &serde_json::Error) -> FileError {
    let text = error.to_string();
    let mut keys = table.entries().map(|(key, _)| key);
    let key = keys.find(|key| text.contains(&format!("`{key}`")));
    // The first word quoted is the key that is unknown, or else the value is wrong somewhere.
    table.wrong(key.unwrap_or(""), text)
}

/// Fails for a value that no key takes, however deep it lies: as a text it might be taken for one.
fn check(table: &Table) -> Result<(), FileError> {
    let mut entries = table.entries();
    entries.try_for_each(|(key, item)| check_item(table, key, item))
}

fn check_item(table: &Table, key: &str, item: &Item) -> Result<(), FileError> {
    match &item.value {
        Value::Other(kind) => {
            let reason = format!("has {kind}, which no key takes (write it as a text)");
            Err(table.wrong_at(item.at, key, reason))
        }
        Value::List(items) => items.iter().try_for_each(|one| check_item(table, key, one)),
        Value::Table(table) => check(table),
        Value::Text(_) | Value::Integer(_) | Value::Flag(_) => Ok(()),
    }
}

fn json(table: &Table) -> Json {
    let entries = table.entries();
    let pairs = entries.map(|(key, item)| (key.to_owned(), value(&item.value)));
    Json::Object(pairs.collect::<Map<_, _>>())
}

fn value(value_of: &Value) -> Json {
    match value_of {
        Value::Text(text) => Json::from(text.as_str()),
        Value::Integer(number) => Json::from(*number),
        Value::Flag(flag) => Json::from(*flag),
        Value::List(items) => items.iter().map(|item| value(&item.value)).collect(),
        Value::Table(table) => json(table),
        Value::Other(kind) => Json::from(format!("({kind})")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parsed(text: &str) -> Result<OfFile, FileError> {
        read(&Table::parse(Path::new("b.toml"), text).unwrap())
    }

    fn refused(text: &str) -> String {
        parsed(text).unwrap_err().to_string()
    }

    #[test]
    fn profiles_queues_and_tasks_are_read() {
        let found = parsed(
            "[profile.media]\ninherits = \"strict\"\ntmp = \"256MiB\"\nread-only = [\"/srv\"]\n\
             [queue.uploads]\nprofile = \"media\"\n[task.thumb]\nprofile = \"none\"\n",
        );
        let found = found.unwrap();
        let media = found.profiles.get("media").unwrap();
        assert_eq!(media.tmp, Some(256 << 20));
        assert!(media.read_only.contains(Path::new("/srv")));
        assert_eq!(found.queues[&QueueName::new("uploads").unwrap()], "media");
        assert_eq!(found.tasks[&TaskName::new("thumb").unwrap()], "none");
    }

    #[test]
    fn the_profile_of_a_task_is_a_setting_of_its_own() {
        let text = "[task.thumb]\nprofile = \"none\"\n";
        let settings = settings(&File {
            table: Table::parse(Path::new("b.toml"), text).unwrap(),
            is_private: true,
        });
        let [one] = &settings[..] else {
            panic!("{settings:?}")
        };
        assert_eq!(
            (one.name.as_str(), one.value.as_deref()),
            ("task.thumb.profile", Some("none"))
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let error = refused("[profile.a]\nmemroy = \"1GiB\"\n");
        assert!(
            error.contains("b.toml:2") && error.contains("memory"),
            "{error}"
        );
        let error = refused("[profile.a]\noutput = \"2GiB\"\n");
        assert!(error.contains("`profile.a` `output` is 2GiB"), "{error}");
        let error = refused("[profile.a]\ninherits = \"b\"\n");
        assert!(error.contains("no such profile"), "{error}");
        let error = refused("[profile.strict]\n");
        assert!(error.contains("built in"), "{error}");
        let error = refused("[queue.q]\nprofile = \"lost\"\n");
        assert!(
            error.contains("b.toml:2") && error.contains("strict"),
            "{error}"
        );
        for (value, kind) in [("1.5", "fraction"), ("2026-01-01", "a date")] {
            let error = refused(&format!(
                "[profile.a]\nenv = {{ A = \"a\", B = {value} }}\n"
            ));
            assert!(
                error.contains("b.toml:2") && error.contains(kind) && error.contains("env.B`"),
                "{error}"
            );
        }
        let error = refused("[profile.a]\nread-only = [\"/srv\", 1.5]\n");
        assert!(error.contains("read-only"), "{error}");
        let error = refused("[profile.a]\nmay = [\"fly\"]\n");
        assert!(error.contains("`fly`"), "{error}");
    }
}
