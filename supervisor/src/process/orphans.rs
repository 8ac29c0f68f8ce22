//! Processes that a task has left behind and that this process, as a subreaper, has adopted.

use std::fs;

use bulkhead_shared::pidfd::PidFd;

/// Kills all children of this process but those that are `known`; how many there were.
///
/// Each is held by a pidfd before it is looked at again: a number that has passed to a stranger
/// meanwhile is no child of ours and is left alone.
pub(crate) fn kill(known: &[i32]) -> usize {
    let mut found = 0;
    for pid in children().into_iter().filter(|pid| !known.contains(pid)) {
        let Ok(process) = PidFd::open(pid) else {
            continue;
        };
        if children().contains(&pid) {
            found += 1;
            // Gone already is as good as killed.
            let _ = process.signal(libc::SIGKILL);
        }
    }
    found
}

fn children() -> Vec<i32> {
    let threads = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let texts =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let numbers = |text: String| text.split_whitespace().map(str::parse).collect::<Vec<_>>();
    texts.flat_map(numbers).flatten().collect()
}
