//! Arguments that stand in the file itself, and what a command takes of them.

use serde_json::{Map, Value as Json};

use super::super::file::{FileError, Item, Table, Value};

const TAKES: &str = "takes texts, whole numbers, `true`, `false`, and lists of them";

/// `defaults`: one value for each parameter.
pub(super) fn defaults(table: &Table) -> Result<Map<String, Json>, FileError> {
    let Some(defaults) = table.table("defaults")? else {
        return Ok(Map::new());
    };
    let value = |(name, item): (&str, &Item)| match json(item, false) {
        Some(value) => Ok((name.to_owned(), value)),
        None => Err(defaults.wrong(name, TAKES)),
    };
    defaults.entries().map(value).collect()
}

/// A list of arguments, each of any kind that JSON has as well.
pub(super) fn by_position(table: &Table, key: &str) -> Result<Vec<Json>, FileError> {
    let wrong = |at: &Item| table.wrong_at(at.at, key, "takes a list (as in [\"a\", 5])");
    match table.get(key) {
        None => Ok(Vec::new()),
        Some(Item {
            value: Value::List(items),
            ..
        }) => {
            let value = |item: &Item| json(item, true).ok_or_else(|| wrong(item));
            items.iter().map(value).collect()
        }
        Some(item) => Err(wrong(item)),
    }
}

/// A table of arguments, each of any kind that JSON has as well.
pub(super) fn by_name(table: &Table, key: &str) -> Result<Map<String, Json>, FileError> {
    let Some(named) = table.table(key)? else {
        return Ok(Map::new());
    };
    let value = |(name, item): (&str, &Item)| match json(item, true) {
        Some(value) => Ok((name.to_owned(), value)),
        None => Err(named.wrong(name, TAKES)),
    };
    named.entries().map(value).collect()
}

/// A value as JSON; nothing if it is a date, a fraction, or a table where none may be.
fn json(item: &Item, tables: bool) -> Option<Json> {
    Some(match &item.value {
        Value::Text(text) => Json::from(text.clone()),
        Value::Integer(number) => Json::from(*number),
        Value::Flag(flag) => Json::from(*flag),
        Value::List(items) => {
            let items = items.iter().map(|item| json(item, tables));
            Json::Array(items.collect::<Option<_>>()?)
        }
        Value::Table(table) if tables => {
            let entries = table.entries();
            let entries = entries.map(|(name, item)| Some((name.to_owned(), json(item, true)?)));
            Json::Object(entries.collect::<Option<_>>()?)
        }
        Value::Table(_) | Value::Other(_) => return None,
    })
}
