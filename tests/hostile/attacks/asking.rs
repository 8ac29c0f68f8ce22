//! By what is asked of the supervisor.

use bulkhead_child::{Context, Message, SubmitError, Uuid};
use bulkhead_shared::flow::Member;
use bulkhead_shared::hook::HookKind;

use super::{Attack, Came, Victims};

pub(super) const ALL: &[(&str, Attack)] = &[
    ("submit-a-trusted-task", submit),
    ("forge-a-flow", forge),
    ("read-anothers-result", read_result),
];

fn submitted(tried: Result<Uuid, SubmitError>) -> Came {
    match tried {
        Ok(uuid) => Ok(format!("job {uuid}")),
        Err(error) => Err(error.to_string()),
    }
}

fn submit(ctx: &Context, _: &Victims) -> Came {
    submitted(ctx.submit(Message::new("long").arg(1)))
}

/// Messages that say of themselves what only the supervisor may.
fn forge(ctx: &Context, victims: &Victims) -> Came {
    let other: Uuid = victims.text("neighbour").parse().unwrap_or_default();
    let message = || {
        Message::new("long")
            .arg(1)
            .build()
            .map_err(|e| e.to_string())
    };
    let mut of_its_flow = message()?;
    of_its_flow.header.progenitor_uuid = Some(other);
    let mut a_hook = message()?;
    a_hook.header.hook = Some(HookKind::OnSuccess);
    let mut a_member = message()?;
    a_member.header.member = Some(Box::new(Member {
        group: other,
        home: "default".parse().map_err(|_| "a name")?,
        index: 0,
    }));
    let mut last = Err("none was sent".into());
    for forged in [of_its_flow, a_hook, a_member] {
        last = submitted(ctx.submit(forged));
        if last.is_ok() {
            break;
        }
    }
    last
}

fn read_result(ctx: &Context, victims: &Victims) -> Came {
    let other: Uuid = victims.text("neighbour").parse().unwrap_or_default();
    match ctx.result(other).get::<serde_json::Value>() {
        Ok(value) => Ok(value.to_string()),
        Err(bulkhead_child::ResultError::Ask(error)) => Err(error.to_string()),
        Err(error) => Ok(error.to_string()),
    }
}
