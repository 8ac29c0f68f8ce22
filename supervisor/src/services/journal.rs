//! Journals and signals, as tasks ask for them.

use bulkhead_shared::ask::{Denied, ENTRY_LIMIT, Remembered, Reply};
use bulkhead_shared::broker::{BrokerError, Receipt};
use bulkhead_shared::journal::{BYTES_MOST, ENTRIES_MOST, Journals, Page, Record, Recorded, Taken};
use bulkhead_shared::name::Key;

/// Longest name of an entry, in bytes.
const KEY_MOST: usize = 256;

/// What is wrong with an entry, if anything is.
pub(super) fn misfit(key: &str, body: &[u8]) -> Option<Reply> {
    let is_name = !key.is_empty()
        && key.len() <= KEY_MOST
        && key.bytes().all(|byte| byte.is_ascii_graphic())
        // The store keeps its own beside them.
        && !key.starts_with(['#', '~']);
    let text = if !is_name {
        format!("an entry's name has 1 to {KEY_MOST} printable characters")
    } else if body.len() > ENTRY_LIMIT {
        format!("an entry has at most {ENTRY_LIMIT} bytes")
    } else {
        return None;
    };
    Some(Reply::denied(Denied::Invalid, text))
}

pub(super) fn lost() -> Reply {
    let text = "the job is not this attempt's any more: it was revoked, or is somebody else's";
    Reply::denied(Denied::Lost, text)
}

/// Writes entries together; an answer for each.
pub(super) fn record(
    journals: &dyn Journals,
    records: &[Record],
) -> Result<Vec<Reply>, BrokerError> {
    let reply = |recorded| match recorded {
        Recorded::Written { at, now } => Reply::Written {
            at_ms: at.as_millis(),
            now_ms: now.as_millis(),
        },
        Recorded::Behind => Reply::Behind,
        Recorded::Lost => lost(),
        Recorded::Full => {
            let text = format!(
                "the job's journal is full: it has room for {ENTRIES_MOST} entries and {BYTES_MOST} bytes (record less, or end the job and submit another)"
            );
            Reply::denied(Denied::Full, text)
        }
    };
    Ok(journals.record(records)?.into_iter().map(reply).collect())
}

pub(super) fn recall(
    journals: &dyn Journals,
    receipt: &Receipt,
    after: u32,
) -> Result<Reply, BrokerError> {
    let Some(Page { entries, more, now }) = journals.recall(receipt, after)? else {
        return Ok(lost());
    };
    let remembered = entries.into_iter().map(|entry| Remembered {
        key: entry.key,
        at_ms: entry.at.as_millis(),
        body: entry.body.into(),
    });
    Ok(Reply::Page {
        entries: remembered.collect(),
        more,
        now_ms: now.as_millis(),
    })
}

pub(super) fn take(
    journals: &dyn Journals,
    receipt: &Receipt,
    name: &str,
    by: &str,
) -> Result<Reply, BrokerError> {
    let name = match Key::new(name) {
        Ok(name) => name,
        Err(error) => return Ok(super::invalid(&error)),
    };
    if let Some(misfit) = misfit(by, &[]) {
        return Ok(misfit);
    }
    Ok(match journals.take(receipt, &name, by)? {
        Taken::Signal { payload, now } => Reply::Signal {
            payload: Some(payload.into()),
            now_ms: now.as_millis(),
        },
        Taken::Nothing { now } => Reply::Signal {
            payload: None,
            now_ms: now.as_millis(),
        },
        Taken::Lost => lost(),
    })
}
