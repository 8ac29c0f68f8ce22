//! `[secret.NAME]` of the configuration file: what some tasks may know.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bulkhead_shared::TaskName;

use super::Environment;
use super::file::{File, FileError, Table};

/// The table of the file.
pub(super) const TABLE: &str = "secret";

const KEYS: [&str; 3] = ["file", "variable", "tasks"];

/// Longest secret in bytes: a key with its certificates.
const LONGEST: u64 = 64 << 10;

/// A secret. What is printed of it is not it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    pub name: String,
    pub value: Vec<u8>,
    /// Who may know it, beside the commands that have a place for it.
    pub tasks: Vec<TaskName>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

/// All that is wrong with how secrets are written down.
pub(super) fn problems(file: &File) -> Vec<FileError> {
    let named = match file.table.named(TABLE) {
        Ok(named) => named,
        Err(error) => return vec![error],
    };
    let each = named.into_iter().flat_map(|(name, table)| {
        let mut found = table.strangers(&KEYS);
        found.extend(place(name, table).err());
        found.extend(tasks(table).err());
        found
    });
    each.collect()
}

/// The names of all.
pub(super) fn names(file: &File) -> Result<Vec<&str>, FileError> {
    let named = file.table.named(TABLE)?;
    Ok(named.into_iter().map(|(name, _)| name).collect())
}

/// Reads all from where they are.
pub(super) fn read(file: &File, environment: &Environment) -> Result<Vec<Secret>, FileError> {
    let named = file.table.named(TABLE)?.into_iter();
    named
        .map(|(name, table)| {
            let value = match place(name, table)? {
                Place::File(path) => of_file(table, &file.resolve(Path::new(path)))?,
                Place::Variable(variable) => of_variable(table, variable, environment)?,
            };
            Ok(Secret {
                name: name.into(),
                value,
                tasks: tasks(table)?,
            })
        })
        .collect()
}

enum Place<'a> {
    File(&'a str),
    Variable(&'a str),
}

fn place<'a>(name: &str, table: &'a Table) -> Result<Place<'a>, FileError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(is_name) {
        let reason = "is a secret's name: write it of letters, digits, `_` and `-`";
        return Err(table.wrong_itself(reason));
    }
    match (table.text("file")?, table.text("variable")?) {
        (Some(path), None) => Ok(Place::File(path)),
        (None, Some(variable)) => Ok(Place::Variable(variable)),
        _ => Err(table.wrong(
            "file",
            "must say where the secret is, or `variable` must (a variable of the supervisor's environment); one of them",
        )),
    }
}

fn tasks(table: &Table) -> Result<Vec<TaskName>, FileError> {
    let names = table.texts("tasks")?.unwrap_or_default().into_iter();
    names
        .map(|name| TaskName::new(name).map_err(|error| table.wrong("tasks", error.to_string())))
        .collect()
}

fn of_file(table: &Table, path: &Path) -> Result<Vec<u8>, FileError> {
    let shown = path.display();
    let wrong = |reason: String| table.wrong("file", reason);
    let mut file = fs::File::open(path).map_err(|error| wrong(format!("`{shown}`: {error}")))?;
    let data = file.metadata().map_err(|error| wrong(error.to_string()))?;
    if data.is_file() && data.mode() & 0o077 != 0 {
        return Err(wrong(format!(
            "others can read `{shown}` (run `chmod 600` on it)"
        )));
    }
    let mut bytes = Vec::new();
    let read = Read::by_ref(&mut file)
        .take(LONGEST + 1)
        .read_to_end(&mut bytes);
    read.map_err(|error| wrong(format!("`{shown}`: {error}")))?;
    within(table, "file", &bytes)
}

fn of_variable(
    table: &Table,
    variable: &str,
    environment: &Environment,
) -> Result<Vec<u8>, FileError> {
    let value = environment.find(OsStr::new(variable));
    let value = value.ok_or_else(|| {
        table.wrong(
            "variable",
            format!("`{variable}` is not set in the supervisor's environment"),
        )
    })?;
    within(table, "variable", value.as_bytes())
}

/// Without the line break that editors and `echo` leave.
fn within(table: &Table, key: &str, bytes: &[u8]) -> Result<Vec<u8>, FileError> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    match bytes.len() as u64 {
        0 => Err(table.wrong(key, "has an empty secret")),
        len if len > LONGEST => Err(table.wrong(key, format!("has more than {LONGEST} bytes"))),
        _ => Ok(bytes.to_vec()),
    }
}
