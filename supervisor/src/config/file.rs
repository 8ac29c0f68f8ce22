//! The configuration file as it is written: values with their places, so that whatever is wrong
//! with one can be said with its line. Knows no key. The only file that names `toml`.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest file in bytes: thousands of tasks.
const LONGEST: u64 = 4 << 20;

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {}{reason}", file.display(), if key.is_empty() { String::new() } else { format!("`{key}` ") })]
pub(crate) struct FileError {
    /// The file.
    pub file: Arc<Path>,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// The whole key, as in `task.thumbnail.command`; empty if the file is no TOML.
    pub key: String,
    /// What is wrong with it, and the way out.
    pub reason: String,
}

/// Why there is no such file to be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReadError {
    #[error("cannot read the configuration file `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the configuration file `{}` has more than {LONGEST} bytes (is it the right one?)", path.display())]
    Long { path: PathBuf },
    #[error("the configuration file `{}` is not UTF-8 (save it as UTF-8)", path.display())]
    NotText { path: PathBuf },
    #[error("everybody can write to the configuration file `{}`, and it says which programs are run (run `chmod o-w` on it)", path.display())]
    Writable { path: PathBuf },
    #[error("the configuration file `{}` of this directory belongs to user {owner} (if you trust it, name it with --config)", path.display())]
    Foreign { path: PathBuf, owner: u32 },
    #[error(transparent)]
    Wrong(#[from] FileError),
}

/// Where something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub line: usize,
    pub column: usize,
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<Item>),
    Table(Table),
    /// A number with a fraction, or a date: no key takes one.
    Other(&'static str),
}

impl Value {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Flag(_) => "`true` or `false`",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub at: At,
    pub value: Value,
}

/// Keys and values that belong together.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    file: Arc<Path>,
    at: At,
    /// Its own whole key; empty for the whole file.
    name: String,
    entries: Vec<(String, Item)>,
}

/// A file that was read.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// All that is in it.
    pub table: Table,
    /// Whether only its owner may read it.
    pub is_private: bool,
}

impl File {
    /// Reads `path`. If it was merely found, and not named by anybody, it must be ours or root's.
    pub(crate) fn read(path: &Path, is_named: bool) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Read {
            path: path.into(),
            source,
        };
        let mut file = fs::File::open(path).map_err(failed)?;
        let data = file.metadata().map_err(failed)?;
        let us = nix::unistd::geteuid().as_raw();
        if !is_named && data.uid() != us && data.uid() != 0 {
            return Err(ReadError::Foreign {
                path: path.into(),
                owner: data.uid(),
            });
        }
        if data.is_file() && data.mode() & 0o002 != 0 {
            return Err(ReadError::Writable { path: path.into() });
        }
        let mut bytes = Vec::new();
        let mut most = Read::by_ref(&mut file).take(LONGEST + 1);
        most.read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LONGEST {
            return Err(ReadError::Long { path: path.into() });
        }
        let text =
            String::from_utf8(bytes).map_err(|_| ReadError::NotText { path: path.into() })?;
        Ok(Self {
            table: Table::parse(path, &text)?,
            is_private: data.mode() & 0o077 == 0,
        })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.table.file
    }

    /// What a relative path in it means.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        let directory = self.path().parent().unwrap_or_else(|| Path::new(""));
        directory.join(path)
    }
}

impl Table {
    /// Understands the text of a file.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        let file: Arc<Path> = path.into();
        let lines = Lines::of(text);
        let parsed = DeTable::parse(text).map_err(|error| {
            let At { line, column } = lines.at(error.span().map_or(0, |span| span.start));
            FileError {
                file: Arc::clone(&file),
                line,
                column,
                key: String::new(),
                reason: format!("this is not TOML: {}", error.message().replace('\n', ", ")),
            }
        })?;
        let reader = Reader { file, lines };
        Ok(reader.table(String::new(), parsed.span().start, parsed.get_ref()))
    }

    /// The whole key of one of its keys.
    pub(crate) fn whole(&self, key: &str) -> String {
        whole(&self.name, key)
    }

    /// What is wrong with the table itself.
    pub(crate) fn wrong_itself(&self, reason: impl Into<String>) -> FileError {
        FileError {
            key: self.name.clone(),
            ..self.wrong_at(self.at, "", reason)
        }
    }

    /// What is wrong with the value of `key`, or with its absence.
    pub(crate) fn wrong(&self, key: &str, reason: impl Into<String>) -> FileError {
        let at = self.get(key).map_or(self.at, |item| item.at);
        self.wrong_at(at, key, reason)
    }

    /// What is wrong with a part of the value of `key`.
    pub(crate) fn wrong_at(&self, at: At, key: &str, reason: impl Into<String>) -> FileError {
        FileError {
            file: Arc::clone(&self.file),
            line: at.line,
            column: at.column,
            key: self.whole(key),
            reason: reason.into(),
        }
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Item> {
        let found = self.entries.iter().find(|(name, _)| name == key);
        found.map(|(_, item)| item)
    }

    /// All keys with their values, in the order of the keys.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Item)> {
        self.entries
            .iter()
            .map(|(name, item)| (name.as_str(), item))
    }

    /// One error for each key that is not among `known`.
    pub(crate) fn strangers(&self, known: &[&str]) -> Vec<FileError> {
        let is_strange = |(key, _): &(&str, &Item)| !known.contains(key);
        let say = |(key, item): (&str, &Item)| {
            let way_out = match nearest(key, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.wrong_at(item.at, key, format!("is unknown ({way_out})"))
        };
        self.entries().filter(is_strange).map(say).collect()
    }

    fn mistyped(&self, key: &str, item: &Item, wanted: &str) -> FileError {
        let kind = item.value.kind();
        self.wrong_at(item.at, key, format!("is {kind}, but takes {wanted}"))
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, FileError> {
        match self.get(key) {
            None => Ok(None),
            Some(Item {
                value: Value::Text(text),
                ..
            }) => Ok(Some(text)),
            Some(item) => Err(self.mistyped(key, item, "a text (in quotation marks)")),
        }
    }

    /// A number.
    pub(crate) fn integer(&self, key: &str) -> Result<Option<i64>, FileError> {
        match self.get(key) {
            None => Ok(None),
            Some(Item {
                value: Value::Integer(number),
                ..
            }) => Ok(Some(*number)),
            Some(item) => Err(self.mistyped(key, item, "a whole number (without quotation marks)")),
        }
    }

    /// Yes or no.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, FileError> {
        match self.get(key) {
            None => Ok(None),
            Some(Item {
                value: Value::Flag(flag),
                ..
            }) => Ok(Some(*flag)),
            Some(item) => Err(self.mistyped(key, item, "`true` or `false`")),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, FileError> {
        let wanted = "a list of texts (as in [\"a\", \"b\"])";
        let Some(item) = self.get(key) else {
            return Ok(None);
        };
        let Value::List(items) = &item.value else {
            return Err(self.mistyped(key, item, wanted));
        };
        let text = |item: &'_ Item| match &item.value {
            Value::Text(_) => Ok(()),
            _ => Err(self.mistyped(key, item, wanted)),
        };
        items.iter().try_for_each(text)?;
        let texts = items.iter().filter_map(|item| match &item.value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        });
        Ok(Some(texts.collect()))
    }

    /// A list of exit codes.
    pub(crate) fn codes(&self, key: &str) -> Result<Option<Vec<u8>>, FileError> {
        let wanted = "a list of exit codes (as in [0, 1], up to 255)";
        let Some(item) = self.get(key) else {
            return Ok(None);
        };
        let Value::List(items) = &item.value else {
            return Err(self.mistyped(key, item, wanted));
        };
        let code = |item: &Item| match item.value {
            Value::Integer(code) => u8::try_from(code).ok(),
            _ => None,
        };
        let code = |item: &Item| {
            code(item).ok_or_else(|| self.wrong_at(item.at, key, format!("takes {wanted}")))
        };
        items.iter().map(code).collect::<Result<_, _>>().map(Some)
    }

    /// A table below this one.
    pub(crate) fn table(&self, key: &str) -> Result<Option<&Self>, FileError> {
        match self.get(key) {
            None => Ok(None),
            Some(Item {
                value: Value::Table(table),
                ..
            }) => Ok(Some(table)),
            Some(item) => {
                let name = self.whole(key);
                Err(self.mistyped(key, item, &format!("a table (as in [{name}])")))
            }
        }
    }

    /// The named tables below `key`: those of `[task.a]`, `[task.b]`.
    pub(crate) fn named(&self, key: &str) -> Result<Vec<(&str, &Self)>, FileError> {
        let Some(all) = self.table(key)? else {
            return Ok(Vec::new());
        };
        let named = all.entries.iter();
        named
            .map(|(name, _)| Ok((name.as_str(), all.table(name)?)))
            .map(|found: Result<_, FileError>| found.map(|(name, table)| table.map(|t| (name, t))))
            .filter_map(Result::transpose)
            .collect()
    }
}

fn whole(table: &str, key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let key = match !key.is_empty() && key.chars().all(is_bare) {
        true => key.to_owned(),
        false => format!("{key:?}"),
    };
    match table {
        "" => key,
        table => format!("{table}.{key}"),
    }
}

/// The known word that was probably meant.
fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|word| (distance(typed, word), *word));
    let (distance, word) = near.min()?;
    (distance <= 2 && distance < word.len()).then_some(word)
}

/// How many letters have to be changed, added or removed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

/// Where lines begin.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let after = text.match_indices('\n').map(|(index, _)| index + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(after).collect(),
        }
    }

    fn at(&self, offset: usize) -> At {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or_default();
        At {
            line,
            column: before.chars().count() + 1,
        }
    }
}

struct Reader<'a> {
    file: Arc<Path>,
    lines: Lines<'a>,
}

impl Reader<'_> {
    fn table(&self, name: String, start: usize, table: &DeTable<'_>) -> Table {
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| {
                let text = key.get_ref().to_string();
                let item = self.item(&whole(&name, &text), key.span().start, value);
                (text, item)
            })
            .collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        Table {
            file: Arc::clone(&self.file),
            at: self.lines.at(start),
            name,
            entries,
        }
    }

    fn item(&self, name: &str, start: usize, value: &Spanned<DeValue<'_>>) -> Item {
        let at = self.lines.at(start);
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                let digits = number.as_str();
                match i64::from_str_radix(digits, number.radix()) {
                    Ok(number) => Value::Integer(number),
                    Err(_) => Value::Other("a number of more than 64 bits"),
                }
            }
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Array(items) => {
                let item = |item: &Spanned<DeValue<'_>>| self.item(name, item.span().start, item);
                Value::List(items.iter().map(item).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(name.into(), start, table)),
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Datetime(_) => Value::Other("a date"),
        };
        Item { at, value }
    }
}

#[cfg(test)]
mod tests;
