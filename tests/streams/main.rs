//! Streams with real supervisors and processors: policies, sharing, steering, and a storm.
#![deny(unsafe_code)]

mod commands;
mod policies;
mod scene;
mod sharing;
mod storm;
