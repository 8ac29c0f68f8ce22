//! What checkpoints promise, on a store that fails when it is told to.

mod example;
mod faults;
mod pulses;
mod shared;
mod store;
