//! What runs around a task's function, in its process: before it, after it, and what decides
//! whether there is another attempt or a callback. And the hooks that are jobs of their own.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use bulkhead_shared::frame::{Declined, Failure};
use bulkhead_shared::hook::{HookKind, Occasion};
use serde_json::Value;

use crate::answer::Reply;
use crate::arguments::Given;
use crate::context::Context;
use crate::panics;
use crate::processor::Assignment;
#[cfg(feature = "async")]
use crate::registry::Future;
use crate::registry::{Definition, Function};

/// A hook's answer: nothing, or its failure.
#[doc(hidden)]
pub type Done = Result<(), Failure>;

/// The hooks that a task has.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Hooks {
    pub pre_op: Option<fn(&Context) -> Done>,
    pub post_op: Option<fn(&Context, &Value) -> Done>,
    pub do_retry: Option<fn(&Context, &TaskError) -> bool>,
    pub do_callback: Option<fn(&Context, &Value) -> bool>,
    pub on_retry: Option<fn(&Context, &Occasion) -> Done>,
    pub on_failure: Option<fn(&Context, &Occasion) -> Done>,
    pub on_success: Option<fn(&Context, &Occasion) -> Done>,
    pub on_revocation: Option<fn(&Context, &Occasion) -> Done>,
}

/// A failure, as `do_retry` is shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskError {
    /// `panic`, `error`, `arguments`.
    pub name: String,
    /// The text.
    pub text: String,
    /// Where it happened, if known.
    pub traceback: Option<String>,
}

impl Hooks {
    /// No hooks.
    pub const NONE: Self = Self {
        pre_op: None,
        post_op: None,
        do_retry: None,
        do_callback: None,
        on_retry: None,
        on_failure: None,
        on_success: None,
        on_revocation: None,
    };

    const fn after(&self, kind: HookKind) -> Option<fn(&Context, &Occasion) -> Done> {
        match kind {
            HookKind::OnRetry => self.on_retry,
            HookKind::OnFailure => self.on_failure,
            HookKind::OnSuccess => self.on_success,
            HookKind::OnRevocation => self.on_revocation,
        }
    }

    /// Those that are jobs of their own.
    pub(crate) fn kinds(&self) -> Vec<HookKind> {
        let is_there = |kind: &HookKind| self.after(*kind).is_some();
        HookKind::ALL.into_iter().filter(is_there).collect()
    }
}

/// Runs a call: its hooks and its function, or the hook that the job is.
pub(crate) fn call(definition: &'static Definition, context: &Context, payload: &[u8]) -> Reply {
    panics::catch(|| match context.hook() {
        Some(kind) => after(definition, context, kind, payload),
        None => around(definition, context, payload),
    })
}

fn around(definition: &'static Definition, context: &Context, payload: &[u8]) -> Reply {
    if let Function::Processor(function) = definition.call {
        return function(context, &Assignment::read(definition.name, payload)?);
    }
    let given = Given::bind(definition, payload)?;
    if let Some(pre_op) = definition.hooks.pre_op {
        pre_op(context)?;
    }
    let result = definition.call.now(context, given)?;
    finish(definition, context, result)
}

fn finish(definition: &Definition, context: &Context, result: Vec<u8>) -> Reply {
    if let Some(post_op) = definition.hooks.post_op {
        post_op(context, &value(&result)?)?;
    }
    Ok(result)
}

/// [`call`], of which the function runs when the future is polled.
#[cfg(feature = "async")]
pub(crate) fn begin(
    definition: &'static Definition,
    context: &Context,
    payload: &[u8],
) -> Result<Future, Failure> {
    let Function::Async(function) = definition.call else {
        let reply = call(definition, context, payload);
        return Ok(Box::pin(std::future::ready(reply)));
    };
    if context.hook().is_some() {
        let reply = call(definition, context, payload);
        return Ok(Box::pin(std::future::ready(reply)));
    }
    let given = Given::bind(definition, payload)?;
    if let Some(pre_op) = definition.hooks.pre_op {
        pre_op(context)?;
    }
    let future = function(context.clone(), given)?;
    let context = context.clone();
    Ok(Box::pin(async move {
        let result = future.await?;
        finish(definition, &context, result)
    }))
}

fn value(result: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(result).map_err(|error| failure(format!("result: {error}")))
}

fn after(definition: &Definition, context: &Context, kind: HookKind, payload: &[u8]) -> Reply {
    let task = definition.name;
    let gone = || failure(format!("task `{task}` has no hook `{kind}` any more"));
    let hook = definition.hooks.after(kind).ok_or_else(gone)?;
    let occasion = serde_json::from_slice(payload);
    let occasion = occasion.map_err(|error| failure(format!("what `{kind}` is told: {error}")))?;
    hook(context, &occasion)?;
    Ok(b"null".to_vec())
}

/// The same job would fail the same way.
fn failure(text: String) -> Failure {
    Failure {
        name: "hook".into(),
        text,
        traceback: None,
        is_final: true,
    }
}

/// What the task does not want to happen after `reply`. A hook that panics has not said no.
pub(crate) fn declined(hooks: &Hooks, context: &Context, reply: &Reply) -> Option<Declined> {
    let said_no = |ask: &dyn Fn() -> bool| matches!(catch_unwind(AssertUnwindSafe(ask)), Ok(false));
    match reply {
        Ok(result) => {
            let do_callback = hooks.do_callback?;
            let result = value(result).ok()?;
            said_no(&|| do_callback(context, &result)).then_some(Declined::Callback)
        }
        Err(failure) => {
            let do_retry = hooks.do_retry?;
            let error = TaskError {
                name: failure.name.clone(),
                text: failure.text.clone(),
                traceback: failure.traceback.clone(),
            };
            said_no(&|| do_retry(context, &error)).then_some(Declined::Retry)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Task, task, tasks};

    fn note(ctx: &Context, word: &str) {
        let mut words: Vec<String> = ctx.state().take().unwrap_or_default();
        words.push(word.into());
        ctx.state().insert(words);
    }

    fn begin(ctx: &Context) {
        note(ctx, "pre_op");
    }
    fn end(ctx: &Context, result: &Value) -> Result<(), String> {
        note(ctx, &format!("post_op {result}"));
        if result == 13 {
            Err("unlucky".into())
        } else {
            Ok(())
        }
    }
    fn again(_: &Context, error: &TaskError) -> bool {
        error.text != "for good"
    }
    fn callback(_: &Context, result: &Value) -> bool {
        assert_ne!(result, 7, "a hook that panics");
        result != 5
    }
    fn succeeded(ctx: &Context, about: &Occasion) -> anyhow::Result<()> {
        anyhow::ensure!(about.result.is_some(), "no result");
        note(ctx, &format!("{} {}", about.uuid, about.attempt));
        Ok(())
    }

    #[task(
        pre_op = begin,
        post_op = end,
        do_retry = again,
        do_callback = callback,
        on_success = succeeded
    )]
    fn hooked(ctx: &Context, number: i64) -> Result<i64, String> {
        note(ctx, "op");
        if number < 0 {
            Err("for good".into())
        } else {
            Ok(number)
        }
    }

    #[task(pre_op = refuse)]
    fn guarded() {
        panic!("it ran");
    }
    fn refuse(_: &Context) -> Result<(), &'static str> {
        Err("not today")
    }

    fn run(task: Task, context: &Context, number: i64) -> (Reply, Option<Declined>) {
        let payload = format!("{{\"args\": [{number}]}}");
        let reply = call(task.definition(), context, payload.as_bytes());
        let declined = declined(&task.definition().hooks, context, &reply);
        (reply, declined)
    }

    #[test]
    fn hooks_run_around_the_function_and_share_its_state() {
        let context = Context::detached("hooked");
        let (reply, declined) = run(tasks![hooked][0], &context, 3);
        assert_eq!((reply.unwrap(), declined), (b"3".to_vec(), None));
        let words: Vec<String> = context.state().take().unwrap();
        assert_eq!(words, ["pre_op", "op", "post_op 3"]);
    }

    #[test]
    fn a_hook_that_fails_fails_the_attempt() {
        let (reply, _) = run(tasks![hooked][0], &Context::detached("hooked"), 13);
        assert_eq!(reply.unwrap_err().text, "unlucky");
        let payload = b"{}";
        let context = Context::detached("guarded");
        let reply = call(tasks![guarded][0].definition(), &context, payload);
        assert_eq!(reply.unwrap_err().text, "not today");
    }

    #[test]
    fn a_task_may_decline_what_follows_and_a_panic_declines_nothing() {
        let context = Context::detached("hooked");
        let declined = |number| run(tasks![hooked][0], &context, number).1;
        assert_eq!(declined(5), Some(Declined::Callback));
        assert_eq!(declined(-1), Some(Declined::Retry));
        assert_eq!(declined(13), None);
        assert_eq!(declined(7), None);
    }

    #[test]
    fn a_hook_job_runs_the_hook_and_not_the_task() {
        let uuid = bulkhead_shared::Uuid::nil();
        let payload = format!("{{\"uuid\": \"{uuid}\", \"attempt\": 2, \"result\": 5}}");
        let context = Context::detached_hook("hooked", HookKind::OnSuccess);
        let definition = tasks![hooked][0].definition();
        assert_eq!(definition.hooks.kinds(), [HookKind::OnSuccess]);
        assert_eq!(
            call(definition, &context, payload.as_bytes()).unwrap(),
            b"null"
        );
        let words: Vec<String> = context.state().take().unwrap();
        assert_eq!(words, [format!("{uuid} 2")]);
        let context = Context::detached_hook("hooked", HookKind::OnRetry);
        let failure = call(definition, &context, payload.as_bytes()).unwrap_err();
        assert!(failure.is_final && failure.text.contains("no hook `on_retry`"));
        let context = Context::detached_hook("hooked", HookKind::OnSuccess);
        let failure = call(definition, &context, b"{}").unwrap_err();
        assert!(failure.is_final && failure.text.contains("`on_success`"));
    }
}
