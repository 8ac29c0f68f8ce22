//! Demo tasks.
fn main() {}
