//! How to use Bulkhead, one page for each part. Every example in Rust is run by the tests.

#[doc = include_str!("../docs/flows.md")]
pub mod flows {}

#[doc = include_str!("../docs/locks.md")]
pub mod locks {}

#[doc = include_str!("../docs/schedules.md")]
pub mod schedules {}
