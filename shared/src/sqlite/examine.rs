//! What can be wrong with a file, before it goes wrong.

use std::os::unix::fs::MetadataExt;

use nix::sys::statfs::{Statfs, statfs};
use rusqlite::Connection;

use super::files::Files;
use super::store::{Kind, Store};
use super::writer::Urgency;
use crate::backend::Durability;
use crate::broker::BrokerError;
use crate::finding::{Depth, Finding, Severity};
use crate::time::Now;
use crate::units::Size;

/// Below this a store may be full before anybody looks.
const LITTLE_SPACE: u64 = 1 << 30;

/// Below this it is full at any moment.
const NO_SPACE: u64 = 32 << 20;

/// A log that is folded in as it should be never gets longer than about this.
const LONG_LOG: u64 = 128 << 20;

/// Commits that are timed, and what one of them may take without slowing down any job.
const TIMED: usize = 5;
const SLOW_MS: u128 = 50;

/// Problems shown of a damaged file.
const SHOWN: usize = 5;

impl Store {
    pub(super) fn findings(&self, depth: Depth) -> Result<Vec<Finding>, BrokerError> {
        let Kind::File { files, .. } = &self.kind else {
            let found = Finding::ok("store", "a private store in memory");
            let why = "nobody else sees it, and it ends with its process";
            return Ok(vec![found.because(Severity::Hint, why)]);
        };
        let version = rusqlite::version();
        let mut findings = vec![
            Finding::ok("store", format!("{}, SQLite {version}", self.place)),
            owner(files),
        ];
        if let Some(dir) = files.db.parent()
            && let Ok(found) = statfs(dir)
        {
            findings.push(file_system(&found));
            findings.push(space(&found));
        }
        findings.push(log(files));
        findings.push(durability(self.durability));
        findings.push(self.commit_time().unwrap_or_else(cannot_commit));
        findings.push(self.integrity(depth));
        Ok(findings)
    }

    /// Commits nothing new, as often as it takes to know how long that is.
    fn commit_time(&self) -> Result<Finding, BrokerError> {
        let mut times = Vec::with_capacity(TIMED);
        for _ in 0..TIMED {
            let start = Now::read().mono;
            self.writer.write(Urgency::Usual, |ledger| {
                // Written even if it is the same: a commit like any other.
                let version: i64 = ledger
                    .conn
                    .pragma_query_value(None, "user_version", |row| row.get(0))?;
                ledger.conn.pragma_update(None, "user_version", version)
            })?;
            times.push(Now::read().mono - start);
        }
        times.sort();
        let median = times[TIMED / 2];
        let found = format!("a commit takes {:.1} ms", median.as_secs_f64() * 1000.0);
        let finding = Finding::ok("commit-time", found);
        Ok(if median.as_millis() > SLOW_MS {
            let why = "every claim and every ending waits for a commit";
            finding
                .because(Severity::Warning, why)
                .way_out("look for others that keep the disk busy, or use a faster one")
        } else {
            finding
        })
    }

    fn integrity(&self, depth: Depth) -> Finding {
        let name = match depth {
            Depth::Quick => "quick_check",
            Depth::Thorough => "integrity_check",
        };
        let read = self.read(move |conn, _, _| check(conn, name));
        let broken = |found: String| {
            Finding::ok("integrity", found)
                .because(Severity::Error, "jobs in damaged pages are lost")
                .way_out("stop all supervisors, keep a copy, then run `sqlite3 FILE .recover`")
        };
        match read {
            Ok(lines) if lines == ["ok"] => Finding::ok("integrity", format!("{name}: ok")),
            Ok(lines) => broken(format!("{name}: {}", lines.join("; "))),
            Err(error) => broken(format!("{name}: {error}")),
        }
    }
}

fn cannot_commit(error: BrokerError) -> Finding {
    Finding::ok("commit-time", format!("nothing can be written: {error}"))
        .because(Severity::Error, "every claim and every ending is a commit")
        .way_out("see what it says, and the findings around it")
}

fn check(conn: &Connection, name: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare(&format!("PRAGMA {name}({SHOWN})"))?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// What opening has seen to already: others than owner and group have no way in.
fn owner(files: &Files) -> Finding {
    let me = nix::unistd::geteuid().as_raw();
    match std::fs::symlink_metadata(&files.db) {
        Ok(found) => {
            let (mode, uid) = (found.mode() & 0o777, found.uid());
            let finding = Finding::ok("permissions", format!("mode {mode:04o} of user {uid}"));
            if uid == me {
                finding
            } else {
                let why = "its owner can read and change every job";
                finding.because(Severity::Hint, why)
            }
        }
        Err(error) => {
            let error = files.unusable(&files.db, &error);
            Finding::ok("permissions", error.to_string())
                .because(Severity::Error, "the file cannot be looked at")
        }
    }
}

/// Network file systems are refused before: this is about those that are only unusual.
fn file_system(found: &Statfs) -> Finding {
    let magic = found.filesystem_type().0;
    let known = [
        (0xEF53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683E, "btrfs"),
        (0xF2F5_2010, "f2fs"),
        (0x2FC1_2FC1, "zfs"),
        (0x0102_1994, "tmpfs"),
        (0x8584_58F6, "ramfs"),
        (0x794C_7630, "overlayfs"),
        (0x6573_5546, "FUSE"),
    ];
    let name = known.iter().find(|(known, _)| *known == magic);
    let name = name.map_or_else(|| format!("type {magic:#x}"), |(_, name)| (*name).into());
    let finding = Finding::ok("file-system", format!("on {name}"));
    match name.as_str() {
        "tmpfs" | "ramfs" => finding
            .because(
                Severity::Warning,
                "the store is gone when the machine stops",
            )
            .way_out("use a directory on a disk"),
        "overlayfs" => finding
            .because(
                Severity::Hint,
                "the store is gone when its container is removed",
            )
            .way_out("use a volume of the container"),
        "FUSE" => finding
            .because(
                Severity::Warning,
                "what is behind FUSE may share no locks and no memory between processes, and a \
                 store without them is damaged",
            )
            .way_out("use a file system of this machine"),
        _ => finding,
    }
}

fn space(found: &Statfs) -> Finding {
    let block = u64::try_from(found.block_size()).unwrap_or(0);
    let free = found.blocks_available().saturating_mul(block);
    let finding = Finding::ok("space", format!("{} free", Size(free)));
    let why = "a full store takes no new jobs, and no endings";
    let way_out = "free some space: nothing is lost, and work goes on by itself";
    if free < NO_SPACE {
        finding.because(Severity::Error, why).way_out(way_out)
    } else if free < LITTLE_SPACE {
        finding.because(Severity::Warning, why).way_out(way_out)
    } else {
        finding
    }
}

fn log(files: &Files) -> Finding {
    let length = |path| std::fs::metadata(path).map_or(0, |found| found.len());
    let log = length(files.beside("-wal"));
    let found = format!("{} beside {}", Size(log), Size(length(files.db.clone())));
    let finding = Finding::ok("write-ahead-log", found);
    if log > LONG_LOG {
        finding
            .because(
                Severity::Warning,
                "something reads the store for so long that its log cannot be folded in: it \
                 grows, and every look takes longer",
            )
            .way_out("end programs that have the file open, such as `sqlite3`")
    } else {
        finding
    }
}

fn durability(durability: Durability) -> Finding {
    match durability {
        Durability::Full => Finding::ok("durability", "full: a write survives a power cut"),
        Durability::Normal => Finding::ok("durability", "normal")
            .because(
                Severity::Hint,
                "a write survives the death of any process; a power cut may take the last ones: \
                 jobs that were just submitted, or endings, whose jobs then run again",
            )
            .way_out("start supervisors and producers with `--durability full`"),
    }
}
