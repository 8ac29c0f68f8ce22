//! Streams. Leases are counted as those of jobs: since the machine started, and over at once when
//! their supervisor is known to be dead.

mod operate;
mod pack;
mod rows;
mod send;
mod serve;
mod step;

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::clock::stored_length;
use super::ledger::Ledger;
use super::store::Store;
use super::trouble::translate;
use super::writer::{Begun, Urgency};
use crate::broker::{BrokerError, SupervisorId};
use crate::name::{Namespace, StreamName, TaskName};
use crate::stream::keep::{
    Attendance, DeadEvent, Duty, Hold, Overview, Read, Record, Seek, Sent, Step, Streams, Taken,
    Turn, View,
};
use crate::stream::{Place, StreamSpec, sending};

/// Rows of events removed in one move when a namespace is cleared.
const CLEARED_AT_ONCE: usize = 10_000;

/// Why a move was not made.
enum Fault {
    /// SQLite says so, or what is stored makes no sense.
    Sql(rusqlite::Error),
    /// We say so.
    Say(BrokerError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<BrokerError> for Fault {
    fn from(error: BrokerError) -> Self {
        Self::Say(error)
    }
}

type Done<T> = Result<T, Fault>;

impl Ledger {
    /// Does `work` so that its failure takes nothing with it of what others have done in the same
    /// transaction.
    fn apart<T>(
        &mut self,
        place: &str,
        work: impl FnOnce(&mut Self) -> Done<T>,
    ) -> rusqlite::Result<Result<T, BrokerError>> {
        self.execute("SAVEPOINT apart", [])?;
        let done = match work(self) {
            Ok(done) => Ok(done),
            Err(Fault::Say(error)) => Err(error),
            Err(Fault::Sql(error)) => match translate(&error, place) {
                damaged @ BrokerError::Damaged { .. } if !self.conn.is_autocommit() => Err(damaged),
                _ => return Err(error),
            },
        };
        if done.is_err() {
            self.execute("ROLLBACK TO apart", [])?;
        }
        self.execute("RELEASE apart", [])?;
        Ok(done)
    }
}

impl Store {
    fn change<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnMut(&mut Ledger) -> Done<T> + Send + 'static,
    ) -> Result<T, BrokerError> {
        self.begin(urgency, work)?.wait()?
    }

    fn begin<T: Send + 'static>(
        &self,
        urgency: Urgency,
        mut work: impl FnMut(&mut Ledger) -> Done<T> + Send + 'static,
    ) -> Result<Begun<Result<T, BrokerError>>, BrokerError> {
        let place = Arc::clone(&self.place);
        let work = move |ledger: &mut Ledger| ledger.apart(&place, &mut work);
        self.writer.begin(urgency, |_| Ok(None), work)
    }

    fn look_at<T: Send + 'static>(
        &self,
        mut look: impl FnMut(&Connection, &Namespace) -> Done<T> + Send + 'static,
    ) -> Result<T, BrokerError> {
        self.read(move |conn, namespace, _| match look(conn, namespace) {
            Ok(found) => Ok(Ok(found)),
            Err(Fault::Say(error)) => Ok(Err(error)),
            Err(Fault::Sql(error)) => Err(error),
        })?
    }

    /// Removes all streams of the namespace, in pieces.
    pub(super) fn clear_streams(&self) -> Result<(), BrokerError> {
        while !self.writer.write(Urgency::Usual, |ledger| {
            ledger.clear_streams(CLEARED_AT_ONCE)
        })? {}
        Ok(())
    }
}

impl Streams for Store {
    fn declare(&self, spec: &StreamSpec) -> Result<(), BrokerError> {
        sending::check_spec(spec)?;
        let spec = spec.clone();
        self.change(Urgency::Usual, move |ledger| ledger.declare(&spec))
    }

    fn send(&self, stream: &StreamName, records: &[Record]) -> Result<Vec<Sent>, BrokerError> {
        sending::in_batches(stream, records, |batch| {
            let stream = stream.clone();
            let batch: Vec<_> = batch.iter().map(|&one| one.clone()).collect();
            self.change(Urgency::Usual, move |ledger| ledger.send(&stream, &batch))
        })
    }

    fn attend(&self, attendance: Attendance<'_>) -> Result<View, BrokerError> {
        let (duty, member) = (attendance.duty.clone(), attendance.member);
        let (lease, holds) = (stored_length(attendance.lease), attendance.holds.to_vec());
        self.change(Urgency::First, move |ledger| {
            ledger.attend(&duty, member, lease, &holds)
        })
    }

    fn take(
        &self,
        duty: &Duty,
        member: SupervisorId,
        partitions: &[u16],
        lease: Duration,
    ) -> Result<Vec<Taken>, BrokerError> {
        let (duty, lease) = (duty.clone(), stored_length(lease));
        let partitions = partitions.to_vec();
        self.change(Urgency::Usual, move |ledger| {
            ledger.take(&duty, member, &partitions, lease)
        })
    }

    fn give_back(&self, duty: &Duty, holds: &[Hold]) -> Result<(), BrokerError> {
        let (duty, holds) = (duty.clone(), holds.to_vec());
        self.change(Urgency::Usual, move |ledger| {
            ledger.give_back(&duty, &holds)
        })
    }

    fn depart(&self, duty: &Duty, member: SupervisorId) -> Result<(), BrokerError> {
        let duty = duty.clone();
        self.change(Urgency::Usual, move |ledger| ledger.depart(&duty, member))
    }

    fn step(&self, duty: &Duty, steps: &[Step], reads: &[Read]) -> Result<Turn, BrokerError> {
        let mut making = None;
        if !steps.is_empty() {
            let (duty, steps) = (duty.clone(), steps.to_vec());
            let make = move |ledger: &mut Ledger| ledger.make(&duty, &steps);
            making = Some(self.begin(Urgency::Usual, make)?);
        }
        // Meanwhile: no step changes what there is to read.
        let mut events = Ok(Vec::new());
        if !reads.is_empty() {
            let (stream, reads) = (duty.stream.clone(), reads.to_vec());
            events = self
                .look_at(move |conn, namespace| step::read_all(conn, namespace, &stream, &reads));
        }
        let made = making.map_or_else(|| Ok(Ok(Vec::new())), Begun::wait);
        Ok(Turn {
            steps: made??,
            events: events?,
        })
    }

    fn seek(&self, duty: &Duty, partitions: &[u16], to: Seek) -> Result<(), BrokerError> {
        let (duty, partitions) = (duty.clone(), partitions.to_vec());
        self.change(Urgency::Usual, move |ledger| {
            ledger.seek(&duty, &partitions, to)
        })
    }

    fn release(&self, duty: &Duty, partitions: &[u16]) -> Result<Vec<u16>, BrokerError> {
        let (duty, partitions) = (duty.clone(), partitions.to_vec());
        self.change(Urgency::Usual, move |ledger| {
            ledger.end_rest(&duty, &partitions)
        })
    }

    fn pause(
        &self,
        stream: &StreamName,
        processor: Option<&TaskName>,
        why: Option<&str>,
    ) -> Result<(), BrokerError> {
        let (stream, processor) = (stream.clone(), processor.cloned());
        let why = why.map(str::to_owned);
        self.change(Urgency::Usual, move |ledger| {
            ledger.pause(&stream, processor.as_ref(), why.as_deref())
        })
    }

    fn forget(&self, duty: &Duty) -> Result<bool, BrokerError> {
        let duty = duty.clone();
        self.change(Urgency::Usual, move |ledger| ledger.forget_processor(&duty))
    }

    fn dead(&self, duty: &Duty, partition: u16, most: u32) -> Result<Vec<DeadEvent>, BrokerError> {
        let duty = duty.clone();
        self.look_at(move |conn, namespace| operate::dead(conn, namespace, &duty, partition, most))
    }

    fn drop_dead(&self, duty: &Duty, partition: u16, to: Place) -> Result<u64, BrokerError> {
        let duty = duty.clone();
        self.change(Urgency::Usual, move |ledger| {
            ledger.drop_dead(&duty, partition, to)
        })
    }

    fn streams(&self, only: Option<&StreamName>) -> Result<Vec<Overview>, BrokerError> {
        let (only, place) = (only.cloned(), Arc::clone(&self.place));
        // Only the writer can tell who lives: it has the locks.
        self.writer.call(
            Urgency::Usual,
            move |ledger| match ledger.overviews(only.as_ref()) {
                Ok(found) => Ok(Some(Ok(found))),
                Err(Fault::Say(error)) => Ok(Some(Err(error))),
                Err(Fault::Sql(error)) => Ok(Some(Err(translate(&error, &place)))),
            },
            |_| Ok(Ok(Vec::new())),
        )?
    }
}
