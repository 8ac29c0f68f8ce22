//! The opened store: answers for the traits by sending errands to the writer and reading beside it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rusqlite::Connection;
use uuid::Uuid;

use super::bell;
use super::claim::Request;
use super::clock::{Clock, Moment, stored_length};
use super::files::{Files, Identity};
use super::flow;
use super::overdue::What;
use super::presence::Announcement;
use super::read::{self, Readers};
use super::submit::Entry;
use super::trouble::translate;
use super::writer::{Urgency, Writer};
use crate::backend::Durability;
use crate::broker::{
    Amended, Amendment, Bell, Broker, BrokerError, Claim, Claimed, Interrupt, Listen, Note,
    Overdue, Presence, Receipt, Renewal, Revocation, Selection, Settlement, Submission, Submitted,
    SupervisorId, Turned,
};
use crate::catalog::{Catalog, Filter, FlowCounts, GroupRow, JobRow, KeptResult, QueueCounts};
use crate::finding::{Depth, Finding};
use crate::fleet::Member;
use crate::flow::{Complete, Errand, Opening};
use crate::name::{Namespace, QueueName};
use crate::task::TaskSpec;

/// One opened store.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) writer: Writer,
    pub(super) namespace: Namespace,
    pub(super) durability: Durability,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) kind: Kind,
    pub(super) place: Arc<str>,
    /// The last selection asked for: the same supervisor asks for the same again and again.
    pub(super) selection: Mutex<Arc<Selection>>,
}

/// Where it is.
#[derive(Debug)]
pub(super) enum Kind {
    File {
        files: Files,
        opened: Identity,
        readers: Readers,
    },
    Memory(Arc<Mutex<Vec<Weak<Interrupt>>>>),
}

impl Store {
    pub(super) fn read<T: Send + 'static>(
        &self,
        mut read: impl FnMut(&Connection, &Namespace, i64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, BrokerError> {
        match &self.kind {
            Kind::File {
                files,
                opened,
                readers,
            } => {
                files.still(*opened)?;
                let now = Moment::read(&*self.clock, 0).wall;
                readers
                    .read(|conn| read(conn, &self.namespace, now))
                    .map_err(|error| translate(&error, &self.place))
            }
            Kind::Memory(_) => self.writer.call(
                Urgency::Usual,
                move |ledger| read(&ledger.conn, &ledger.namespace, ledger.now.wall).map(Some),
                |_| Err(rusqlite::Error::InvalidQuery),
            ),
        }
    }

    fn shared(&self, selection: &Selection) -> Arc<Selection> {
        let mut last = self
            .selection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if **last != *selection {
            *last = Arc::new(selection.clone());
        }
        Arc::clone(&last)
    }
}

impl Broker for Store {
    fn submit(&self, batch: &[Submission<'_>]) -> Result<Vec<Submitted>, BrokerError> {
        let entries: Vec<Entry> = batch.iter().map(Entry::new).collect();
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.submit(&entries))
    }

    fn turn(
        &self,
        settlements: Vec<Settlement>,
        claim: Option<Claim<'_>>,
    ) -> Result<Turned, BrokerError> {
        let request = claim.map(|claim| Request::new(&claim, self.shared(claim.selection)));
        let request = Arc::new(request);
        let (asked, is_bare) = (Arc::clone(&request), settlements.is_empty());
        self.writer.call(
            Urgency::Usual,
            move |ledger| match &*asked {
                Some(request) if is_bare => ledger.look_for(request),
                _ => Ok(None),
            },
            move |ledger| {
                let mut turned = Turned::default();
                if !settlements.is_empty() {
                    turned.settled = ledger.settle(&settlements)?;
                    turned.has_completed = ledger.marks.has_completed;
                }
                if let Some(request) = &*request {
                    ledger.claim(request, &mut turned)?;
                }
                Ok(turned)
            },
        )
    }

    fn renew(&self, receipts: &[Receipt], lease: Duration) -> Result<Vec<Renewal>, BrokerError> {
        if receipts.is_empty() {
            return Ok(Vec::new());
        }
        let (receipts, lease) = (receipts.to_vec(), stored_length(lease));
        self.writer
            .write(Urgency::First, move |ledger| ledger.renew(&receipts, lease))
    }

    fn note(&self, notes: &[Note]) -> Result<(), BrokerError> {
        let notes = notes.to_vec();
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.note(&notes))
    }

    fn take_over(
        &self,
        what: &Overdue<'_>,
        owner: SupervisorId,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Claimed>, BrokerError> {
        let what = match what {
            Overdue::Lease => What::Lease,
            Overdue::Expired => What::Expired,
            Overdue::UnknownTask { queues, after } => What::UnknownTask(queues.to_vec(), *after),
        };
        let looked = what.clone();
        let lease = stored_length(lease);
        self.writer.call(
            Urgency::Usual,
            move |ledger| {
                let is_overdue = ledger.is_overdue(&looked)?;
                Ok((!is_overdue).then(Vec::new))
            },
            move |ledger| ledger.take_over(&what, owner, limit, lease),
        )
    }

    fn revoke(&self, uuid: Uuid, skip_if_running: bool) -> Result<Revocation, BrokerError> {
        self.writer.write(Urgency::Usual, move |ledger| {
            ledger.revoke(uuid, skip_if_running)
        })
    }

    fn amend(&self, amendment: &Amendment) -> Result<Amended, BrokerError> {
        let amendment = amendment.clone();
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.amend(&amendment))
    }

    fn remove(&self, uuids: &[Uuid]) -> Result<usize, BrokerError> {
        let uuids = uuids.to_vec();
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.remove(&uuids))
    }

    fn open(&self, opening: &Opening) -> Result<Submitted, BrokerError> {
        let opening = opening.clone();
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.open_new(&opening))
    }

    fn complete(&self, limit: usize) -> Result<Vec<Complete>, BrokerError> {
        self.writer.call(
            Urgency::Usual,
            move |ledger| match ledger.has_complete()? {
                true => ledger.complete(limit).map(Some),
                false => Ok(Some(Vec::new())),
            },
            move |ledger| ledger.complete(limit),
        )
    }

    fn close(&self, group: &Complete, errands: Vec<Errand>) -> Result<bool, BrokerError> {
        let group = group.uuid;
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.close(group, &errands))
    }

    fn retry_dead(&self, uuids: &[Uuid]) -> Result<usize, BrokerError> {
        let uuids = uuids.to_vec();
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.retry_dead(&uuids))
    }

    fn drop_dead(&self, uuids: &[Uuid]) -> Result<usize, BrokerError> {
        let uuids = uuids.to_vec();
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.drop_dead_jobs(&uuids))
    }

    fn limit_queue(&self, queue: &QueueName, most: Option<u32>) -> Result<(), BrokerError> {
        let queue = queue.clone();
        self.writer.write(Urgency::Usual, move |ledger| {
            let line = ledger.line(&queue)?;
            ledger.limit(line, 0, most)
        })
    }

    fn announce(&self, presence: &Presence) -> Result<(), BrokerError> {
        let presence = Announcement::new(presence);
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.announce(&presence))
    }

    fn leave(&self, id: SupervisorId) -> Result<(), BrokerError> {
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.leave(id))
    }

    fn prune(&self, limit: usize) -> Result<usize, BrokerError> {
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.prune(limit))
    }

    fn bell(&self, _: Listen<'_>) -> Result<Box<dyn Bell>, BrokerError> {
        match &self.kind {
            Kind::File { files, .. } => Ok(bell::listen(&files.beside(".bell"))),
            Kind::Memory(listeners) => bell::listen_in_memory(listeners),
        }
    }
}

impl Catalog for Store {
    fn jobs_by_id(&self, uuids: &[Uuid]) -> Result<Vec<Option<JobRow>>, BrokerError> {
        let uuids = uuids.to_vec();
        self.read(move |conn, namespace, now| read::jobs_by_id(conn, namespace, &uuids, now))
    }

    fn list(&self, filter: &Filter, limit: usize) -> Result<Vec<JobRow>, BrokerError> {
        let filter = filter.clone();
        self.read(move |conn, namespace, now| read::list(conn, namespace, &filter, limit, now))
    }

    fn result(&self, uuid: Uuid) -> Result<Option<KeptResult>, BrokerError> {
        self.read(move |conn, namespace, now| {
            let found = read::result(conn, namespace, uuid, now)?;
            Ok(found.map(|(_, kept)| kept))
        })
    }

    fn take_result(&self, uuid: Uuid) -> Result<Option<KeptResult>, BrokerError> {
        self.writer
            .write(Urgency::Usual, move |ledger| ledger.take_result(uuid))
    }

    fn payload(&self, uuid: Uuid) -> Result<Option<Vec<u8>>, BrokerError> {
        self.read(move |conn, namespace, _| read::payload(conn, namespace, uuid))
    }

    fn groups(&self, uuids: &[Uuid]) -> Result<Vec<Option<GroupRow>>, BrokerError> {
        let uuids = uuids.to_vec();
        self.read(move |conn, namespace, _| flow::groups(conn, namespace, &uuids))
    }

    fn flows(&self) -> Result<FlowCounts, BrokerError> {
        self.read(|conn, namespace, _| flow::flows(conn, namespace))
    }

    fn queues(&self) -> Result<Vec<QueueCounts>, BrokerError> {
        self.read(|conn, namespace, _| read::queues(conn, namespace))
    }

    fn unfinished(&self, queues: &[QueueName]) -> Result<u64, BrokerError> {
        let queues = queues.to_vec();
        self.read(move |conn, namespace, _| read::unfinished(conn, namespace, &queues))
    }

    fn tasks(&self) -> Result<Vec<TaskSpec>, BrokerError> {
        self.read(|conn, namespace, _| read::tasks(conn, namespace))
    }

    fn place(&self) -> String {
        self.place.to_string()
    }

    fn fleet(&self) -> Result<Vec<Member>, BrokerError> {
        // Only the writer can tell who lives: it has the locks.
        self.writer.call(
            Urgency::Usual,
            |ledger| ledger.fleet().map(Some),
            |ledger| ledger.fleet(),
        )
    }

    fn examine(&self, depth: Depth) -> Result<Vec<Finding>, BrokerError> {
        self.findings(depth)
    }
}
