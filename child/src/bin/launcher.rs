//! The program behind tasks that are commands, where there is no program with tasks in Rust.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    bulkhead_child::launch()
}
