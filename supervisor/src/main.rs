//! Bulkhead supervisor.
fn main() {}
