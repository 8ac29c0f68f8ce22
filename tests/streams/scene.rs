//! What the tests of streams have in common: records, supervisors, and what processors left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkhead_shared::StreamName;
use bulkhead_shared::backend::{self, Missing, Options};
use bulkhead_shared::stream::keep::{Record, Sent, Streams};
use bulkhead_shared::stream::{StreamSpec, encode, partition_of};
use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::{PATIENCE, Supervisor};
use bulkhead_tests::until;
use serde_json::{Value, json};

/// Partitions of the stream.
pub(crate) const PARTITIONS: u16 = 16;

/// One record.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) key: String,
    pub(crate) seq: u64,
    pub(crate) poison: Option<&'static str>,
}

/// Orders of one key.
pub(crate) fn orders(key: &str, seqs: impl IntoIterator<Item = u64>) -> Vec<Order> {
    let order = |seq| Order {
        key: key.into(),
        seq,
        poison: None,
    };
    seqs.into_iter().map(order).collect()
}

/// A poisoned one.
pub(crate) fn poison(key: &str, seq: u64, poison: &'static str) -> Order {
    Order {
        key: key.into(),
        seq,
        poison: Some(poison),
    }
}

/// The stream `orders` of a place.
pub(crate) struct Scene<'a> {
    pub(crate) place: &'a Place,
    pub(crate) streams: Arc<dyn Streams>,
    pub(crate) file: PathBuf,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(place: &'a Place) -> Self {
        let options = Options {
            missing: Missing::Create,
            ..Options::new(&place.url())
        };
        let streams = backend::open(&options).unwrap().streams;
        let spec = StreamSpec::new(Self::name());
        assert_eq!(spec.partitions, PARTITIONS);
        streams.declare(&spec).unwrap();
        Self {
            place,
            streams,
            file: place.path("lines"),
        }
    }

    pub(crate) fn name() -> StreamName {
        StreamName::new("orders").unwrap()
    }

    pub(crate) fn send(&self, orders: &[Order]) {
        for batch in orders.chunks(500) {
            let records: Vec<_> = batch.iter().map(|order| self.record(order)).collect();
            let sent = self.streams.send(&Self::name(), &records).unwrap();
            assert!(sent.iter().all(|one| matches!(one, Sent::Stored(_))));
        }
    }

    fn record(&self, order: &Order) -> Record {
        let Order { key, seq, poison } = order;
        let value = json!({"key": key, "seq": seq, "file": self.file, "poison": poison});
        Record {
            partition: partition_of(key, PARTITIONS).unwrap(),
            id: None,
            fields: encode(&value).unwrap(),
        }
    }

    /// A supervisor with these processors alone.
    pub(crate) fn supervisor(&self, processors: &str, more: &[&str]) -> Supervisor<'a> {
        Supervisor::at(self.place)
            .tasks_of("stream-child")
            .args([
                "--processes",
                "1",
                "--tasks",
                processors,
                "--task-user",
                "keep",
            ])
            .args(more)
            .start()
    }

    /// The partitions of a processor, as `stream lag --json` shows them.
    pub(crate) fn lag(&self, processor: &str) -> Vec<Value> {
        let ran = self.place.run(&[
            "stream",
            "lag",
            "orders",
            "--processor",
            processor,
            "--json",
        ]);
        match ran.code {
            0 => serde_json::from_str(&ran.stdout).unwrap(),
            // Nobody has served it yet.
            _ => Vec::new(),
        }
    }

    /// Waits until a processor has passed everything.
    pub(crate) fn drained(&self, processor: &str) {
        self.lag_when(processor, "everything to be passed", |shares| {
            shares.iter().all(|share| share["lag"] == 0)
        });
    }

    /// Waits until something is so of a processor's partitions.
    pub(crate) fn lag_when(
        &self,
        processor: &str,
        what: &str,
        is_so: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        until(what, PATIENCE, || {
            let shares = self.lag(processor);
            (!shares.is_empty() && is_so(&shares)).then_some(shares)
        })
    }

    /// What a processor has written.
    pub(crate) fn lines(&self, processor: &str) -> Vec<Line> {
        let mut path = self.file.clone().into_os_string();
        path.push(format!(".{processor}"));
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(Line::parse).collect()
    }

    /// No two processes ever held a partition at once.
    pub(crate) fn was_never_shared(&self) {
        let two = self.file.with_extension("two");
        assert!(!two.exists(), "{}", read(&two));
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A line of a processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) key: String,
    pub(crate) seq: u64,
    pub(crate) fence: u64,
    pub(crate) pid: u32,
}

impl Line {
    fn parse(line: &str) -> Self {
        let mut words = line.split(' ');
        let mut next = || {
            words
                .next()
                .unwrap_or_else(|| panic!("a whole line: {line:?}"))
        };
        Self {
            key: next().into(),
            seq: next().parse().unwrap(),
            fence: next().parse().unwrap(),
            pid: next().parse().unwrap(),
        }
    }
}

/// What must hold of the lines of a processor that was to pass `sent`, but for those in `put_away`: per
/// key they are in order, none is missing, and one comes again only in another call.
pub(crate) fn judge(lines: &[Line], sent: &[Order], put_away: &BTreeSet<(String, u64)>) {
    let mut wanted: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for order in sent {
        if !put_away.contains(&(order.key.clone(), order.seq)) {
            wanted.entry(&order.key).or_default().push(order.seq);
        }
    }
    let mut seen: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in lines {
        seen.entry(&line.key).or_default().push(line);
    }
    for (key, seqs) in &wanted {
        let lines = seen.remove(key).unwrap_or_default();
        let mut next = 0;
        let mut last: Option<&Line> = None;
        for line in lines {
            let at = seqs.iter().position(|seq| *seq == line.seq);
            let at = at.unwrap_or_else(|| panic!("{line:?} was not to be passed"));
            if let Some(last) = last {
                assert!(line.fence >= last.fence, "{line:?} after {last:?}");
                if (line.fence, line.pid) == (last.fence, last.pid) {
                    assert!(line.seq > last.seq, "{line:?} after {last:?}");
                }
            }
            assert!(
                at <= next,
                "{key}: {line:?} came too early, before {}",
                seqs[next]
            );
            next = next.max(at + 1);
            last = Some(line);
        }
        assert_eq!(next, seqs.len(), "{key}: not all was passed");
    }
    assert!(seen.is_empty(), "{:?}", seen.keys());
}
