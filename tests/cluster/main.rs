//! Keeps a Redis Cluster for the tests of one run: its argument is a directory that goes with it,
//! its standard input a process that it ends with.

fn main() {
    if let Some(dir) = std::env::args_os().nth(1) {
        bulkhead_tests::redis_cluster::keep(dir.into());
    }
}
