//! Holds the sources to the rules of ARCHITECTURE.md. Each rule is a function from sources to
//! offences, and each test shows first that its rule can be broken.
#![allow(clippy::unwrap_used, reason = "all of this is tests")]

mod layers;
mod reference;
mod sources;
mod text;
mod words;
