//! Folds the write-ahead log into the file while the writer goes on.
//!
//! SQLite by itself does it in the commit that makes the log long, and the disk may take longer for
//! it than for a thousand jobs. So a thread of its own does most of it, and the writer the little
//! that is left, once the log has to begin anew.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, Sender, bounded};
use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags};

use super::files::{Files, Identity};
use super::schema::configure;

/// Pages in the log after which the thread is called, and called again.
const PART: i32 = 1000;

/// Pages in the log after which the writer folds what is left: only then can the log begin anew,
/// so this is how long it grows (4 KiB each).
const WHOLE: i32 = 3000;

/// What is to be done after a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// The thread has been called.
    Called,
    /// The writer folds.
    Fold,
}

/// Pages in the log after the last commit through a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Pages(Arc<AtomicI32>);

impl Pages {
    /// Has the commits of `conn` counted, instead of folded by SQLite.
    pub(super) fn count(&self, conn: &mut Connection) -> rusqlite::Result<()> {
        let pages = Arc::clone(&self.0);
        conn.wal_hook(Some(move |_: &mut Wal, count: c_int| {
            pages.store(count, Ordering::Relaxed);
            Ok(())
        }))
    }
}

/// The thread, once it has been needed.
#[derive(Debug)]
pub(super) struct Folder {
    files: Files,
    opened: Identity,
    pages: Pages,
    thread: Option<(Sender<()>, JoinHandle<()>)>,
    /// Length of the log when something was last done about it.
    done_at: i32,
}

impl Folder {
    pub(super) const fn new(files: Files, opened: Identity, pages: Pages) -> Self {
        Self {
            files,
            opened,
            pages,
            thread: None,
            done_at: 0,
        }
    }

    /// Called after each commit.
    pub(super) fn committed(&mut self) -> Next {
        let next = due(self.pages.0.load(Ordering::Relaxed), &mut self.done_at);
        if next == Next::Called {
            self.call();
        }
        next
    }

    fn call(&mut self) {
        if self.thread.is_none() {
            let (files, opened) = (self.files.clone(), self.opened);
            // One call that waits is as good as many.
            let (calls, heard) = bounded(1);
            let body = move || serve(&files, opened, &heard);
            let thread = thread::Builder::new().name("log".into()).spawn(body);
            // Where no thread can be had the writer does it all.
            self.thread = thread.ok().map(|thread| (calls, thread));
        }
        if let Some((calls, _)) = &self.thread {
            let _ = calls.try_send(());
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some((calls, thread)) = self.thread.take() {
            drop(calls);
            let _ = thread.join();
        }
    }
}

/// What a log of `pages` asks for, after something was done when it had `done_at`.
fn due(pages: i32, done_at: &mut i32) -> Next {
    if pages < *done_at {
        // It has begun anew.
        *done_at = 0;
    }
    if pages < done_at.saturating_add(PART) {
        return Next::Nothing;
    }
    *done_at = pages;
    if pages < WHOLE {
        Next::Called
    } else {
        Next::Fold
    }
}

fn serve(files: &Files, opened: Identity, calls: &Receiver<()>) {
    let mut conn = None;
    for () in calls {
        // Another file may stand in the place of the one that was opened.
        if files.still(opened).is_err() {
            return;
        }
        if conn.is_none() {
            conn = connect(files).ok();
        }
        let folded = conn.as_ref().map(fold);
        if let Some(Err(error)) = folded {
            tracing::debug!(%error, "the write-ahead log could not be folded in now");
        }
    }
}

fn connect(files: &Files) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let conn = Connection::open_with_flags(&files.db, flags)?;
    configure(&conn, "NORMAL")?;
    Ok(conn)
}

/// Folds what can be folded without keeping anybody waiting.
pub(super) fn fold(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_log_is_folded_bit_by_bit_and_then_by_the_writer() {
        let mut done_at = 0;
        let mut steps = Vec::new();
        for pages in (100..=4500).step_by(100) {
            match due(pages, &mut done_at) {
                Next::Nothing => {}
                next => steps.push((pages, next)),
            }
        }
        let expected = [
            (1000, Next::Called),
            (2000, Next::Called),
            (3000, Next::Fold),
            // Somebody reads an old state, so it could not begin anew.
            (4000, Next::Fold),
        ];
        assert_eq!(steps, expected);
        assert_eq!(due(50, &mut done_at), Next::Nothing);
        assert_eq!(due(1050, &mut done_at), Next::Called);
    }
}
