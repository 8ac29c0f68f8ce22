//! How to use Bulkhead, one page for each part. Every example in Rust is run by the tests.

#[doc = include_str!("../docs/producers.md")]
pub mod producers {}

#[doc = include_str!("../docs/flows.md")]
pub mod flows {}

#[doc = include_str!("../docs/locks.md")]
pub mod locks {}

#[doc = include_str!("../docs/schedules.md")]
pub mod schedules {}

#[doc = include_str!("../docs/coming_from_alsek.md")]
pub mod coming_from_alsek {}

#[doc = include_str!("../docs/checkpoints.md")]
pub mod checkpoints {}

#[doc = include_str!("../docs/coming_from_slipstream.md")]
pub mod coming_from_slipstream {}

#[doc = include_str!("../docs/streams.md")]
pub mod streams {}

#[doc = include_str!("../docs/coming_from_runnel.md")]
pub mod coming_from_runnel {}

#[doc = include_str!("../docs/configuration.md")]
pub mod configuration {}

#[doc = include_str!("../docs/commands.md")]
pub mod commands {}

#[doc = include_str!("../docs/profiles.md")]
pub mod profiles {}

#[doc = include_str!("../docs/attacks.md")]
pub mod attacks {}
