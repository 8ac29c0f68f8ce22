//! Pages about what belongs together. Their examples are compiled and run by the tests.

#[doc = include_str!("../docs/schedules.md")]
pub mod schedules {}
