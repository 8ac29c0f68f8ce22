//! What must be there when all has ended.

use std::collections::HashSet;

use bulkhead_shared::Uuid;
use bulkhead_shared::broker::{Claimed, Receipt};
use bulkhead_shared::catalog::Filter;
use bulkhead_shared::flow::OnFailed;
use bulkhead_tests::flow::{header_of, previous_of};
use bulkhead_tests::queue;
use serde_json::{Value, json};

use super::{Fate, Plan, QUEUES, World};

/// Stands for what a join is told of a failed member.
const FAILED: &str = "failed";

impl World {
    /// Looks at everything that is there.
    pub(super) fn check(&self) {
        let mut expected = HashSet::new();
        for steps in &self.flows {
            self.line(steps, Origin::Nothing, &mut expected);
        }
        let catalog = &self.scene.store.catalog;
        let rows = catalog.list(&Filter::default(), 100_000).unwrap();
        let there: HashSet<Uuid> = rows.iter().map(|row| row.uuid).collect();
        assert_eq!(there.len(), rows.len(), "a job is there twice");
        assert_eq!(there, expected);
        let counts = catalog.flows().unwrap();
        assert_eq!((counts.groups, counts.errands), (0, 0));
    }

    /// What a line of steps ends with, if all is as it should be; the jobs that must be there.
    fn line(&self, steps: &[Plan], mut origin: Origin, there: &mut HashSet<Uuid>) -> Origin {
        for step in steps {
            origin = match step {
                Plan::Job { uuid, .. } => self.job(*uuid, &origin, there),
                Plan::Group {
                    uuid,
                    members,
                    join,
                    on_failed,
                } => {
                    let ends = members
                        .iter()
                        .map(|line| self.line(line, origin.clone(), there));
                    let joined = self.group(*uuid, &ends.collect::<Vec<_>>(), *on_failed);
                    self.line(join, joined, there)
                }
            };
            if let Origin::Ended = origin {
                break;
            }
        }
        origin
    }

    fn job(&self, uuid: Uuid, origin: &Origin, there: &mut HashSet<Uuid>) -> Origin {
        let fate = *self
            .fates
            .get(&uuid)
            .unwrap_or_else(|| panic!("{uuid} has not ended"));
        if fate != Fate::Removed {
            there.insert(uuid);
            let message = self.message(uuid);
            let previous = previous_of(&message);
            let previous = previous.map(|text| plain(serde_json::from_str(&text).unwrap()));
            let is_refused = header_of(&message).refusal.is_some();
            match origin {
                Origin::Nothing => assert_eq!((previous, is_refused), (None, false), "{uuid}"),
                Origin::Result(result) => {
                    let told = (previous.as_ref(), is_refused);
                    assert_eq!(told, (Some(result), false), "{uuid}");
                }
                Origin::Refused => assert_eq!((previous, is_refused), (None, true), "{uuid}"),
                Origin::Ended => panic!("{uuid} follows what has failed"),
            }
        }
        match (fate, origin) {
            (Fate::Succeeded, Origin::Refused) => panic!("{uuid} was refused, and ran"),
            (Fate::Succeeded, _) => Origin::Result(json!(uuid)),
            (Fate::Failed | Fate::Removed, _) => Origin::Ended,
        }
    }

    fn message(&self, uuid: Uuid) -> Claimed {
        let row = self.scene.row(uuid);
        let payload = self.scene.store.catalog.payload(uuid).unwrap().unwrap();
        Claimed {
            receipt: Receipt {
                uuid,
                fence: row.fence,
                mark: 0,
                queue: queue(QUEUES[0]),
            },
            task: row.task,
            header: row.header,
            payload,
            history: row.history,
        }
    }

    /// What a group hands on, if it has counted as it should.
    fn group(&self, uuid: Uuid, ends: &[Origin], on_failed: OnFailed) -> Origin {
        let row = self.scene.store.catalog.groups(&[uuid]).unwrap().remove(0);
        let row = row.expect("the group was opened");
        let is_failed = |end: &Origin| !matches!(end, Origin::Result(_));
        let failed = ends.iter().filter(|end| is_failed(end)).count();
        assert_eq!(usize::try_from(row.members).unwrap(), ends.len());
        assert_eq!(row.ended, row.members, "{uuid}");
        assert_eq!(usize::try_from(row.failed).unwrap(), failed, "{uuid}");
        assert!(row.closed_at.is_some(), "{uuid}");
        if failed > 0 && on_failed == OnFailed::Stop {
            return Origin::Refused;
        }
        let result = |end: &Origin| match (end, on_failed) {
            (Origin::Result(value), _) => value.clone(),
            (_, OnFailed::Error) => json!(FAILED),
            (_, OnFailed::Stop | OnFailed::Null) => Value::Null,
        };
        Origin::Result(ends.iter().map(result).collect())
    }
}

/// What a join is told of a failed member, in short.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(error) if error.contains_key("error") => json!(FAILED),
        Value::Array(all) => all.into_iter().map(plain).collect(),
        other => other,
    }
}

/// What comes before a step.
#[derive(Debug, Clone)]
enum Origin {
    Nothing,
    Result(Value),
    /// A group that stops at failed members: the step is there, and does not run.
    Refused,
    /// A failure: the step is not there.
    Ended,
}
