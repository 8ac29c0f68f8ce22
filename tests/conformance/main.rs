//! What every store promises, on each backend.
#![allow(clippy::unwrap_used, reason = "all of this is tests")]

mod amend;
mod bell;
mod catalog;
mod checkpoint;
mod control;
mod dead;
mod examine;
mod fleet;
mod flow;
mod journal;
mod keeping;
mod lengths;
mod limits;
mod limits_model;
mod linked;
mod locks;
mod locks_model;
mod order;
mod overdue;
mod processes;
mod results;
mod revoke;
mod schedule;
mod settle;
mod stream;
mod submit;
mod taken;
mod transit;
mod unique;
mod waiting;
