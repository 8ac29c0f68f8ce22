//! Changes of jobs that wait.

use super::ledger::Ledger;
use crate::broker::{Amended, Amendment};

impl Ledger {
    pub(super) fn amend(&mut self, amendment: &Amendment) -> rusqlite::Result<Amended> {
        let line = self.line(&amendment.queue)?;
        let sql = "SELECT id, state, priority, header FROM job WHERE uuid = ?1 AND line = ?2";
        let key = (amendment.uuid.as_bytes(), line);
        let found = self.row(sql, key, |row| {
            let version: (u32, Vec<u8>) = (row.get(2)?, row.get(3)?);
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, version))
        })?;
        let Some((id, state, version)) = found else {
            return Ok(Amended::Unknown);
        };
        if !(-1..=1).contains(&state) {
            return Ok(Amended::NotWaiting);
        }
        if version == amendment.after {
            return Ok(Amended::Done);
        }
        if version != amendment.before {
            return Ok(Amended::Changed);
        }
        let (priority, header) = &amendment.after;
        let sql = "UPDATE job SET priority = ?2, header = ?3 WHERE id = ?1";
        self.execute(sql, (id, priority, header))?;
        self.marks.rings = true;
        Ok(Amended::Done)
    }
}
