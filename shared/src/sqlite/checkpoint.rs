//! Checkpoints: one row each. Unlike other writes they survive a power cut before they count as
//! written: what they let a consumer acknowledge, nobody sends again.

use super::ledger::Ledger;
use super::read::unsigned;
use super::store::{Kind, Store};
use super::writer::Urgency;
use crate::backend::Durability;
use crate::broker::BrokerError;
use crate::checkpoint::{self, Checkpoints, Keep, Kept, MOST};
use crate::name::CheckpointName;

impl Checkpoints for Store {
    fn checkpoint(&self, name: &CheckpointName) -> Result<Option<Kept>, BrokerError> {
        let name = name.clone();
        self.read(move |conn, namespace, _| {
            let sql = "SELECT version, body FROM checkpoint WHERE namespace = ?1 AND name = ?2";
            let mut statement = conn.prepare_cached(sql)?;
            let key = (namespace.as_str(), name.as_str());
            let mut rows = statement.query_map(key, |row| {
                Ok(Kept {
                    version: unsigned(row, 0)?,
                    body: row.get(1)?,
                })
            })?;
            rows.next().transpose()
        })
    }

    fn keep(&self, name: &CheckpointName, version: u64, body: &[u8]) -> Result<Keep, BrokerError> {
        checkpoint::check(name, body)?;
        let (name, body) = (name.clone(), body.to_vec());
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        let kept = self.writer.write(Urgency::Usual, move |ledger| {
            ledger.keep_checkpoint(&name, version, &body)
        })?;
        if matches!(kept, Keep::Written { .. }) {
            self.sync()?;
        }
        Ok(kept)
    }

    fn forget_checkpoint(&self, name: &CheckpointName) -> Result<bool, BrokerError> {
        let name = name.clone();
        self.writer.write(Urgency::Usual, move |ledger| {
            let sql = "DELETE FROM checkpoint WHERE namespace = ?1 AND name = ?2";
            let key = (ledger.namespace.as_str(), name.as_str());
            Ok(ledger.execute(sql, key)? == 1)
        })
    }

    fn place_of(&self, name: &CheckpointName) -> String {
        format!("checkpoint `{name}` in `{}`", self.place)
    }
}

impl Store {
    fn sync(&self) -> Result<(), BrokerError> {
        match &self.kind {
            Kind::File { files, .. } if self.durability == Durability::Normal => {
                files.sync_log().map_err(|error| BrokerError::Away {
                    reason: format!("cannot sync the log of `{}`: {error}", self.place),
                })
            }
            Kind::File { .. } | Kind::Memory(_) => Ok(()),
        }
    }
}

impl Ledger {
    fn keep_checkpoint(
        &self,
        name: &CheckpointName,
        version: i64,
        body: &[u8],
    ) -> rusqlite::Result<Keep> {
        let (namespace, name) = (self.namespace.as_str(), name.as_str());
        let next = if version > 0 {
            let sql = "UPDATE checkpoint SET version = version + 1, body = ?4
                WHERE namespace = ?1 AND name = ?2 AND version = ?3";
            let key = (namespace, name, version, body);
            (self.execute(sql, key)? == 1).then(|| version.saturating_add(1))
        } else {
            let sql = "SELECT count(*) FROM checkpoint WHERE namespace = ?1";
            let count: i64 = self.row(sql, [namespace], |row| row.get(0))?.unwrap_or(0);
            if usize::try_from(count).is_ok_and(|count| count >= MOST) {
                return Ok(Keep::Full);
            }
            // From the clock: no later row of that name has a version that this one had.
            let first = self.now.wall.max(1);
            let sql = "INSERT INTO checkpoint(namespace, name, version, body)
                VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
            let key = (namespace, name, first, body);
            (self.execute(sql, key)? == 1).then_some(first)
        };
        Ok(next.map_or(Keep::Stale, |version| Keep::Written {
            version: u64::try_from(version).unwrap_or(0),
        }))
    }
}
