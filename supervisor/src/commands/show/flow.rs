//! A flow as people like to read it.

use std::collections::BTreeMap;

use bulkhead_shared::Uuid;
use bulkhead_shared::client::{FlowState, FlowStep, FlowView};

/// Members of a group that are listed one by one; of more, their number by status.
const LISTED: usize = 20;

/// Steps of a chain that are listed.
const STEPS: usize = 50;

/// A flow, with a mark at the job `here`.
pub(super) fn page(view: &FlowView, here: Uuid) -> String {
    let mut page = format!("flow       {} ({})\n", view.uuid, state(view.state));
    lines(&view.steps, here, 1, &mut page);
    page
}

const fn state(state: FlowState) -> &'static str {
    match state {
        FlowState::Running => "RUNNING",
        FlowState::Succeeded => "SUCCEEDED",
        FlowState::Failed => "FAILED",
    }
}

fn lines(steps: &[FlowStep], here: Uuid, depth: usize, page: &mut String) {
    let indent = "    ".repeat(depth);
    for step in steps.iter().take(STEPS) {
        match step {
            FlowStep::Job {
                uuid,
                task,
                status,
                cause,
            } => {
                let task = task.as_ref().map_or("?", |task| task.as_str());
                let cause = cause.map_or_else(String::new, |cause| format!(" ({cause})"));
                let mark = if *uuid == here { "  <-" } else { "" };
                page.push_str(&format!("{indent}{uuid}  {task}  {status}{cause}{mark}\n"));
            }
            FlowStep::Group {
                uuid,
                ended,
                failed,
                members,
                ..
            } => {
                let all = members.len();
                let head = format!("group {uuid}  {ended} of {all} ended, {failed} failed");
                page.push_str(&format!("{indent}{head}\n"));
                group(members, here, depth + 1, page);
            }
        }
    }
    if let Some(more @ 1..) = steps.len().checked_sub(STEPS) {
        page.push_str(&format!("{indent}... and {more} more\n"));
    }
}

fn group(members: &[Vec<FlowStep>], here: Uuid, depth: usize, page: &mut String) {
    if members.len() <= LISTED {
        for member in members {
            lines(member, here, depth, page);
        }
        return;
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for step in members.iter().flatten() {
        let status = match step {
            FlowStep::Job { status, .. } => status.as_str(),
            FlowStep::Group { state: inner, .. } => state(*inner),
        };
        *counts.entry(status).or_default() += 1;
    }
    let indent = "    ".repeat(depth);
    for (status, count) in counts {
        page.push_str(&format!("{indent}{status}: {count}\n"));
    }
}
