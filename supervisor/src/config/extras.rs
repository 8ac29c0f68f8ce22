//! What tasks are given beside their jobs: commands to run, secrets to know.

use std::collections::HashMap;
use std::sync::Arc;

use bulkhead_shared::TaskName;
use bulkhead_shared::command::CommandSpec;
use bulkhead_shared::frame::ToTask;
use bulkhead_shared::hook::HookKind;
use bulkhead_shared::task::TaskSpec;
use serde_bytes::ByteBuf;

use super::file::{File, FileError};
use super::secrets::{self, Secret};
use super::tasks::{self, Declared};
use super::{ConfigError, Environment, Setting, Source};

/// For one task.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Extra {
    secrets: Vec<Arc<Secret>>,
    /// As JSON.
    command: Option<Vec<u8>>,
    /// For its hooks, if it is a command: they are commands of their own, and know what they need.
    hooks: Vec<(HookKind, Arc<Self>)>,
}

impl Extra {
    /// A command with the secrets that it has places for.
    fn of(command: &CommandSpec, secrets: &[Arc<Secret>]) -> Self {
        let wanted = command.secrets();
        let secrets = secrets.iter().filter(|one| wanted.contains(&one.name));
        Self {
            secrets: secrets.cloned().collect(),
            command: Some(serde_json::to_vec(command).expect("texts and numbers have JSON")),
            hooks: Vec::new(),
        }
    }

    /// What a hook of the task is given. None if it is a command that has no such hook.
    pub(crate) fn of_hook(self: &Arc<Self>, kind: HookKind) -> Option<Arc<Self>> {
        if self.command.is_none() {
            return Some(Arc::clone(self));
        }
        let mut hooks = self.hooks.iter();
        let (_, extra) = hooks.find(|(known, _)| *known == kind)?;
        Some(Arc::clone(extra))
    }

    /// What is sent before the job of call `nonce`.
    pub(crate) fn frames(&self, nonce: u64) -> impl Iterator<Item = ToTask> {
        let secrets = self.secrets.iter().map(move |secret| ToTask::Secret {
            nonce,
            name: secret.name.clone(),
            value: ByteBuf::from(secret.value.clone()),
        });
        let command = self.command.iter().map(move |spec| ToTask::Command {
            nonce,
            spec: ByteBuf::from(spec.clone()),
        });
        secrets.chain(command)
    }
}

/// What a configuration file says of tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    /// The tasks that are commands.
    pub specs: Vec<TaskSpec>,
    /// What is given to whom.
    pub of: HashMap<TaskName, Arc<Extra>>,
}

/// All that is wrong with tasks and secrets of a file, as far as the file alone tells.
pub(super) fn problems(file: &File) -> Vec<FileError> {
    let mut found = tasks::problems(file);
    found.extend(secrets::problems(file));
    if found.is_empty() {
        found.extend(missing_secret(file).err());
    }
    found
}

fn missing_secret(file: &File) -> Result<(), FileError> {
    let known = secrets::names(file)?;
    for declared in tasks::declared(file)? {
        for (key, command) in declared.commands() {
            let secrets = command.secrets();
            let mut strange = secrets
                .iter()
                .filter(|name| !known.contains(&name.as_str()));
            if let Some(name) = strange.next() {
                let table = file.table.table(tasks::TABLE)?;
                let name_of_task = declared.spec.name.as_str();
                let table = table.map(|all| all.table(name_of_task)).transpose()?;
                let table = table.flatten().unwrap_or(&file.table);
                let reason =
                    format!("has a place for the secret `{name}`, and there is no [secret.{name}]");
                return Err(table.wrong(key, reason));
            }
        }
    }
    Ok(())
}

/// The tasks of a file, for those who only want to know of them.
pub(crate) fn specs(environment: &Environment) -> Result<Vec<TaskSpec>, ConfigError> {
    let declared = environment.file().map(tasks::declared).transpose()?;
    let declared = declared.unwrap_or_default().into_iter();
    Ok(declared.map(|one| one.spec).collect())
}

/// Everything for a run: programs are looked for in `path`, secrets are read.
pub(super) fn read(environment: &Environment, path: &str) -> Result<Extras, ConfigError> {
    let Some(file) = environment.file() else {
        return Ok(Extras::default());
    };
    let mut declared = tasks::declared(file)?;
    tasks::find_programs(file, &mut declared, path)?;
    let secrets = secrets::read(file, environment)?.into_iter().map(Arc::new);
    let secrets: Vec<_> = secrets.collect();
    let mut of: HashMap<TaskName, Extra> = HashMap::new();
    for secret in &secrets {
        for task in &secret.tasks {
            of.entry(task.clone())
                .or_default()
                .secrets
                .push(Arc::clone(secret));
        }
    }
    for Declared {
        spec,
        command,
        hooks,
    } in &declared
    {
        let extra = of.entry(spec.name.clone()).or_default();
        let own = Extra::of(command, &secrets);
        let more = own.secrets.into_iter();
        let more: Vec<_> = more.filter(|one| !extra.secrets.contains(one)).collect();
        extra.secrets.extend(more);
        extra.command = own.command;
        let hooks = hooks.iter();
        let hooks = hooks.map(|(kind, command)| (*kind, Arc::new(Extra::of(command, &secrets))));
        extra.hooks = hooks.collect();
    }
    Ok(Extras {
        specs: declared.into_iter().map(|one| one.spec).collect(),
        of: of
            .into_iter()
            .map(|(task, extra)| (task, Arc::new(extra)))
            .collect(),
    })
}

/// How tasks and secrets are shown among the options: commands as they are written, secrets not.
pub(super) fn settings(environment: &Environment) -> Result<Vec<Setting>, ConfigError> {
    let Some(file) = environment.file() else {
        return Ok(Vec::new());
    };
    let line = |kind: &str, name: &str| {
        let table = file.table.table(kind).ok().flatten();
        table
            .and_then(|all| all.get(name))
            .map_or(0, |item| item.at.line)
    };
    let mut settings = Vec::new();
    for Declared { spec, command, .. } in tasks::declared(file)? {
        let words = command.words.iter().map(ToString::to_string);
        let words: Vec<_> = std::iter::once(command.program.clone())
            .chain(words)
            .collect();
        settings.push(Setting {
            name: format!("{}.{}", tasks::TABLE, spec.name),
            value: Some(serde_json::json!(words).to_string()),
            source: Source::File(line(tasks::TABLE, spec.name.as_str())),
        });
    }
    for name in secrets::names(file)? {
        settings.push(Setting {
            name: format!("{}.{name}", secrets::TABLE),
            value: Some("(secret)".into()),
            source: Source::File(line(secrets::TABLE, name)),
        });
    }
    Ok(settings)
}

#[cfg(test)]
mod tests;
