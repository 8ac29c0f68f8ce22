//! Keys of which a queue takes one job.

use uuid::Uuid;

use super::claim::bound;
use super::clock::stored_length;
use super::ledger::Ledger;
use crate::message::Unique;
use std::time::Duration;

/// A key that is kept until its job has ended is looked at so often, in milliseconds, to see
/// whether it still is.
const LOOK_AGAIN: i64 = 3_600_000;

impl Ledger {
    /// The job that has this key, if there is one other than `uuid`.
    pub(super) fn has_key(
        &self,
        line: i64,
        unique: &Unique,
        uuid: Uuid,
    ) -> rusqlite::Result<Option<Uuid>> {
        let sql = "SELECT uuid, until FROM unique_key WHERE line = ?1 AND key = ?2";
        let found = self.row(sql, (line, unique.key.as_str()), |row| {
            Ok((super::claim::uuid(row, 0)?, row.get::<_, Option<i64>>(1)?))
        })?;
        let Some((by, until)) = found.filter(|(by, _)| *by != uuid) else {
            return Ok(None);
        };
        let is_kept = match until {
            Some(until) => until > self.now.wall,
            None => self.is_unended(line, by)?,
        };
        Ok(is_kept.then_some(by))
    }

    /// Gives a key to a job.
    pub(super) fn keep_key(
        &self,
        line: i64,
        unique: &Unique,
        uuid: Uuid,
        since: i64,
    ) -> rusqlite::Result<()> {
        let length = unique.for_ms.map(Duration::from_millis).map(stored_length);
        let until = length.map(|length| since.saturating_add(length));
        let look_at = until.unwrap_or_else(|| self.now.wall.saturating_add(LOOK_AGAIN));
        let sql = "INSERT OR REPLACE INTO unique_key(line, key, uuid, until, look_at)
            VALUES(?1, ?2, ?3, ?4, ?5)";
        self.execute(
            sql,
            (line, unique.key.as_str(), uuid.as_bytes(), until, look_at),
        )?;
        Ok(())
    }

    fn is_unended(&self, line: i64, uuid: Uuid) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM job WHERE uuid = ?1 AND line = ?2
            AND (state < 3 OR state IN (10, 11, 20, 21))";
        let found = self.row(sql, (uuid.as_bytes(), line), |_| Ok(()))?;
        Ok(found.is_some())
    }

    /// Forgets keys whose time is over.
    pub(super) fn forget_keys(&mut self, limit: usize) -> rusqlite::Result<usize> {
        let sql = "SELECT line, key, uuid, until FROM unique_key WHERE look_at <= ?1 LIMIT ?2";
        let due = self.rows(sql, (self.now.wall, bound(limit)), |row| {
            let (line, key): (i64, String) = (row.get(0)?, row.get(1)?);
            Ok((
                line,
                key,
                super::claim::uuid(row, 2)?,
                row.get::<_, Option<i64>>(3)?,
            ))
        })?;
        let mut forgotten = 0;
        for (line, key, uuid, until) in due {
            if until.is_none() && self.is_unended(line, uuid)? {
                let sql = "UPDATE unique_key SET look_at = ?3 WHERE line = ?1 AND key = ?2";
                let later = self.now.wall.saturating_add(LOOK_AGAIN);
                self.execute(sql, (line, key, later))?;
            } else {
                let sql = "DELETE FROM unique_key WHERE line = ?1 AND key = ?2";
                forgotten += self.execute(sql, (line, key))?;
            }
        }
        Ok(forgotten)
    }
}
