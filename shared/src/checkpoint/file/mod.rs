//! Checkpoints as files of one directory.
//!
//! A checkpoint is written under another name, synced, renamed, and the directory is synced: after a
//! crash or a power cut a file is what it was before or what it was to be. A process that writes
//! holds a lock on a file beside it.

mod directory;
mod disk;
#[cfg(test)]
mod power;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use self::directory::Directory;
use self::disk::Disk;
use super::seal::{seal, unseal};
use super::store::check;
use super::{BODY_LIMIT, Broken, Checkpoints, Keep, Kept, MOST};
use crate::broker::BrokerError;
use crate::name::CheckpointName;
use crate::time::Timestamp;

const KIND: &str = "file";

/// How files of checkpoints end.
const END: &str = ".checkpoint";

/// Longest file that is read: a body, its name and the lines before them.
const LONGEST: usize = BODY_LIMIT + 1024;

/// Keeps checkpoints as files of a directory, each readable by its owner alone.
///
/// Several processes of a machine can share the directory. Names keep their letters; `/` becomes `%`.
#[derive(Debug)]
pub struct FileCheckpoints(Files<Directory>);

impl FileCheckpoints {
    /// Opens the directory, and makes it if only the last part of its path is missing.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] with a way out if it cannot be used or others can write to it.
    pub fn open(dir: &Path) -> Result<Self, BrokerError> {
        Directory::open(dir).map(|disk| Self(Files::new(disk)))
    }
}

impl Checkpoints for FileCheckpoints {
    fn checkpoint(&self, name: &CheckpointName) -> Result<Option<Kept>, BrokerError> {
        self.0.checkpoint(name)
    }

    fn keep(&self, name: &CheckpointName, version: u64, body: &[u8]) -> Result<Keep, BrokerError> {
        self.0.keep(name, version, body)
    }

    fn forget_checkpoint(&self, name: &CheckpointName) -> Result<bool, BrokerError> {
        self.0.forget_checkpoint(name)
    }

    fn place_of(&self, name: &CheckpointName) -> String {
        self.0.place_of(name)
    }
}

/// Checkpoints on a disk, which tests cut from its power.
#[derive(Debug)]
struct Files<D> {
    disk: D,
    /// One thread of this process writes at a time; locks on files are between processes.
    writing: Mutex<()>,
}

impl<D: Disk> Files<D> {
    const fn new(disk: D) -> Self {
        Self {
            disk,
            writing: Mutex::new(()),
        }
    }

    fn load(&self, name: &CheckpointName) -> Result<Option<Kept>, BrokerError> {
        let Some(bytes) = self.disk.read(&file_name(name), LONGEST)? else {
            return Ok(None);
        };
        parse(name, &bytes)
            .map(Some)
            .map_err(|what| BrokerError::Damaged {
                reason: format!("{}: {what}", self.place_of(name)),
                way_out: "put back a copy of the file, or remove it to begin from nothing".into(),
            })
    }

    /// Runs a change while nobody else writes that checkpoint.
    fn alone<T>(
        &self,
        name: &CheckpointName,
        change: impl FnOnce() -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = self.disk.lock(&format!("{}.lock", file_name(name)))?;
        let Some(_lock) = lock else {
            return Err(BrokerError::Away {
                reason: format!("another process is writing {}", self.place_of(name)),
            });
        };
        change()
    }

    fn replace(&self, name: &CheckpointName, bytes: &[u8]) -> Result<(), BrokerError> {
        let (file, new) = (file_name(name), format!("{}.new", file_name(name)));
        let mut handle = self.disk.create(&new)?;
        self.disk.write(&mut handle, bytes)?;
        self.disk.sync(&handle)?;
        self.disk.rename(&new, &file)?;
        self.disk.sync_names()
    }
}

impl<D: Disk> Checkpoints for Files<D> {
    fn checkpoint(&self, name: &CheckpointName) -> Result<Option<Kept>, BrokerError> {
        self.load(name)
    }

    fn keep(&self, name: &CheckpointName, version: u64, body: &[u8]) -> Result<Keep, BrokerError> {
        check(name, body)?;
        self.alone(name, || {
            let found = self.load(name)?.map_or(0, |kept| kept.version);
            if found != version {
                return Ok(Keep::Stale);
            }
            if found == 0 && self.disk.count(END)? >= MOST {
                return Ok(Keep::Full);
            }
            // From the clock: no later file of that name has a version that this one had.
            let version = match found {
                0 => Timestamp::now().as_millis().max(1),
                found => found.saturating_add(1),
            };
            let mut content = format!("{name} {version}\n").into_bytes();
            content.extend_from_slice(body);
            self.replace(name, &seal(KIND, &content))?;
            Ok(Keep::Written { version })
        })
    }

    fn forget_checkpoint(&self, name: &CheckpointName) -> Result<bool, BrokerError> {
        self.alone(name, || {
            let was_there = self.disk.remove(&file_name(name))?;
            self.disk.sync_names()?;
            Ok(was_there)
        })
    }

    fn place_of(&self, name: &CheckpointName) -> String {
        self.disk.place(&file_name(name))
    }
}

/// No two names have the same: names have no `%`.
fn file_name(name: &CheckpointName) -> String {
    format!("{}{END}", name.as_str().replace('/', "%"))
}

fn parse(name: &CheckpointName, bytes: &[u8]) -> Result<Kept, Broken> {
    let content = unseal(KIND, bytes)?;
    let end = content.iter().position(|byte| *byte == b'\n');
    let line = end.and_then(|end| std::str::from_utf8(&content[..end]).ok());
    let (found, version) = line
        .and_then(|line| line.split_once(' '))
        .ok_or_else(|| Broken::Content("its name is missing".into()))?;
    if found != name.as_str() {
        return Err(Broken::Content(format!("it is that of `{found}`")));
    }
    let version = version.parse().ok().filter(|version| *version > 0);
    Ok(Kept {
        version: version.ok_or_else(|| Broken::Content("it has no version".into()))?,
        body: content[end.map_or(0, |end| end + 1)..].to_vec(),
    })
}
