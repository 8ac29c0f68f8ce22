//! The limit of `async` jobs: the same sleeps as plain futures on the same kind of runtime, with
//! nothing around them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;

/// Futures under way at any time, as many as a group has places.
const AT_ONCE: usize = 100;

/// What each of them waits for, as the task `nap` does.
const NAP: Duration = Duration::from_millis(10);

/// Runs `count` of them.
pub(crate) fn run(count: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let left = Rc::new(Cell::new(count));
    let all = LocalSet::new();
    for _ in 0..AT_ONCE {
        let left = Rc::clone(&left);
        all.spawn_local(async move {
            while let Some(rest) = left.get().checked_sub(1) {
                left.set(rest);
                tokio::time::sleep(NAP).await;
            }
        });
    }
    runtime.block_on(all);
    Ok(())
}
