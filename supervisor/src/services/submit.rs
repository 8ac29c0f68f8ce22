//! Flows that tasks submit: what their profile allows, nothing of it otherwise.

use std::collections::HashMap;

use bulkhead_shared::ask::{Became, Denied, Reply};
use bulkhead_shared::backend::Backend;
use bulkhead_shared::broker::{BrokerError, Receipt, Submitted};
use bulkhead_shared::catalog::{JobRow, State};
use bulkhead_shared::client::{Client, ClientError};
use bulkhead_shared::flow::{Chain, Flow};
use bulkhead_shared::message::Message;
use bulkhead_shared::name::{QueueName, TaskName};

use super::{May, away, invalid};

/// What the asker may.
#[derive(Debug)]
pub(super) struct Grant<'a> {
    pub profile: &'a str,
    pub may: &'a May,
    /// Asks it has left: each message is one.
    pub left: u32,
}

/// Submits a flow for the job that is held under `receipt`.
///
/// Whether it is still held is looked at just before. Between that look and the submission the lease
/// may be lost all the same: then the flow is submitted by an attempt that was given up in that moment.
pub(super) fn submit(
    backend: &Backend,
    receipt: &Receipt,
    grant: &Grant<'_>,
    flow: &[u8],
) -> Reply {
    try_submit(backend, receipt, grant, flow).unwrap_or_else(|denied| denied)
}

fn try_submit(
    backend: &Backend,
    receipt: &Receipt,
    grant: &Grant<'_>,
    flow: &[u8],
) -> Result<Reply, Reply> {
    let mut chain = Chain::from_json(flow).map_err(|error| invalid(&error))?;
    let known = registrations(backend).map_err(|error| away(&error))?;
    let messages = admit(&mut chain, receipt, grant, &known)?;
    let flow = chain.build().map_err(|error| invalid(&error))?;
    if !is_held(backend, receipt).map_err(|error| away(&error))? {
        return Err(super::journal::lost());
    }
    let client = Client::new(backend.clone());
    let submitted = client.submit_flows(std::slice::from_ref(&flow));
    let ticket = match submitted.map(|tickets| tickets.into_iter().next()) {
        Ok(Some(ticket)) => ticket,
        Ok(None) => {
            return Err(Reply::denied(
                Denied::Invalid,
                "there is nothing in the flow",
            ));
        }
        Err(ClientError::Store(error) | ClientError::Partly { source: error, .. }) => {
            return Err(away(&error));
        }
        Err(error) => return Err(invalid(&error)),
    };
    let became = match ticket.submitted {
        Submitted::Created => Became::New,
        Submitted::Closed => Became::Draining,
        Submitted::NotUnique { by } => Became::NotUnique {
            by: by.into_bytes(),
        },
        Submitted::Duplicate => {
            if let Flow::Job(message) = &flow {
                same(&client, message)?;
            }
            Became::Known
        }
    };
    Ok(Reply::Submitted {
        uuid: ticket.uuid.into_bytes(),
        queue: ticket.queue.as_str().into(),
        became,
        messages,
    })
}

type Registrations = HashMap<TaskName, Option<QueueName>>;

fn registrations(backend: &Backend) -> Result<Registrations, BrokerError> {
    let tasks = backend.catalog.tasks()?;
    Ok(tasks
        .into_iter()
        .map(|spec| (spec.name, spec.queue))
        .collect())
}

/// Settles the queue of every message, so that none goes elsewhere than where it was looked at, and
/// denies the flow if one of them is not allowed. Returns how many there are.
fn admit(
    chain: &mut Chain,
    receipt: &Receipt,
    grant: &Grant<'_>,
    known: &Registrations,
) -> Result<u32, Reply> {
    let mut messages = 0_u32;
    let mut forbidden = None;
    chain.each(&mut |step| {
        messages = messages.saturating_add(1);
        let registered = || known.get(&step.task).cloned().flatten();
        let queue = step.queue.take().or_else(registered).unwrap_or_default();
        let lock = step.header.lock.as_ref().map(|lock| &lock.name);
        let target = (&queue, &step.task);
        forbidden = forbidden
            .take()
            .or_else(|| grant.may.forbids_message(grant.profile, target, lock));
        step.queue = Some(queue);
        step.header.submitted_by = Some(receipt.uuid);
    });
    if let Some(text) = forbidden {
        return Err(Reply::denied(Denied::Forbidden, text));
    }
    if messages > grant.left {
        let (profile, left) = (grant.profile, grant.left);
        let text = format!(
            "the flow has {messages} messages, and the attempt has {left} asks left, each message being one (submit less, or raise `all-asks` of the profile `{profile}`)"
        );
        return Err(Reply::denied(Denied::TooMany, text));
    }
    Ok(messages)
}

/// Whether the attempt has its job still.
fn is_held(backend: &Backend, receipt: &Receipt) -> Result<bool, BrokerError> {
    let rows = backend.catalog.jobs_by_id(&[receipt.uuid])?;
    Ok(rows.iter().flatten().any(|row| holds(receipt, row)))
}

pub(super) fn holds(receipt: &Receipt, row: &JobRow) -> bool {
    row.uuid == receipt.uuid && row.state == State::Leased && row.fence == receipt.fence
}

/// Denies a message whose uuid stands for another one.
fn same(client: &Client, message: &Message) -> Result<(), Reply> {
    let kept = match client.message(message.uuid) {
        Ok(kept) => kept,
        // It has ended and was forgotten since.
        Err(ClientError::NotFound { .. }) => return Ok(()),
        Err(ClientError::Store(error)) => return Err(away(&error)),
        Err(error) => return Err(invalid(&error)),
    };
    let (arguments, _) = kept.parts();
    let encoding = kept.header.encoding.unwrap_or_default();
    let is_same = kept.task == message.task
        && encoding
            .to_json(arguments)
            .is_ok_and(|json| json == message.payload);
    match is_same {
        true => Ok(()),
        false => {
            let text = format!(
                "job {} is known, and has another task or other arguments (leave the uuid out, or give each message its own)",
                message.uuid
            );
            Err(Reply::denied(Denied::Invalid, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_shared::Uuid;
    use bulkhead_shared::backend::{self, Options};
    use bulkhead_shared::broker::{Claim, Selection, SupervisorId};
    use std::time::Duration;

    fn claimed(backend: &Backend) -> Receipt {
        let client = Client::new(backend.clone());
        let _ = client.submit(Message::new("plan")).unwrap();
        let selection = Selection {
            queues: vec![QueueName::default()],
            tasks: vec![TaskName::new("plan").unwrap()],
        };
        let claim = Claim {
            owner: SupervisorId(Uuid::now_v7()),
            selection: &selection,
            room: 1,
            lease: Duration::from_secs(60),
        };
        let mut turned = backend.broker.turn(Vec::new(), Some(claim)).unwrap();
        turned.claimed.remove(0).receipt
    }

    fn store() -> Backend {
        backend::open(&Options::new("sqlite::memory:")).unwrap()
    }

    fn grant(may: &May, left: u32) -> Grant<'_> {
        Grant {
            profile: "p",
            may,
            left,
        }
    }

    #[track_caller]
    fn denied(reply: &Reply, expected: Denied) {
        let is_so = matches!(reply, Reply::Denied { why, .. } if *why == expected);
        assert!(is_so, "{reply:?}");
    }

    #[test]
    fn an_attempt_that_has_lost_its_job_submits_nothing() {
        let backend = store();
        let receipt = claimed(&backend);
        let (may, flow) = (May::default(), Chain::from(Message::new("add")));
        let flow = flow.to_json().unwrap();
        let older = Receipt {
            fence: receipt.fence - 1,
            ..receipt.clone()
        };
        denied(
            &submit(&backend, &older, &grant(&may, 9), &flow),
            Denied::Lost,
        );
        let Reply::Submitted { uuid, became, .. } =
            submit(&backend, &receipt, &grant(&may, 9), &flow)
        else {
            panic!("the attempt has its job");
        };
        assert_eq!(became, Became::New);
        let kept = Client::new(backend)
            .message(Uuid::from_bytes(uuid))
            .unwrap();
        assert_eq!(kept.header.submitted_by, Some(receipt.uuid));
    }

    #[test]
    fn each_message_of_a_flow_is_an_ask() {
        let backend = store();
        let receipt = claimed(&backend);
        let may = May::default();
        let flow = || Chain::from([Message::new("a"), Message::new("b"), Message::new("c")]);
        let try_with = |left| {
            let flow = flow().to_json().unwrap();
            submit(&backend, &receipt, &grant(&may, left), &flow)
        };
        denied(&try_with(2), Denied::TooMany);
        assert!(matches!(try_with(3), Reply::Submitted { messages: 3, .. }));
    }
}
