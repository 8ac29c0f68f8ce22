//! The lines that attempts wrote while they held the register's lock, whichever host they ran on.

use std::collections::HashSet;
use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bulkhead_shared::Uuid;

/// An attempt.
pub(crate) type Attempt = (Uuid, u64);

/// A write, in the order in which all hosts made them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write {
    pub(crate) attempt: Attempt,
    /// By the clock that all hosts of one machine share, in seconds.
    pub(crate) at: f64,
    pub(crate) is_begin: bool,
    pub(crate) is_accepted: bool,
}

/// What was written so far.
#[derive(Debug)]
pub(crate) struct Attempts {
    path: PathBuf,
    file: File,
    read: u64,
    pub(crate) writes: Vec<Write>,
    begun: HashSet<Attempt>,
    /// Those that came to their end, accepted.
    ended: HashSet<Attempt>,
}

impl Attempts {
    /// Empty files that every user may write to.
    pub(crate) fn create(path: PathBuf) -> Self {
        for file in [&path, &path.with_extension("register")] {
            std::fs::write(file, "").unwrap();
            std::fs::set_permissions(file, Permissions::from_mode(0o666)).unwrap();
        }
        let file = File::open(&path).unwrap();
        Self {
            path,
            file,
            read: 0,
            writes: Vec::new(),
            begun: HashSet::new(),
            ended: HashSet::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what has come since.
    pub(crate) fn refresh(&mut self) {
        let length = self.file.metadata().unwrap().len();
        let mut bytes = vec![0; usize::try_from(length - self.read).unwrap()];
        self.file.read_exact_at(&mut bytes, self.read).unwrap();
        self.read = length;
        // No line crosses a page, so there are no halves.
        for line in std::str::from_utf8(&bytes).unwrap().lines() {
            self.take(line);
        }
    }

    fn take(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        let [uuid, fence, word, at, said] = words[..] else {
            panic!("`{line}` is no line");
        };
        let attempt: Attempt = (uuid.parse().unwrap(), fence.parse().unwrap());
        let (is_begin, is_accepted) = (word == "begin", said == "accepted");
        if is_begin {
            let is_new = self.begun.insert(attempt);
            assert!(is_new, "{attempt:?} was started twice under one fence");
        }
        if word == "end" && is_accepted {
            self.ended.insert(attempt);
        }
        self.writes.push(Write {
            attempt,
            at: at.parse().unwrap(),
            is_begin,
            is_accepted,
        });
    }

    pub(crate) fn has_begun(&self, attempt: &Attempt) -> bool {
        self.begun.contains(attempt)
    }

    pub(crate) fn has_ended(&self, attempt: &Attempt) -> bool {
        self.ended.contains(attempt)
    }
}
