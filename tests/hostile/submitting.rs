//! Tasks that submit others, honestly and not.

use std::time::Duration;

use bulkhead_child::anyhow::{self, Context as _};
use bulkhead_child::{Context, Group, Message, Uuid, task};
use bulkhead_shared::policy::Retries;

const LONG: Duration = Duration::from_secs(60);

/// A sum.
#[task]
pub(crate) fn adder(a: i64, b: i64) -> i64 {
    a + b
}

/// What the members of a group returned, together.
#[task]
pub(crate) fn total(ctx: &Context) -> anyhow::Result<i64> {
    let parts: Option<Vec<i64>> = ctx.previous_result()?;
    Ok(parts.context("it is a join")?.into_iter().sum())
}

/// Has another task add, and returns what that returned.
#[task]
pub(crate) fn apart(ctx: &Context, a: i64, b: i64) -> anyhow::Result<i64> {
    let sum = ctx.submit(adder::message(a, b))?;
    Ok(ctx.result(sum).wait(LONG).get()?)
}

/// `apart`, on the runtime of a group.
#[task]
pub(crate) async fn apart_async(ctx: &Context, a: i64, b: i64) -> anyhow::Result<i64> {
    let sum = ctx.submit_async(adder::message(a, b)).await?;
    Ok(ctx.result(sum).wait(LONG).get_async().await?)
}

/// Submits a message and a group after it, and returns what the group's join returned.
#[task]
pub(crate) fn apart_in_steps(ctx: &Context) -> anyhow::Result<i64> {
    let last = Uuid::now_v7();
    let members = (1..=3).map(|n| adder::message(n, n));
    let group = Group::new().members(members);
    let _ = ctx.submit((
        adder::message(0, 0),
        group.join(total::message().uuid(last)),
    ))?;
    Ok(ctx.result(last).wait(LONG).get()?)
}

/// Submits one message in every attempt, and fails in the first one.
#[task]
pub(crate) fn apart_again(ctx: &Context, uuid: String) -> anyhow::Result<(i64, String)> {
    let uuid: Uuid = uuid.parse()?;
    let sum = ctx.submit(adder::message(2, 3).uuid(uuid))?;
    let sum: i64 = ctx.result(sum).wait(LONG).get()?;
    anyhow::ensure!(ctx.attempt() > 1, "the first attempt fails");
    let other = ctx.submit(adder::message(3, 3).uuid(uuid));
    Ok((
        sum,
        other.map_or_else(|error| error.to_string(), |uuid| uuid.to_string()),
    ))
}

/// What is said of jobs that are not of its flow, that failed, that nobody runs.
#[task]
pub(crate) fn peek(ctx: &Context, other: String) -> anyhow::Result<Vec<String>> {
    let failing = Message::new("wound").max_retries(Retries::Times(0));
    let failing = ctx.submit(failing)?;
    let nobodys = ctx.submit(adder::message(1, 1).queue("nobodys"))?;
    let told = [
        ctx.result(other.parse()?).get::<i64>(),
        ctx.result(Uuid::now_v7()).get(),
        ctx.result(failing).wait(LONG).get(),
        ctx.result(nobodys).wait(Duration::from_millis(300)).get(),
    ];
    let told = told.into_iter().map(|told| match told {
        Ok(result) => format!("it is {result}"),
        Err(error) => error.to_string(),
    });
    Ok(told.collect())
}

/// Where its profile lets it send `adder` to the queue `mail`: what each way around that is told.
#[task]
pub(crate) fn courier(ctx: &Context) -> Vec<String> {
    let good = || adder::message(1, 1).queue("mail");
    let bad = || Message::new("long").arg(1).queue("mail");
    let in_a_group = Group::new().members([good(), bad()]);
    let in_a_join = Group::new().member(good()).join(good().callback(bad()));
    let told = [
        ctx.submit(bad()),
        ctx.submit(adder::message(1, 1)),
        ctx.submit(good().callback(bad())),
        ctx.submit((good(), in_a_group)),
        ctx.submit(in_a_join),
        ctx.submit(good().lock("door")),
        ctx.submit(good()),
    ];
    let told = told.into_iter().map(|told| match told {
        Ok(_) => "submitted".into(),
        Err(error) => error.to_string(),
    });
    told.collect()
}
