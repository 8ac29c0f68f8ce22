//! A disk in memory that loses its power, and the files of checkpoints on it.
//!
//! Of what was not synced anything may survive: each name by itself is the old or the new one, each
//! file has its old bytes, its new ones, or half of them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use super::disk::Disk;
use super::{END, Files};
use crate::broker::BrokerError;
use crate::checkpoint::{CheckpointError, CheckpointManager};

/// What a file holds now, and what of it would survive.
#[derive(Debug, Clone, Default)]
struct File {
    now: Vec<u8>,
    safe: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// From this step on nothing works: the power is gone.
    Cut(usize),
    /// This step fails, and the next ones work.
    Fail(usize),
}

#[derive(Debug, Clone, Default)]
struct Platter {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    safe_names: BTreeMap<String, usize>,
    steps: usize,
    fault: Option<Fault>,
    /// Syncs are answered, and nothing is done.
    lies: bool,
}

#[derive(Debug, Clone, Default)]
struct Sim(Arc<Mutex<Platter>>);

/// What survives of the bytes of a file that were not synced.
#[derive(Debug, Clone, Copy)]
enum Bytes {
    Old,
    New,
    Half,
}

impl Sim {
    fn with(fault: Option<Fault>, lies: bool) -> Self {
        let platter = Platter {
            fault,
            lies,
            ..Platter::default()
        };
        Self(Arc::new(Mutex::new(platter)))
    }

    fn step<T>(&self, step: impl FnOnce(&mut Platter) -> T) -> Result<T, BrokerError> {
        let mut platter = self.0.lock().unwrap();
        let number = platter.steps;
        platter.steps += 1;
        let fails = match platter.fault {
            Some(Fault::Cut(from)) => number >= from,
            Some(Fault::Fail(at)) => number == at,
            None => false,
        };
        if fails {
            let reason = format!("step {number} fails");
            return Err(BrokerError::Away { reason });
        }
        Ok(step(&mut platter))
    }

    fn steps(&self) -> usize {
        self.0.lock().unwrap().steps
    }

    /// Every disk that may be found when the power is back.
    fn survivors(&self) -> Vec<Self> {
        let platter = self.0.lock().unwrap();
        let all: BTreeSet<&String> = platter
            .names
            .keys()
            .chain(platter.safe_names.keys())
            .collect();
        let open: Vec<&String> = all
            .into_iter()
            .filter(|name| platter.names.get(*name) != platter.safe_names.get(*name))
            .collect();
        let mut survivors = Vec::new();
        for choice in 0..1usize << open.len() {
            let mut names = platter.safe_names.clone();
            for (bit, name) in open.iter().enumerate() {
                if choice >> bit & 1 == 1 {
                    match platter.names.get(*name) {
                        Some(file) => names.insert((*name).clone(), *file),
                        None => names.remove(*name),
                    };
                }
            }
            for bytes in [Bytes::Old, Bytes::New, Bytes::Half] {
                survivors.push(Self(Arc::new(Mutex::new(Platter {
                    files: platter.files.iter().map(|file| left(file, bytes)).collect(),
                    safe_names: names.clone(),
                    names: names.clone(),
                    ..Platter::default()
                }))));
            }
        }
        survivors
    }
}

fn left(file: &File, bytes: Bytes) -> File {
    let now = match bytes {
        _ if file.now == file.safe => file.now.clone(),
        Bytes::Old => file.safe.clone(),
        Bytes::New => file.now.clone(),
        Bytes::Half => file.now[..file.now.len() / 2].to_vec(),
    };
    File {
        safe: now.clone(),
        now,
    }
}

impl Disk for Sim {
    type Handle = usize;
    type Lock = ();

    fn read(&self, name: &str, _: usize) -> Result<Option<Vec<u8>>, BrokerError> {
        self.step(|platter| {
            let file = platter.names.get(name);
            file.map(|file| platter.files[*file].now.clone())
        })
    }

    fn create(&self, name: &str) -> Result<usize, BrokerError> {
        self.step(|platter| {
            platter.files.push(File::default());
            let file = platter.files.len() - 1;
            platter.names.insert(name.into(), file);
            file
        })
    }

    fn write(&self, file: &mut usize, bytes: &[u8]) -> Result<(), BrokerError> {
        self.step(|platter| platter.files[*file].now.extend_from_slice(bytes))
    }

    fn sync(&self, file: &usize) -> Result<(), BrokerError> {
        self.step(|platter| {
            if !platter.lies {
                platter.files[*file].safe = platter.files[*file].now.clone();
            }
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), BrokerError> {
        self.step(|platter| {
            let file = platter.names.remove(from).unwrap();
            platter.names.insert(to.into(), file);
        })
    }

    fn sync_names(&self) -> Result<(), BrokerError> {
        self.step(|platter| {
            if !platter.lies {
                platter.safe_names = platter.names.clone();
            }
        })
    }

    fn remove(&self, name: &str) -> Result<bool, BrokerError> {
        self.step(|platter| platter.names.remove(name).is_some())
    }

    fn count(&self, end: &str) -> Result<usize, BrokerError> {
        self.step(|platter| {
            platter
                .names
                .keys()
                .filter(|name| name.ends_with(end))
                .count()
        })
    }

    fn lock(&self, name: &str) -> Result<Option<()>, BrokerError> {
        self.step(|platter| {
            if !platter.names.contains_key(name) {
                platter.files.push(File::default());
                platter.names.insert(name.into(), platter.files.len() - 1);
            }
            Some(())
        })
    }

    fn place(&self, name: &str) -> String {
        format!("`sim/{name}`")
    }
}

const BATCHES: u64 = 4;

fn manager(disk: &Sim) -> CheckpointManager {
    CheckpointManager::new(Arc::new(Files::new(disk.clone())), "ledger").unwrap()
}

/// Commits offsets up to [`BATCHES`], each until it works or three times. Returns the last one that
/// was acknowledged.
fn consume(disk: &Sim) -> u64 {
    let mut manager = manager(disk);
    let mut acknowledged = 0;
    for offset in 1..=BATCHES {
        for _ in 0..3 {
            let before = acknowledged;
            let done = manager.commit(offset, || {
                acknowledged = offset;
                Ok::<(), Infallible>(())
            });
            if done.is_ok() {
                break;
            }
            assert_eq!(acknowledged, before, "acknowledged after a failure");
        }
    }
    acknowledged
}

/// What a survivor says, if it is not as it should be.
fn complaint(survivor: &Sim, acknowledged: u64) -> Option<String> {
    let mut manager = manager(survivor);
    match manager.offset() {
        Err(error) => return Some(error.to_string()),
        Ok(offset) if offset < acknowledged => {
            return Some(format!("{acknowledged} is acknowledged, {offset} is kept"));
        }
        Ok(offset) if offset > BATCHES => return Some(format!("{offset} was never written")),
        Ok(_) => {}
    }
    let next = manager.commit(BATCHES + 1, || Ok::<(), Infallible>(()));
    next.err().map(|error: CheckpointError| error.to_string())
}

fn complaints(lies: bool) -> Vec<String> {
    let whole = Sim::with(None, lies);
    assert_eq!(consume(&whole), BATCHES);
    let mut found = Vec::new();
    for cut in 0..=whole.steps() {
        let disk = Sim::with(Some(Fault::Cut(cut)), lies);
        let acknowledged = consume(&disk);
        for survivor in disk.survivors() {
            let complaint = complaint(&survivor, acknowledged);
            found.extend(complaint.map(|it| format!("cut before step {cut}: {it}")));
        }
    }
    found
}

#[test]
fn whenever_the_power_is_cut_what_was_acknowledged_is_kept_and_nothing_is_torn() {
    assert_eq!(complaints(false), [""; 0]);
    // On a disk that does not sync this test fails.
    let lost = complaints(true);
    assert!(
        lost.iter().any(|it| it.contains("is acknowledged")),
        "{lost:?}"
    );
    assert!(lost.iter().any(|it| it.contains("bytes where")), "{lost:?}");
}

#[test]
fn whichever_step_of_the_disk_fails_the_same_commit_goes_on_and_a_power_cut_then_takes_nothing() {
    let whole = Sim::with(None, false);
    consume(&whole);
    for step in 0..whole.steps() {
        let disk = Sim::with(Some(Fault::Fail(step)), false);
        assert_eq!(consume(&disk), BATCHES, "step {step} fails");
        for survivor in disk.survivors() {
            assert_eq!(complaint(&survivor, BATCHES), None, "step {step} fails");
        }
        let names = disk.count(END).unwrap();
        assert_eq!(names, 1, "step {step} fails");
    }
}
