//! Options from wherever they are given: the command line before the environment before the file
//! before the default. What is given elsewhere goes through the same parser as what is typed.

use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::file::{File, FileError, Value};
use super::{ConfigError, Environment};

/// What the names of variables begin with.
const PREFIX: &str = "BULKHEAD_";

/// Options whose value is a path: in the file a relative one begins at the file's directory.
const PATHS: [&str; 2] = ["child", "cwd"];

/// The option that is a table in the file, `[env]`, and adds up from all sources.
pub(super) const ENV: &str = "env";

/// Options that are looked for by `store_options`: where one of two is given, the other does not
/// count, and a URL may hold a password.
pub(super) const STORE: [&str; 2] = ["store", "store-file"];

/// Tables of the file that are no options.
pub(super) const TABLES: [&str; 5] = [
    ENV,
    super::tasks::TABLE,
    super::secrets::TABLE,
    "profile",
    "queue",
];

/// Where an option's value is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    CommandLine,
    Variable(String),
    /// Its line.
    File(usize),
    Default,
}

/// An option's value as it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// As in the file, and after `--`.
    pub name: String,
    /// `None` where nothing is given and the default depends on this machine.
    pub value: Option<String>,
    pub source: Source,
}

/// The options of `A`, as they are typed in `matches` and given elsewhere.
pub(super) fn complete<A: Args + FromArgMatches>(
    matches: Option<&ArgMatches>,
    environment: &Environment,
) -> Result<(A, Vec<Setting>), ConfigError> {
    let command = A::augment_args(Command::new("supervisor").no_binary_name(true));
    let mut words = Vec::new();
    let mut settings = Vec::new();
    for arg in command.get_arguments() {
        let Some(long) = arg.get_long() else {
            continue;
        };
        let typed = typed(arg, matches);
        if long == ENV {
            settings.extend(variables_of_tasks(environment, &mut words)?);
        }
        let is_elsewhere = typed.is_none() && long != ENV && !STORE.contains(&long);
        let (given, source) = match typed {
            Some(given) => (Some(given), Source::CommandLine),
            None if is_elsewhere => elsewhere(&command, arg, long, environment)?,
            None => (None, Source::Default),
        };
        if STORE.contains(&long) || long == ENV {
            words.extend(given.into_iter().flat_map(|given| given.words(long)));
            continue;
        }
        let shown = match &given {
            Some(given) => Some(given.show()),
            None => by_default(arg),
        };
        settings.push(Setting {
            name: long.into(),
            value: shown,
            source,
        });
        words.extend(given.into_iter().flat_map(|given| given.words(long)));
    }
    let parsed = command.try_get_matches_from(words)?;
    Ok((A::from_arg_matches(&parsed)?, settings))
}

/// All that is wrong with the options of `A` in `file`.
pub(super) fn examine<A: Args>(file: &File) -> Vec<FileError> {
    let command = A::augment_args(Command::new("supervisor").no_binary_name(true));
    let arguments = command.get_arguments();
    let given = arguments.filter_map(|arg| Some((arg, arg.get_long()?)));
    let found = given.filter(|(_, long)| *long != ENV && !STORE.contains(long));
    found
        .filter_map(|(arg, long)| in_file(&command, arg, long, file).err())
        .collect()
}

/// Names of the options of `A`, as the file knows them.
pub(super) fn names<A: Args>() -> Vec<String> {
    let command = A::augment_args(Command::new("supervisor"));
    let longs = command.get_arguments().filter_map(Arg::get_long);
    longs.map(str::to_owned).collect()
}

/// What an option is given.
enum Given {
    Flag(bool),
    /// Several if it may be repeated.
    Values(Vec<OsString>),
}

impl Given {
    /// As it is typed.
    fn words(self, long: &str) -> Vec<OsString> {
        match self {
            Self::Flag(false) => Vec::new(),
            Self::Flag(true) => vec![format!("--{long}").into()],
            Self::Values(values) => {
                let typed = values.into_iter().map(|value| {
                    let mut word = OsString::from(format!("--{long}="));
                    word.push(value);
                    word
                });
                typed.collect()
            }
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Flag(flag) => flag.to_string(),
            Self::Values(values) => {
                let texts = values.iter().map(|value| value.to_string_lossy());
                texts.collect::<Vec<_>>().join(",")
            }
        }
    }
}

fn is_flag(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

fn is_number(parser: &ValueParser) -> bool {
    let id = parser.type_id();
    id == std::any::TypeId::of::<u16>()
        || id == std::any::TypeId::of::<u32>()
        || id == std::any::TypeId::of::<std::num::NonZeroU16>()
}

fn typed(arg: &Arg, matches: Option<&ArgMatches>) -> Option<Given> {
    let (matches, id) = (matches?, arg.get_id().as_str());
    // Asked for an argument that this command does not have, clap panics.
    let is_there = matches.try_contains_id(id).unwrap_or(false);
    if !is_there || matches.value_source(id) != Some(ValueSource::CommandLine) {
        return None;
    }
    if is_flag(arg) {
        return Some(Given::Flag(true));
    }
    let raw = matches.get_raw(id)?.map(OsStr::to_owned);
    Some(Given::Values(match arg.get_value_delimiter() {
        Some(delimiter) => vec![join(raw, delimiter)],
        None => raw.collect(),
    }))
}

fn join(parts: impl Iterator<Item = OsString>, delimiter: char) -> OsString {
    let mut whole = OsString::new();
    for (index, part) in parts.enumerate() {
        if index > 0 {
            whole.push(delimiter.to_string());
        }
        whole.push(part);
    }
    whole
}

fn by_default(arg: &Arg) -> Option<String> {
    if is_flag(arg) {
        return Some("false".into());
    }
    let value = arg.get_default_values().first()?;
    Some(value.to_string_lossy().into_owned())
}

fn elsewhere(
    command: &Command,
    arg: &Arg,
    long: &str,
    environment: &Environment,
) -> Result<(Option<Given>, Source), ConfigError> {
    let variable = variable(long);
    let value = environment.find(OsStr::new(&variable));
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        let refused = |reason| ConfigError::Variable {
            variable: variable.clone(),
            reason,
        };
        let given = of_variable(arg, value).map_err(refused)?;
        check(command, &given, long).map_err(refused)?;
        return Ok((Some(given), Source::Variable(variable)));
    }
    let Some(file) = &environment.file else {
        return Ok((None, Source::Default));
    };
    Ok(match in_file(command, arg, long, file)? {
        Some((given, line)) => (Some(given), Source::File(line)),
        None => (None, Source::Default),
    })
}

/// The variable of an option.
pub(super) fn variable(long: &str) -> String {
    let name = long.replace('-', "_").to_ascii_uppercase();
    format!("{PREFIX}{name}")
}

fn of_variable(arg: &Arg, value: &OsStr) -> Result<Given, String> {
    if !is_flag(arg) {
        return Ok(Given::Values(vec![value.to_owned()]));
    }
    match value.to_str() {
        Some("1" | "true") => Ok(Given::Flag(true)),
        Some("0" | "false") => Ok(Given::Flag(false)),
        _ => Err(format!("is `{}`, but takes `1` or `0`", value.display())),
    }
}

fn in_file(
    command: &Command,
    arg: &Arg,
    long: &str,
    file: &File,
) -> Result<Option<(Given, usize)>, FileError> {
    let table = &file.table;
    let Some(item) = table.get(long) else {
        return Ok(None);
    };
    let given = if is_flag(arg) {
        table.flag(long)?.map(Given::Flag)
    } else if is_number(arg.get_value_parser()) {
        let number = table.integer(long)?;
        number.map(|number| Given::Values(vec![number.to_string().into()]))
    } else if let Some(delimiter) = arg.get_value_delimiter() {
        let texts = table.texts(long)?.unwrap_or_default();
        if let Some(text) = texts.iter().find(|text| text.contains(delimiter)) {
            return Err(table.wrong(long, format!("has `{text}` in it, which is no name")));
        }
        let texts = texts.into_iter().map(OsString::from);
        Some(Given::Values(vec![join(texts, delimiter)]))
    } else {
        let text = table.text(long)?;
        let value = text.map(|text| match PATHS.contains(&long) {
            true => file.resolve(Path::new(text)).into(),
            false => OsString::from(text),
        });
        value.map(|value| Given::Values(vec![value]))
    };
    let Some(given) = given else {
        return Ok(None);
    };
    check(command, &given, long).map_err(|reason| table.wrong(long, reason))?;
    Ok(Some((given, item.at.line)))
}

/// Has the parser look at one option alone, so that what is wrong with it is told with its place.
fn check(command: &Command, given: &Given, long: &str) -> Result<(), String> {
    let words = match given {
        Given::Flag(_) => return Ok(()),
        Given::Values(values) => Given::Values(values.clone()).words(long),
    };
    match command.clone().try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("is `{}`: {}", given.show(), reason(&error))),
    }
}

/// What clap says, without its way of saying it.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) => format!("it must be one of {}", valid.join(", ")),
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        }
    }
}

/// The environment of tasks, as `[env]` of the file says it: what is typed comes after it.
fn variables_of_tasks(
    environment: &Environment,
    words: &mut Vec<OsString>,
) -> Result<Vec<Setting>, FileError> {
    let Some(file) = &environment.file else {
        return Ok(Vec::new());
    };
    let mut settings = Vec::new();
    for (name, value, line) in env_table(file)? {
        let text = match &value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        };
        words.push(format!("--{ENV}={text}").into());
        settings.push(Setting {
            name: format!("{ENV}.{name}"),
            value: value.or_else(|| Some("(copied)".into())),
            source: Source::File(line),
        });
    }
    Ok(settings)
}

/// Name, value (`None` to copy the supervisor's) and line of each.
pub(super) fn env_table(file: &File) -> Result<Vec<(String, Option<String>, usize)>, FileError> {
    let Some(table) = file.table.table(ENV)? else {
        return Ok(Vec::new());
    };
    let entry = |(name, item): (&str, &super::file::Item)| {
        if name.is_empty() || name.contains('=') {
            return Err(table.wrong(name, "is no name of a variable"));
        }
        let value = match &item.value {
            Value::Text(text) if text.contains('\0') => {
                return Err(table.wrong(name, "has a NUL in it, which no variable can have"));
            }
            Value::Text(text) => Some(text.clone()),
            Value::Flag(true) => None,
            _ => {
                let takes = "takes a text, or `true` to copy the supervisor's";
                return Err(table.wrong(name, takes));
            }
        };
        Ok((name.to_owned(), value, item.at.line))
    };
    table.entries().map(entry).collect()
}

#[cfg(test)]
mod tests;
