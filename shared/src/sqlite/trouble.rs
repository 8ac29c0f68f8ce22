//! What SQLite's errors mean to callers.

use rusqlite::{Error, ErrorCode};

use crate::broker::BrokerError;

/// Says in our words what `error` means for the store at `place`.
pub(super) fn translate(error: &Error, place: &str) -> BrokerError {
    let reason = format!("`{place}`: {error}");
    let refused = |way_out: &str| BrokerError::Refused {
        reason: reason.clone(),
        way_out: way_out.into(),
    };
    let damaged = || BrokerError::Damaged {
        reason: reason.clone(),
        way_out: "stop all supervisors, keep a copy, then run `sqlite3 FILE .recover`".into(),
    };
    match error {
        Error::SqliteFailure(..) => {}
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::SqlInputError { .. }
        | Error::QueryReturnedNoRows => return damaged(),
        _ => return BrokerError::Away { reason },
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => BrokerError::Full { reason },
        // A statement that does not fit the tables: they are not as we made them.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => damaged(),
        Some(ErrorCode::NotADatabase) => refused("name another file; this one was left as it is"),
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::AuthorizationForStatementDenied,
        ) => refused("let this user write the file and its directory, or name another file"),
        Some(ErrorCode::CannotOpen) => {
            refused("check that the file and its directory exist and belong to this user")
        }
        _ => BrokerError::Away { reason },
    }
}

/// Whether `error` only says that others hold the file now.
pub(super) fn is_busy(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}
