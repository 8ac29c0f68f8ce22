//! Processors that lie about the events they were given.

use bulkhead_child::Context;
use bulkhead_child::anyhow;
use bulkhead_shared::ask::Ask;
use bulkhead_shared::codec;
use bulkhead_shared::frame::FromTask;
use nix::unistd::pause;
use serde::{Deserialize, Serialize};

use crate::wire::{nonce, say};

/// What is said past the library.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lie {
    PassedTooFar,
    PassedBefore,
    PassedForAnother,
    PartedTooFar,
    PartedBefore,
    AsksForEver,
}

/// Says it, and waits to be killed.
pub(crate) fn tell(ctx: &Context, lie: Lie) -> anyhow::Result<()> {
    let nonce = nonce(ctx)?;
    let passed = |nonce, position| FromTask::Passed { nonce, position };
    let parted = |position| FromTask::Parted { nonce, position };
    let ask = |id| FromTask::Ask {
        nonce,
        id,
        ask: Ask::Events {
            most: u32::MAX,
            within_ms: Some(u64::MAX),
            as_one: true,
        },
    };
    let frames: Vec<FromTask> = match lie {
        Lie::PassedTooFar => vec![passed(nonce, u64::MAX)],
        Lie::PassedBefore => vec![passed(nonce, 0)],
        Lie::PassedForAnother => vec![passed(nonce.wrapping_add(1), 1)],
        Lie::PartedTooFar => vec![parted(u64::MAX)],
        Lie::PartedBefore => vec![parted(0)],
        Lie::AsksForEver => (1_000_000..1_001_000).map(ask).collect(),
    };
    for frame in frames {
        say(&codec::encode(&frame)?)?;
    }
    loop {
        pause();
    }
}
