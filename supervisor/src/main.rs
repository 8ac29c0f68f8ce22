//! Bulkhead supervisor.

#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "wired by the reactor")
)]
mod pool;

fn main() {}
