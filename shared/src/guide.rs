//! How to use Bulkhead, one page for each part. Every example in Rust is run by the tests.

#[doc = include_str!("../docs/locks.md")]
pub mod locks {}
