//! What follows a message, as it is typed: `callback` and `group`.

use bulkhead_shared::Uuid;
use bulkhead_shared::flow::{Chain, Flow, Group, OnFailed};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::line::Line;
use crate::commands::error::chain as because;

/// Several messages at once, and one when all have ended.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupLine {
    members: Vec<Line>,
    #[serde(default)]
    join: Option<Box<Line>>,
    #[serde(default)]
    on_failed: OnFailed,
    #[serde(default)]
    uuid: Option<Uuid>,
}

/// One message or a list of them.
pub(super) fn callbacks<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<Line>>, D::Error> {
    let one_or_many = |value: Value| match value {
        Value::Null => Ok(None),
        Value::Array(lines) => {
            let lines = lines.into_iter().map(serde_json::from_value);
            lines.collect::<Result<Vec<Line>, _>>().map(Some)
        }
        line => serde_json::from_value(line).map(|line| Some(vec![line])),
    };
    let wrong = |error| D::Error::custom(format!("in `callback`: {error}"));
    one_or_many(Value::deserialize(d)?).map_err(wrong)
}

impl Line {
    /// The message or the group it means, and what follows.
    pub(super) fn flow(self) -> Result<Flow, String> {
        self.chain()?.build().map_err(|error| because(&error))
    }

    fn checked(self) -> Result<Chain, String> {
        let checked = self.chain()?.checked();
        checked.map_err(|error| because(&error))
    }

    // As deep as the text is nested, which its reader bounds.
    fn chain(mut self) -> Result<Chain, String> {
        let (callback, group) = (self.callback.take(), self.group.take());
        if callback.is_some() && group.is_some() {
            return Err(
                "both `callback` and `group` are given (put the callback into the group's `join`)"
                    .into(),
            );
        }
        let mut chain = match &group {
            Some(_) if self.task.is_none() => {
                self.says_nothing_else()?;
                Chain::new()
            }
            _ => Chain::from(self.builder()?),
        };
        for line in callback.into_iter().flatten() {
            chain = chain.then(line.chain()?);
        }
        match group {
            Some(group) => Ok(chain.then(group.group()?)),
            None => Ok(chain),
        }
    }
}

impl GroupLine {
    fn group(self) -> Result<Group, String> {
        let mut group = Group::new().on_failed(self.on_failed);
        if let Some(uuid) = self.uuid {
            group = group.uuid(uuid);
        }
        for (line, place) in self.members.into_iter().zip(1..) {
            let member = line.checked();
            let member = member.map_err(|text| format!("in member {place} of a group: {text}"))?;
            group = group.member(member);
        }
        if let Some(join) = self.join {
            let join = join.checked();
            group = group.join(join.map_err(|text| format!("in the join of a group: {text}"))?);
        }
        Ok(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(json: &str) -> Result<Flow, String> {
        Line::parse(json.as_bytes(), &Line::default())?.flow()
    }

    fn descendants(json: &str) -> usize {
        match flow(json).unwrap() {
            Flow::Job(message) => message.descendants().unwrap().len(),
            Flow::Group(group) => group.descendants().len(),
        }
    }

    #[test]
    fn callbacks_nest_and_are_listed() {
        assert_eq!(descendants(r#"{"task":"a"}"#), 0);
        assert_eq!(descendants(r#"{"task":"a","callback":{"task":"b"}}"#), 1);
        let list = r#"{"task":"a","callback":[{"task":"b","callback":{"task":"c"}},{"task":"d"}]}"#;
        assert_eq!(descendants(list), 3);
        let many = vec![r#"{"task":"b"}"#; 10_000].join(",");
        assert_eq!(
            descendants(&format!(r#"{{"task":"a","callback":[{many}]}}"#)),
            10_000
        );
    }

    #[test]
    fn groups_stand_alone_or_follow_a_task() {
        let group = r#""group":{"members":[{"task":"m"},{"task":"n","callback":{"task":"o"}}],
            "join":{"task":"j","callback":{"task":"k"}},"on_failed":"null"}"#;
        assert_eq!(descendants(&format!("{{{group}}}")), 5);
        assert_eq!(descendants(&format!(r#"{{"task":"a",{group}}}"#)), 5);
    }

    #[test]
    fn wrong_flows_say_what_is_wrong_with_them() {
        let says = |json: &str, words: &[&str]| {
            let error = flow(json).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{word}: {error}");
            }
        };
        says(r#"{"group":{"members":[]}}"#, &["no members"]);
        says(
            r#"{"task":"a","group":{"member":[]}}"#,
            &["`member`", "`members`"],
        );
        says(
            r#"{"task":"a","callback":{"task":"b"},"group":{"members":[{"task":"c"}]}}"#,
            &["`join`"],
        );
        says(r#"{"task":"a","callback":{"args":[]}}"#, &["names no task"]);
        says(
            r#"{"task":"a","callback":{"tusk":"b"}}"#,
            &["callback", "`tusk`"],
        );
        says(
            r#"{"priority":1,"group":{"members":[{"task":"c"}]}}"#,
            &["without a task"],
        );
        says(
            r#"{"group":{"members":[{"task":"c"},{"task":"d","timeout":"0"}]}}"#,
            &["member 2", "timeout is zero"],
        );
        says(
            r#"{"group":{"members":[{"task":"c"}],"on_failed":"go"}}"#,
            &["`go`", "`stop`"],
        );
        let (uuid, twice) = (Uuid::now_v7(), r#"{"task":"c","uuid":"UUID"}"#);
        let twice = format!(r#"{{"group":{{"members":[{twice},{twice}]}}}}"#);
        says(
            &twice.replace("UUID", &uuid.to_string()),
            &["twice", &uuid.to_string()],
        );
        let deep = (0..200).fold(r#"{"task":"z"}"#.to_owned(), |inner, _| {
            format!(r#"{{"task":"a","callback":{inner}}}"#)
        });
        says(&deep, &["recursion limit"]);
        let large = format!(r#"{{"task":"b","args":["{}"]}}"#, "x".repeat(5 << 20));
        says(
            &format!(r#"{{"task":"a","callback":{large}}}"#),
            &["4194304"],
        );
    }
}
