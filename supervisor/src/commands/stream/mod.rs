//! `supervisor stream`: what lies in streams, how far their processors are, and steering them.

mod dead;
mod list;
mod send;
mod steer;

use bulkhead_shared::broker::BrokerError;
use bulkhead_shared::client::{Client, ClientError};
use bulkhead_shared::stream::keep::{Duty, Overview, Share, View};
use bulkhead_shared::{StreamName, TaskName};
use clap::{Args, Subcommand};

use super::{CommandError, output, show};
use crate::exit::Exit;

/// Look into streams, send records, and steer their processors while they run.
#[derive(Debug, Subcommand)]
pub(crate) enum Stream {
    #[command(after_help = crate::exit::HELP)]
    Ls(list::LsArgs),
    #[command(after_help = crate::exit::HELP)]
    Lag(list::LagArgs),
    #[command(after_help = crate::exit::HELP)]
    Make(send::MakeArgs),
    #[command(after_help = crate::exit::HELP)]
    Send(send::SendArgs),
    #[command(after_help = crate::exit::HELP)]
    SendMany(send::SendManyArgs),
    #[command(after_help = crate::exit::HELP)]
    Pause(steer::PauseArgs),
    #[command(after_help = crate::exit::HELP)]
    Resume(steer::ResumeArgs),
    #[command(after_help = crate::exit::HELP)]
    Release(steer::ReleaseArgs),
    #[command(after_help = crate::exit::HELP)]
    Skip(steer::SkipArgs),
    #[command(after_help = crate::exit::HELP)]
    Seek(steer::SeekArgs),
    #[command(after_help = crate::exit::HELP)]
    Reset(steer::ResetArgs),
    #[command(after_help = crate::exit::HELP)]
    Dead(dead::DeadArgs),
    #[command(after_help = crate::exit::HELP)]
    Replay(dead::ReplayArgs),
    #[command(after_help = crate::exit::HELP)]
    Forget(steer::ForgetArgs),
}

impl Stream {
    /// Whether it makes a store that is missing.
    pub(crate) const fn makes_store(&self) -> bool {
        matches!(self, Self::Make(_))
    }
}

pub(super) fn run(command: &Stream, client: &Client) -> Result<Exit, CommandError> {
    perform(command, client).map_err(|error| match error {
        // The store is there, and refuses what was asked for.
        CommandError::Client(ClientError::Store(refused @ BrokerError::Refused { .. })) => {
            CommandError::Refused(refused.to_string())
        }
        other => other,
    })
}

fn perform(command: &Stream, client: &Client) -> Result<Exit, CommandError> {
    match command {
        Stream::Ls(args) => list::ls(args, client),
        Stream::Lag(args) => list::lag(args, client),
        Stream::Make(args) => send::make(args, client),
        Stream::Send(args) => send::send(args, client),
        Stream::SendMany(args) => send::send_many(args, client),
        Stream::Pause(args) => steer::pause(args, client),
        Stream::Resume(args) => steer::resume(args, client),
        Stream::Release(args) => steer::release(args, client),
        Stream::Skip(args) => steer::skip(args, client),
        Stream::Seek(args) => steer::seek(args, client),
        Stream::Reset(args) => steer::reset(args, client),
        Stream::Dead(args) => dead::list(args, client),
        Stream::Replay(args) => dead::replay(args, client),
        Stream::Forget(args) => steer::forget(args, client),
    }
}

/// A processor of a stream.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The stream.
    stream: StreamName,
    /// The processor; it may be left out where the stream has only one.
    #[arg(long, value_name = "NAME")]
    processor: Option<TaskName>,
}

impl Which {
    /// Finds it, and how it is.
    fn find(&self, client: &Client) -> Result<Result<(Duty, View), Exit>, CommandError> {
        let Some(found) = stream(client, &self.stream)? else {
            return Ok(Err(Exit::NotFound));
        };
        let names: Vec<_> = found
            .processors
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let only = match &self.processor {
            None if names.len() == 1 => names.first(),
            None if names.is_empty() => {
                output::say(&format!(
                    "error: stream `{}` has no processor yet (start a supervisor whose child has one)",
                    self.stream
                ));
                return Ok(Err(Exit::NotFound));
            }
            None => {
                let names: Vec<_> = names.iter().map(TaskName::as_str).collect();
                return Err(CommandError::Input(format!(
                    "stream `{}` has several processors: {} (name one with --processor)",
                    self.stream,
                    names.join(", ")
                )));
            }
            named => named.as_ref(),
        };
        let view = found
            .processors
            .into_iter()
            .find(|(name, _)| Some(name) == only);
        match view {
            Some((processor, view)) => {
                let stream = self.stream.clone();
                Ok(Ok((Duty { stream, processor }, view)))
            }
            None => {
                let known: Vec<_> = names.iter().map(TaskName::as_str).collect();
                output::say(&format!(
                    "error: stream `{}` has no processor of that name (it has: {})",
                    self.stream,
                    known.join(", ")
                ));
                Ok(Err(Exit::NotFound))
            }
        }
    }
}

/// A stream; says so if there is none.
fn stream(client: &Client, name: &StreamName) -> Result<Option<Overview>, CommandError> {
    let found = client.backend().streams.streams(Some(name))?.pop();
    if found.is_none() {
        output::say(&format!(
            "error: there is no stream `{name}` (see `supervisor stream ls`; it is made by `supervisor stream make`, by its first producer, or by a supervisor whose child has a processor for it)"
        ));
    }
    Ok(found)
}

/// Refuses partitions that the stream does not have.
fn check(partitions: &[u16], view: &View) -> Result<(), CommandError> {
    let count = view.shares.len();
    match partitions.iter().find(|&&one| usize::from(one) >= count) {
        None => Ok(()),
        Some(one) => Err(CommandError::Input(format!(
            "there is no partition {one} (they are 0 to {})",
            count.saturating_sub(1)
        ))),
    }
}

/// Events that a processor has not passed.
const fn lag(share: &Share) -> u64 {
    share.last.position.saturating_sub(share.passed.position)
}
