//! `supervisor lock`: who holds which, and freeing one by hand.

use bulkhead_shared::client::Client;
use bulkhead_shared::lock::{HeldLock, Release, Right};
use bulkhead_shared::{LockName, LockOwner, Timestamp};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::{CommandError, output, show};
use crate::exit::Exit;

/// Look at locks, or free one whose holder is gone.
#[derive(Debug, Subcommand)]
pub(crate) enum Lock {
    #[command(after_help = crate::exit::HELP)]
    Ls(LsArgs),
    #[command(after_help = crate::exit::HELP)]
    Release(ReleaseArgs),
}

/// List the locks that are held, by name.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Print a JSON array of objects: `name owner fence since left_ms` (null: no end).
    #[arg(long)]
    json: bool,
}

/// Free a lock. One that nobody holds gives code 3, one that another holds code 5.
///
/// Whoever holds it is not stopped, and learns of it only when he renews or releases: what he
/// writes meanwhile is refused only where fences are compared.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("right").required(true).args(["owner", "fence", "force"]))]
pub(crate) struct ReleaseArgs {
    /// The lock's name.
    name: LockName,
    /// Only if this owner holds it, as `lock ls` shows him.
    #[arg(long, value_name = "OWNER")]
    owner: Option<LockOwner>,
    /// Only if it is held under this fence.
    #[arg(long, value_name = "N")]
    fence: Option<u64>,
    /// Whoever holds it.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(command: &Lock, client: &Client) -> Result<Exit, CommandError> {
    match command {
        Lock::Ls(args) => ls(args, client),
        Lock::Release(args) => release(args, client),
    }
}

fn ls(args: &LsArgs, client: &Client) -> Result<Exit, CommandError> {
    let held = client.backend().locks.locks(args.limit as usize)?;
    if args.json {
        output::json(&held.iter().map(object).collect::<Vec<_>>())?;
    } else {
        let now = Timestamp::now();
        let rows: Vec<_> = held.iter().map(|held| row(held, now)).collect();
        output::table(
            "locks",
            ["NAME", "OWNER", "FENCE", "HELD FOR", "LEFT"],
            &rows,
        )?;
    }
    Ok(Exit::Done)
}

fn release(args: &ReleaseArgs, client: &Client) -> Result<Exit, CommandError> {
    let right = match (&args.owner, args.fence) {
        (Some(owner), _) => Right::Owner(owner),
        (None, Some(fence)) => Right::Fence(fence),
        (None, None) => Right::Force,
    };
    let name = &args.name;
    match client.backend().locks.release(name, right)? {
        Release::Released => {
            output::line(&format!("lock {name} is free"))?;
            Ok(Exit::Done)
        }
        Release::Free => {
            output::say(&format!(
                "error: nobody holds lock `{name}` (check the name, the store and the namespace)"
            ));
            Ok(Exit::NotFound)
        }
        Release::Refused(held) => {
            output::say(&format!(
                "error: lock `{name}` is held by `{}` under fence {} (name that owner or fence, or use --force)",
                held.owner, held.fence
            ));
            Ok(Exit::Refused)
        }
    }
}

fn object(held: &HeldLock) -> Value {
    json!({
        "name": held.name,
        "owner": held.owner,
        "fence": held.fence,
        "since": held.since.to_string(),
        "left_ms": held.left.map(bulkhead_shared::time::millis),
    })
}

fn row(held: &HeldLock, now: Timestamp) -> [String; 5] {
    [
        held.name.to_string(),
        held.owner.to_string(),
        held.fence.to_string(),
        show::duration(now.since(held.since)),
        held.left.map_or_else(|| "no end".into(), show::duration),
    ]
}
