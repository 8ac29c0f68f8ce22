//! A claimed job on its way through the supervisor.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_shared::broker::{Claimed, Receipt};
use bulkhead_shared::flow::follow::Thread;
use bulkhead_shared::history::History;
use bulkhead_shared::hook::{HookKind, Hooked};
use bulkhead_shared::limits::Limits;
use bulkhead_shared::message::{HEADER_VERSION, Header};
use bulkhead_shared::outcome::{Cause, ErrorDetails, Outcome};
use bulkhead_shared::policy::{Defaults, Policy};
use bulkhead_shared::task::{Mechanism, TaskSpec};
use bulkhead_shared::{QueueName, TaskName, Timestamp};

use crate::config::extras::Extra;
use crate::pool::{Lane, TicketId};
use crate::sandbox::menu::{Menu, Within};

/// Longest run of an attempt where neither message nor task says anything, as in the reference.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);

/// A run that has no time left has this much, to find that out.
const SHORTEST: Duration = Duration::from_millis(1);

/// A claimed job.
#[derive(Debug)]
pub(crate) struct Job {
    pub ticket: TicketId,
    pub receipt: Receipt,
    pub task: TaskName,
    pub header: Vec<u8>,
    pub payload: Vec<u8>,
    pub history: History,
    pub policy: Policy,
    /// How long this run may take: its timeout, without what earlier runs of the attempt took
    /// before they went to sleep.
    pub left: Duration,
    /// The number of its profile.
    pub profile: u16,
    /// How that isolates it here.
    pub isolation: Arc<str>,
    /// What kind of place it needs.
    pub lane: Lane,
    pub expires_at: Option<Timestamp>,
    /// What hangs on its end.
    pub thread: Option<Box<Thread>>,
    /// Whom its ends are told to.
    pub hooked: Option<Box<Hooked>>,
    /// The hook of its task that it runs.
    pub hook: Option<HookKind>,
    /// What its task is given beside it.
    pub extra: Option<Arc<Extra>>,
}

/// What jobs are resolved against.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub defaults: Defaults,
    pub specs: Arc<HashMap<TaskName, TaskSpec>>,
    pub extras: Arc<HashMap<TaskName, Arc<Extra>>>,
    /// The profiles there are; `None` where nothing is run.
    pub menu: Option<Menu>,
    /// What processes are started with: no job can have more.
    pub most_memory: Option<u64>,
}

impl Rules {
    /// Makes a job of what was claimed; the outcome, if it can be told without running it.
    pub(crate) fn resolve(
        &self,
        ticket: TicketId,
        claimed: Claimed,
    ) -> (Box<Job>, Option<Outcome>) {
        let Claimed {
            receipt,
            task,
            header,
            payload,
            history,
        } = claimed;
        let task = self.base(task);
        let parsed: Result<Header, _> = serde_json::from_slice(&header);
        let past = History::from_json(&history);
        let mut trouble = match (&parsed, &past) {
            (Ok(parsed), Ok(_)) => self.misfit(parsed, self.specs.get(&task)),
            (Err(error), _) => Some(unreadable("header", error)),
            (_, Err(error)) => Some(unreadable("history", error)),
        };
        let mut parsed = parsed.unwrap_or_else(|_| empty_header());
        let thread = Thread::of(receipt.uuid, &parsed).map(Box::new);
        let kinds = self.specs.get(&task).map_or(&[][..], |spec| &spec.hooks);
        let hooked = Hooked::of(receipt.uuid, &receipt.queue, &task, &parsed, kinds);
        let mut policy = Policy::resolve(&parsed, self.specs.get(&task), &self.defaults);
        policy.memory = policy.memory.into_iter().chain(self.most_memory).min();
        let lane = lane(&parsed, self.specs.get(&task));
        let (profile, isolation) = match &self.menu {
            None => (0, "unknown".into()),
            Some(menu) => {
                let profile = self.profile(menu, &parsed, (&task, &receipt.queue), lane);
                let profile = profile.unwrap_or_else(|text| {
                    trouble.get_or_insert_with(|| fatal(Cause::Sandbox, "profile", text));
                    menu.usual()
                });
                let plan = &menu.entry(profile).plan;
                policy.profile.clone_from(&plan.profile);
                policy.memory = policy.memory.into_iter().chain(plan.memory).min();
                policy.limits = plan.lowered(policy.limits).unwrap_or_else(|text| {
                    trouble.get_or_insert_with(|| fatal(Cause::Sandbox, "limits", text));
                    Limits::NONE
                });
                (profile, plan.description.as_str().into())
            }
        };
        // What follows is not the task's business, and may be long.
        let header = match parsed.then.take() {
            Some(_) => serde_json::to_vec(&parsed).unwrap_or(header),
            None => header,
        };
        let history = past.unwrap_or_default();
        let ran = Duration::from_millis(history.ran_ms);
        let extra = self.extras.get(&task).cloned();
        let extra = match (extra, parsed.hook) {
            (Some(extra), Some(kind)) => {
                let of_hook = extra.of_hook(kind);
                if of_hook.is_none() {
                    let text = format!("task `{task}` has no hook `{kind}` any more");
                    trouble.get_or_insert_with(|| fatal(Cause::Error, "hook", text));
                }
                of_hook
            }
            (extra, _) => extra,
        };
        let job = Job {
            ticket,
            left: policy.timeout.saturating_sub(ran).max(SHORTEST),
            receipt,
            extra,
            task,
            header,
            payload,
            thread,
            hooked: hooked.map(Box::new),
            hook: parsed.hook,
            history,
            policy,
            profile,
            isolation,
            lane,
            expires_at: parsed.expires_at,
        };
        (Box::new(job), trouble)
    }

    /// The profile a job runs under.
    fn profile(
        &self,
        menu: &Menu,
        header: &Header,
        (task, queue): (&TaskName, &QueueName),
        lane: Lane,
    ) -> Result<u16, String> {
        let own = self
            .specs
            .get(task)
            .and_then(|spec| spec.profile.as_deref());
        let asked = header.profile.as_deref();
        menu.choose(asked, own, task, queue, within(lane))
    }

    /// The task of a job, also if only one supervisor was to run it: `task@id`.
    fn base(&self, task: TaskName) -> TaskName {
        if self.specs.contains_key(&task) {
            return task;
        }
        let base = task.as_str().rsplit_once('@');
        let base = base.and_then(|(base, _)| TaskName::new(base).ok());
        base.filter(|base| self.specs.contains_key(base))
            .unwrap_or(task)
    }

    fn misfit(&self, header: &Header, spec: Option<&TaskSpec>) -> Option<Outcome> {
        if header.v > HEADER_VERSION {
            let text = format!(
                "the message was written by a newer version (layout {}, this supervisor reads {HEADER_VERSION}; upgrade it)",
                header.v
            );
            return Some(fatal(Cause::Error, "unreadable", text));
        }
        if let Some(refusal) = &header.refusal {
            return Some(fatal(Cause::Error, &refusal.name, refusal.text.clone()));
        }
        if let Some(text) = spec.and_then(|spec| mechanism_misfit(header, spec)) {
            return Some(fatal(Cause::Error, "mechanism", text));
        }
        None
    }
}

/// The lane of a task's jobs, if their messages say nothing.
pub(crate) const fn usual_lane(spec: &TaskSpec) -> Lane {
    match (spec.mechanism, spec.run_in_main_thread) {
        (Mechanism::Process, _) => Lane::Process,
        (Mechanism::Async, _) => Lane::Async,
        (Mechanism::Thread, true) => Lane::Main,
        (Mechanism::Thread, false) => Lane::Thread,
    }
}

/// What jobs of a lane run in.
pub(crate) const fn within(lane: Lane) -> Within {
    match lane {
        Lane::Process => Within::Process,
        Lane::Thread | Lane::Async | Lane::Main => Within::Group,
    }
}

fn lane(header: &Header, spec: Option<&TaskSpec>) -> Lane {
    match (header.mechanism, spec) {
        (Some(Mechanism::Process), _) | (_, None) => Lane::Process,
        (_, Some(spec)) => usual_lane(spec),
    }
}

/// Why a message cannot have what it asks for.
fn mechanism_misfit(header: &Header, spec: &TaskSpec) -> Option<String> {
    let own = spec.mechanism;
    let asked = header.mechanism.unwrap_or(own);
    if asked != own && (asked, own) != (Mechanism::Process, Mechanism::Thread) {
        return Some(format!(
            "the message asks for `{asked}`, and task `{}` is made for `{own}` (leave `mechanism` out; only a `thread` task can be asked to run as `process`)",
            spec.name
        ));
    }
    let what = match (header.memory, header.limits.is_empty()) {
        _ if asked == Mechanism::Process => return None,
        (None, true) => return None,
        (Some(_), _) => "memory",
        (None, false) => "limits",
    };
    Some(format!(
        "the message says how much its job may consume, and the jobs of a group share their process (leave `{what}` out{})",
        if own == Mechanism::Thread {
            ", or ask for the mechanism `process`"
        } else {
            ""
        }
    ))
}

fn fatal(cause: Cause, name: &str, text: String) -> Outcome {
    Outcome::Failed {
        cause,
        error: ErrorDetails::new(name, text),
        is_final: true,
    }
}

fn unreadable(what: &str, error: &serde_json::Error) -> Outcome {
    let text = format!("the job's stored {what} cannot be read: {error} (submit the job again)");
    fatal(Cause::Error, "unreadable", text)
}

fn empty_header() -> Header {
    serde_json::from_str(r#"{"v":1,"created_at":0}"#).expect("a header needs only these two keys")
}
