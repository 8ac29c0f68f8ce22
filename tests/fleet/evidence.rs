//! The transitions that the store accepted, as its scripts told them in the steps that made them.

use std::collections::HashMap;
use std::str;

use bulkhead_shared::Uuid;
use bulkhead_tests::flow::OTHER;
use redis::Connection;
use serde_json::Value;

use crate::server::Server;

/// The queues there are.
pub(crate) const QUEUES: [&str; 2] = ["default", OTHER];

/// Entries read at once.
const BATCH: usize = 5000;

/// How often a job's attempts have ended in each way, so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) errors: u64,
    pub(crate) crashes: u64,
    pub(crate) lost: u64,
    pub(crate) released: u64,
}

/// What a record says, of what matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) state: char,
    pub(crate) fence: u64,
    pub(crate) owner: Option<String>,
}

impl Record {
    fn read(head: &[u8]) -> Option<Self> {
        let text = str::from_utf8(head.get(..166)?).unwrap();
        let owner = &text[134..166];
        Some(Self {
            state: char::from(head[0]),
            fence: u64::from_str_radix(&text[2..16], 16).unwrap(),
            owner: (!owner.starts_with('-')).then(|| owner.to_owned()),
        })
    }
}

/// One transition that the store accepted.
#[derive(Debug, Clone)]
pub(crate) struct Transition {
    /// By the server's clock, in ms.
    pub(crate) at: u64,
    pub(crate) uuid: Uuid,
    /// `None` for the submission.
    pub(crate) old: Option<Record>,
    pub(crate) new: Record,
    /// When the lease that was there would have ended, by the same clock.
    pub(crate) due: Option<f64>,
    /// Where an attempt ended.
    pub(crate) cause: char,
    pub(crate) counts: Counts,
}

impl Transition {
    /// A job got a new fence and an owner.
    pub(crate) const fn is_claim(&self) -> bool {
        self.new.state == 'L'
    }

    /// A job was taken from somebody.
    pub(crate) fn is_rescue(&self) -> bool {
        self.is_claim() && self.old.as_ref().is_some_and(|old| old.state == 'L')
    }

    /// An attempt ended, well or not.
    pub(crate) fn is_settlement(&self) -> bool {
        !self.is_claim() && self.old.as_ref().is_some_and(|old| old.state == 'L')
    }

    pub(crate) const fn is_ending(&self) -> bool {
        matches!(self.new.state, 'S' | 'D' | 'O')
    }
}

/// What the stream has told so far.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// The last entry read, for each of [`QUEUES`].
    last: [Option<String>; 2],
    all: Vec<Transition>,
    endings: usize,
    /// Owners and fences of jobs that are leased.
    leases: HashMap<Uuid, (String, u64)>,
}

type Entry = (String, HashMap<String, Vec<u8>>);

impl Evidence {
    /// Reads what has come since.
    pub(crate) fn refresh(&mut self, server: &Server, connection: &mut Option<Connection>) {
        for queue in 0..QUEUES.len() {
            self.refresh_queue(queue, server, connection);
        }
    }

    fn refresh_queue(
        &mut self,
        queue: usize,
        server: &Server,
        connection: &mut Option<Connection>,
    ) {
        let stream = format!("{{bulkhead|{}}}evidence", QUEUES[queue]);
        loop {
            let open = connection.get_or_insert_with(|| server.connect());
            let from = self.last[queue]
                .as_ref()
                .map_or_else(|| "-".into(), |id| format!("({id}"));
            let entries = redis::cmd("XRANGE")
                .arg(&[&stream, &from, "+", "COUNT"])
                .arg(BATCH)
                .query::<Vec<Entry>>(open);
            let Ok(entries) = entries else {
                // It was restarted.
                *connection = None;
                continue;
            };
            let count = entries.len();
            for entry in entries {
                self.take(queue, entry);
            }
            if count < BATCH {
                return;
            }
        }
    }

    fn take(&mut self, queue: usize, (id, fields): Entry) {
        let at = id.split('-').next().unwrap().parse().unwrap();
        self.last[queue] = Some(id);
        let uuid = Uuid::try_parse_ascii(&fields["uuid"]).unwrap();
        let new = &fields["new"];
        let due = str::from_utf8(&fields["due"]).unwrap();
        let transition = Transition {
            at,
            uuid,
            old: Record::read(&fields["old"]),
            new: Record::read(new).expect("no job is forgotten within a test"),
            due: due.parse().ok(),
            cause: new.get(166).map_or('-', |cause| char::from(*cause)),
            counts: counts(new),
        };
        self.endings += usize::from(transition.is_ending());
        match &transition.new.owner {
            Some(owner) => {
                let lease = (owner.clone(), transition.new.fence);
                self.leases.insert(uuid, lease);
            }
            None => drop(self.leases.remove(&uuid)),
        }
        self.all.push(transition);
    }

    /// Everything, in the order in which it happened.
    pub(crate) fn all(&self) -> &[Transition] {
        &self.all
    }

    pub(crate) const fn endings(&self) -> usize {
        self.endings
    }

    /// The leases there are now.
    pub(crate) const fn leases(&self) -> &HashMap<Uuid, (String, u64)> {
        &self.leases
    }
}

/// From the history behind a whole record.
fn counts(record: &[u8]) -> Counts {
    let Some(lane) = record.get(175..) else {
        return Counts::default();
    };
    let newline = lane.iter().position(|byte| *byte == b'\n').unwrap();
    let progress = str::from_utf8(&record[167..175]).unwrap();
    let progress = usize::from_str_radix(progress, 16).unwrap();
    let (_, sizes) = record.split_last_chunk::<16>().unwrap();
    let size = |digits| usize::from_str_radix(digits, 16).unwrap_or(0);
    let (message, result) = str::from_utf8(sizes).unwrap().split_at(8);
    let end = lane.len() - sizes.len() - size(message) - size(result);
    let history = &lane[newline + 1 + progress..end];
    let history: Value = serde_json::from_slice(history).unwrap_or_default();
    let count = |name: &str| history[name].as_u64().unwrap_or(0);
    Counts {
        errors: count("errors"),
        crashes: count("crashes"),
        lost: count("lost"),
        released: count("released"),
    }
}
