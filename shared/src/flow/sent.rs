//! Flows as tasks send them to their supervisors: a list of steps as JSON, the form in which stores
//! keep what follows a message. The reader trusts nothing in it.

use super::plan::{Step, depth, each};
use super::{Chain, DEPTH_LIMIT, FlowError, JobStep, MEMBERS_LIMIT};
use crate::message::MessageBuilder;

impl Chain {
    /// The flow as JSON.
    ///
    /// # Errors
    /// [`FlowError`] with its way out.
    pub fn to_json(self) -> Result<Vec<u8>, FlowError> {
        let mut steps: Vec<Step> = self.into_steps()?.into();
        let mut packed = None;
        each(&mut steps, &mut |step| {
            if step.header.encoding.is_some() {
                packed.get_or_insert_with(|| step.task.clone());
            }
        });
        match packed {
            Some(task) => Err(FlowError::Packed { task }),
            None => serde_json::to_vec(&steps).map_err(FlowError::NoFlow),
        }
    }

    /// Reads what [`Chain::to_json`] or somebody who is not trusted has written. Each message in it is
    /// checked as if it was built here.
    ///
    /// # Errors
    /// [`FlowError`] with its way out.
    pub fn from_json(json: &[u8]) -> Result<Self, FlowError> {
        // As deep as the reader of JSON goes.
        let mut steps: Vec<Step> = serde_json::from_slice(json).map_err(FlowError::NoFlow)?;
        if steps.is_empty() {
            return Err(FlowError::EmptyChain);
        }
        let depth = depth(&steps);
        if depth > DEPTH_LIMIT {
            return Err(FlowError::TooDeep);
        }
        check_groups(&steps)?;
        let mut wrong = None;
        each(
            &mut steps,
            &mut |step| match MessageBuilder::again(step.clone()) {
                Ok(checked) => *step = checked,
                Err(error) => drop(wrong.get_or_insert(error)),
            },
        );
        let chain = Self {
            steps: steps.into(),
            depth,
            wrong,
        };
        chain.checked()
    }

    /// Calls `look` with each of its messages, in order: members of groups before their joins.
    pub fn each(&mut self, look: &mut dyn FnMut(&mut JobStep)) {
        each(self.steps.make_contiguous(), look);
    }
}

fn check_groups(steps: &[Step]) -> Result<(), FlowError> {
    for step in steps {
        let Step::Group(group) = step else {
            continue;
        };
        match group.members.len() {
            0 => return Err(FlowError::Empty),
            len if len > MEMBERS_LIMIT => return Err(FlowError::TooMany),
            _ => {}
        }
        for member in &group.members {
            if member.is_empty() {
                return Err(FlowError::EmptyChain);
            }
            check_groups(member)?;
        }
        check_groups(&group.join)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Flow, Group};
    use crate::message::{Encoding, Message};
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn whole() -> Chain {
        let add = |n: u32| Message::new("add").arg(n).queue("math").priority(3);
        let members = [add(1), add(2).callback(add(3))];
        Chain::from((
            add(0).unique_until_end("one").add_metadata("who", "me"),
            Group::new().members(members).join(add(4)),
        ))
    }

    #[test]
    fn a_flow_comes_back_as_it_was_sent() {
        let sent = whole().to_json().unwrap();
        let mut read = Chain::from_json(&sent).unwrap();
        let mut seen = Vec::new();
        read.each(&mut |step| {
            seen.push((
                step.uuid,
                String::from_utf8_lossy(&step.payload).into_owned(),
            ))
        });
        assert_eq!(seen.len(), 5);
        assert_eq!(seen[3].1, r#"{"args":[3],"kwargs":{}}"#);
        let Flow::Job(first) = read.build().unwrap() else {
            panic!("it begins with a message");
        };
        let after = first.descendants().unwrap();
        assert_eq!(after, seen[1..].iter().map(|one| one.0).collect::<Vec<_>>());
        assert!(first.header.unique.is_some() && first.header.metadata.is_some());
        assert_eq!((first.priority, first.uuid), (3, seen[0].0));
    }

    #[test]
    fn arguments_that_are_no_json_are_refused_where_they_are_sent() {
        let packed = Message::new("add").encoding(Encoding::MessagePack);
        let error = Chain::from(packed).to_json().unwrap_err();
        assert!(matches!(error, FlowError::Packed { .. }), "{error}");
    }

    /// A flow of one message that says this in its header.
    fn saying(key: &str, value: Value) -> Value {
        let mut header = json!({"v": 1, "created_at": 0});
        header[key] = value;
        let payload = json!({"args": [], "kwargs": {}});
        json!([{"job": {"uuid": Uuid::nil(), "task": "add", "header": header, "payload": payload}}])
    }

    #[track_caller]
    fn refused(flow: &Value, word: &str) {
        let error = Chain::from_json(flow.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains(word), "{word}: {error}");
    }

    #[test]
    fn what_only_stores_and_supervisors_say_is_refused() {
        let uuid = json!(Uuid::nil());
        let member = json!({"group": uuid, "home": "default", "index": 0});
        for (key, value) in [
            ("v", json!(2)),
            ("encoding", json!("messagepack")),
            ("expires_at", json!(1)),
            ("progenitor_uuid", uuid.clone()),
            ("previous_message_uuid", uuid.clone()),
            ("submitted_by", uuid.clone()),
            ("previous_bytes", json!(1)),
            ("then", json!([])),
            ("member", member),
            ("refusal", json!({"name": "a", "text": "b"})),
            ("hook", json!("on_success")),
        ] {
            refused(&saying(key, value), key);
        }
    }

    #[test]
    fn a_message_is_checked_as_its_builder_would() {
        let key = |most: u32| json!({"key": "k", "most": most});
        let long = json!("p".repeat(300));
        for (key, value, word) in [
            ("timeout_ms", json!(0), "timeout"),
            ("patience_ms", json!(u64::MAX), "patience"),
            ("ttl_ms", json!(0), "ttl"),
            ("memory", json!(5), "16MiB"),
            ("limits", json!({"processes": 1}), "processes"),
            ("concurrency", key(0), "concurrency"),
            ("unique", json!({"key": "k", "for_ms": 0}), "unique"),
            ("profile", long, "profile"),
            ("metadata", json!({"a": "x".repeat(70_000)}), "metadata"),
            ("metadata", json!(7), "no flow"),
        ] {
            refused(&saying(key, value), word);
        }
        let kept = saying("timeout_ms", json!(5));
        assert!(Chain::from_json(kept.to_string().as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_flow_is_refused() {
        let job = saying("v", json!(1))[0].clone();
        let group = |members: Value| json!([{"group": {"uuid": Uuid::nil(), "members": members}}]);
        refused(&json!({}), "no flow");
        refused(&json!([]), "no messages");
        refused(&group(json!([])), "no members");
        refused(&group(json!([[]])), "no messages");
        for payload in [
            json!([1]),
            json!({"args": {}}),
            json!({"kwargs": 1}),
            json!({"a": []}),
        ] {
            let mut odd = json!([job]);
            odd[0]["job"]["payload"] = payload;
            refused(&odd, "no flow");
        }
        let mut deep = json!([job]);
        for _ in 0..=DEPTH_LIMIT {
            deep = group(json!([deep]));
        }
        refused(&deep, "deeper");
        let steps = "[".repeat(100_000);
        assert!(Chain::from_json(steps.as_bytes()).is_err());
    }
}
