//! `[task.NAME]` of the configuration file: tasks that are commands.

mod arguments;
mod hooks;
mod trigger;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_shared::TaskName;
use bulkhead_shared::backoff::Backoff;
use bulkhead_shared::command::{CommandSpec, Form, OUTPUT_LIMIT, Output, Source, Template};
use bulkhead_shared::hook::HookKind;
use bulkhead_shared::name::QueueName;
use bulkhead_shared::policy::{Keep, Retries};
use bulkhead_shared::task::TaskSpec;
use bulkhead_shared::time::millis;
use bulkhead_shared::units::{Size, duration};

use super::file::{File, FileError, Table, Value};

/// The table of the file.
pub(super) const TABLE: &str = "task";

/// Most tasks of one file, as of one child.
const MOST: usize = 4096;

const KEYS: [&str; 20] = [
    "command",
    "shell",
    "stdin",
    "files",
    "env",
    "output",
    "output-limit",
    "success",
    "retry",
    "dashes",
    "defaults",
    "queue",
    "timeout",
    "patience",
    "max-retries",
    "backoff",
    "memory",
    "profile",
    "concurrency",
    "result-ttl",
];

/// The program behind `shell = true`.
const SHELL: &str = "/bin/sh";

/// A task of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    pub spec: TaskSpec,
    pub command: CommandSpec,
    /// What is run after its ends.
    pub hooks: Vec<(HookKind, CommandSpec)>,
}

impl Declared {
    /// Its commands with the keys they stand under.
    pub(super) fn commands(&self) -> impl Iterator<Item = (&'static str, &CommandSpec)> {
        let hooks = self.hooks.iter();
        let hooks = hooks.map(|(kind, command)| (hooks::key_of(*kind), command));
        std::iter::once(("command", &self.command)).chain(hooks)
    }
}

/// All tasks of a file.
pub(super) fn declared(file: &File) -> Result<Vec<Declared>, FileError> {
    let named = file.table.named(TABLE)?;
    if named.len() > MOST {
        let reason = format!("has {} tasks, more than {MOST}", named.len());
        return Err(file.table.wrong(TABLE, reason));
    }
    let tables = named.into_iter().filter(|(_, table)| !is_of_child(table));
    tables
        .map(|(name, table)| declare(name, table, file))
        .collect()
}

/// Whether a table says nothing but which profile a task of the child has.
fn is_of_child(table: &Table) -> bool {
    let mut keys = table.entries().map(|(key, _)| key);
    keys.next() == Some("profile") && keys.next().is_none()
}

/// All that is wrong with the tasks of a file.
pub(super) fn problems(file: &File) -> Vec<FileError> {
    let named = match file.table.named(TABLE) {
        Ok(named) => named,
        Err(error) => return vec![error],
    };
    let keys = [&KEYS[..], &trigger::KEYS, &hooks::KEYS].concat();
    let own = named.into_iter().filter(|(_, table)| !is_of_child(table));
    let each = own.flat_map(|(name, table)| {
        let strange = table.strangers(&keys);
        match strange.is_empty() {
            true => declare(name, table, file).err().into_iter().collect(),
            false => strange,
        }
    });
    each.collect()
}

/// Has each task run the program that its name means here; `path` is the PATH of tasks.
pub(super) fn find_programs(
    file: &File,
    tasks: &mut [Declared],
    path: &str,
) -> Result<(), FileError> {
    for Declared {
        spec,
        command,
        hooks,
    } in tasks
    {
        let table = file.table.table(TABLE)?;
        let table = table.map(|all| all.table(spec.name.as_str()));
        let table = table.transpose()?.flatten().unwrap_or(&file.table);
        let wrong = |key: &str, reason| table.wrong(key, reason);
        find_program(file, command, path).map_err(|reason| wrong("command", reason))?;
        for (kind, command) in hooks {
            let key = hooks::key_of(*kind);
            find_program(file, command, path).map_err(|reason| wrong(key, reason))?;
        }
    }
    Ok(())
}

/// The error says what is missing.
fn find_program(file: &File, command: &mut CommandSpec, path: &str) -> Result<(), String> {
    let program = &command.program;
    let found = match program.contains('/') {
        true => Some(file.resolve(Path::new(program))).filter(|path| is_program(path)),
        false => in_path(program, path),
    };
    let found = found.and_then(|found| std::path::absolute(found).ok());
    let Some(found) = found else {
        let place = match program.contains('/') {
            true => String::new(),
            false => format!(" in `{path}`, the PATH of tasks"),
        };
        return Err(format!(
            "there is no program `{program}`{place} (install it, or write its whole path)"
        ));
    };
    command.program = found.to_string_lossy().into_owned();
    Ok(())
}

fn is_program(path: &Path) -> bool {
    use nix::unistd::{AccessFlags, access};
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

fn in_path(program: &str, path: &str) -> Option<PathBuf> {
    let places = path.split(':').filter(|place| place.starts_with('/'));
    places
        .map(|place| Path::new(place).join(program))
        .find(|path| is_program(path))
}

fn declare(name: &str, table: &Table, file: &File) -> Result<Declared, FileError> {
    let below = || file.table.wrong(TABLE, String::new());
    let command = command(table)?;
    let wrong = |key: &str, reason: String| table.wrong(key, reason);
    command
        .check()
        .map_err(|error| wrong("command", error.to_string()))?;
    let name = TaskName::new(name).map_err(|error| FileError {
        reason: error.to_string(),
        ..below()
    })?;
    let ms = |key| Ok(span(table, key)?.map(millis));
    let hooks = hooks::hooks(table)?;
    let spec = TaskSpec {
        trigger: trigger::trigger(table, &command)?,
        hooks: hooks.iter().map(|(kind, _)| *kind).collect(),
        queue: parsed(table, "queue", QueueName::new)?,
        timeout_ms: ms("timeout")?,
        patience_ms: ms("patience")?,
        max_retries: retries(table)?,
        backoff: span(table, "backoff")?.map(Backoff::constant),
        memory: parsed(table, "memory", str::parse::<Size>)?.map(|size| size.0),
        profile: table.text("profile")?.map(Into::into),
        concurrency: number(table, "concurrency", 1)?,
        result_ttl: parsed(table, "result-ttl", keep)?,
        params: command.params(),
        ..TaskSpec::new(name)
    };
    Ok(Declared {
        spec,
        command,
        hooks,
    })
}

fn command(table: &Table) -> Result<CommandSpec, FileError> {
    let key = "command";
    let words = table.texts(key)?;
    let words = words.ok_or_else(|| {
        table.wrong(
            key,
            "is missing (write command = [\"program\", \"{argument}\"])",
        )
    })?;
    let (program, words) = match (table.flag("shell")?, words.as_slice()) {
        (Some(true), [script, rest @ ..]) => {
            // The script is taken as it is: what it is given comes as $1, $2, ..., never as its text.
            let own = ["-c", script, "sh"].map(Template::plain);
            let rest = templates(table, key, rest)?;
            (SHELL.into(), own.into_iter().chain(rest).collect())
        }
        (_, words) => program_and_words(table, key, words)?,
    };
    let spec = CommandSpec {
        program,
        words,
        env: variables(table)?,
        stdin: source(table, "stdin")?,
        files: files(table)?,
        output: output(table)?,
        success: table.codes("success")?.unwrap_or_else(|| vec![0]),
        retry: table.codes("retry")?,
        // The arguments of a script are its own.
        dashes: table
            .flag("dashes")?
            .or(table.flag("shell")?)
            .unwrap_or(false),
        defaults: arguments::defaults(table)?,
    };
    if spec.success.is_empty() {
        return Err(table.wrong("success", "has no exit code: the task could never succeed"));
    }
    Ok(spec)
}

/// A program, which no argument has a say in, and the words after it.
fn program_and_words(
    table: &Table,
    key: &str,
    words: &[&str],
) -> Result<(String, Vec<Template>), FileError> {
    let (program, rest) = match words {
        [program, rest @ ..] if !program.is_empty() && !program.contains('\0') => (program, rest),
        _ => return Err(table.wrong(key, "names no program")),
    };
    if Template::parse(program).is_ok_and(|one| one.as_plain().is_none()) {
        return Err(table.wrong(
            key,
            "has a placeholder for its program: which one is run is not for messages to say",
        ));
    }
    Ok(((*program).to_owned(), templates(table, key, rest)?))
}

fn templates(table: &Table, key: &str, words: &[&str]) -> Result<Vec<Template>, FileError> {
    let words = words.iter().map(|word| Template::parse(word));
    let words: Result<_, _> = words.collect();
    words.map_err(|error| table.wrong(key, error.to_string()))
}

fn variables(table: &Table) -> Result<Vec<(String, Template)>, FileError> {
    let Some(env) = table.table("env")? else {
        return Ok(Vec::new());
    };
    let variable = |(name, _): (&str, _)| {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(env.wrong(name, "is no name of a variable"));
        }
        let text = env.text(name)?.unwrap_or_default();
        let template = Template::parse(text).map_err(|e| env.wrong(name, e.to_string()))?;
        Ok((name.to_owned(), template))
    };
    env.entries().map(variable).collect()
}

/// `"json"` for all arguments, `{ text = "parameter" }` for one.
fn source(table: &Table, key: &str) -> Result<Option<Source>, FileError> {
    let takes = "takes \"json\" for all arguments, or one of them: { text = \"name\" }, { bytes = \"name\" } (base64) or { json = \"name\" }";
    let one = match table.get(key).map(|item| &item.value) {
        None => return Ok(None),
        Some(Value::Text(text)) if text == Form::Json.as_str() => {
            let (form, param) = (Form::Json, None);
            return Ok(Some(Source { form, param }));
        }
        Some(Value::Table(one)) => one,
        Some(_) => return Err(table.wrong(key, takes)),
    };
    let (form, param) = form_and_name(one, takes)?;
    let place = Template::parse(&format!("{{{param}}}"));
    let is_param = place.is_ok_and(|place| place.params().eq([param.as_str()]));
    match is_param {
        true => Ok(Some(Source {
            form,
            param: Some(param),
        })),
        false => Err(table.wrong(key, format!("`{param}` is no name of a parameter"))),
    }
}

fn form_and_name(table: &Table, takes: &str) -> Result<(Form, String), FileError> {
    let mut given = Form::ALL.into_iter().filter_map(|form| {
        let name = table.text(form.as_str()).transpose()?;
        Some(name.map(|name| (form, name.to_owned())))
    });
    let count = table.entries().count();
    match (given.next(), count) {
        (Some(one), 1) => one,
        _ => Err(table.wrong_itself(takes)),
    }
}

fn files(table: &Table) -> Result<Vec<(String, Source)>, FileError> {
    let Some(files) = table.table("files")? else {
        return Ok(Vec::new());
    };
    let names = files.entries().map(|(name, _)| name);
    names
        .filter_map(|name| {
            Some(
                source(files, name)
                    .transpose()?
                    .map(|one| (name.into(), one)),
            )
        })
        .collect()
}

/// `"text"` for standard output, `{ bytes = "out.png" }` for a file.
fn output(table: &Table) -> Result<Option<Output>, FileError> {
    let takes = "takes \"json\", \"text\" or \"bytes\" for standard output, or a file: { bytes = \"out.png\" }";
    let limit = parsed(table, "output-limit", str::parse::<Size>)?.map_or(OUTPUT_LIMIT, |s| s.0);
    if limit > OUTPUT_LIMIT {
        let most = Size(OUTPUT_LIMIT);
        return Err(table.wrong(
            "output-limit",
            format!("is more than a result can have, {most}"),
        ));
    }
    let (form, file) = match table.get("output").map(|item| &item.value) {
        None => return Ok(None),
        Some(Value::Text(text)) => match Form::ALL.into_iter().find(|form| form.as_str() == text) {
            Some(form) => (form, None),
            None => return Err(table.wrong("output", takes)),
        },
        Some(Value::Table(one)) => {
            let (form, name) = form_and_name(one, takes)?;
            (form, Some(name))
        }
        Some(_) => return Err(table.wrong("output", takes)),
    };
    Ok(Some(Output { form, file, limit }))
}

fn retries(table: &Table) -> Result<Option<Retries>, FileError> {
    let key = "max-retries";
    match table.get(key).map(|item| &item.value) {
        Some(Value::Text(text)) if text == "unlimited" => Ok(Some(Retries::Unlimited)),
        Some(Value::Text(_)) => Err(table.wrong(key, "takes a number, or \"unlimited\"")),
        _ => Ok(number(table, key, 0)?.map(Retries::Times)),
    }
}

fn number(table: &Table, key: &str, least: u32) -> Result<Option<u32>, FileError> {
    let Some(number) = table.integer(key)? else {
        return Ok(None);
    };
    match u32::try_from(number) {
        Ok(number) if number >= least => Ok(Some(number)),
        _ => Err(table.wrong(
            key,
            format!("is {number}, but takes a number from {least} on"),
        )),
    }
}

fn span(table: &Table, key: &str) -> Result<Option<Duration>, FileError> {
    let found = parsed(table, key, duration)?;
    match found {
        Some(Duration::ZERO) if key == "timeout" => Err(table.wrong(key, "is zero")),
        found => Ok(found),
    }
}

fn keep(text: &str) -> Result<Keep, bulkhead_shared::units::UnitError> {
    match text {
        "none" => Ok(Keep::Forever),
        text => duration(text).map(|span| Keep::For { ms: millis(span) }),
    }
}

fn parsed<T, E: std::fmt::Display>(
    table: &Table,
    key: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, FileError> {
    let text = table.text(key)?;
    text.map(parse)
        .transpose()
        .map_err(|error| table.wrong(key, error.to_string()))
}

#[cfg(test)]
mod tests;
