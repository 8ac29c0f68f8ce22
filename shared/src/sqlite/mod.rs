//! The embedded store: one SQLite file that all processes of a machine share.

use crate::backend::{Backend, Options};
use crate::broker::BrokerError;

/// Opens the store at `path`, or a private one in memory for `:memory:`.
///
/// # Errors
/// [`BrokerError`].
pub fn open(path: &str, options: &Options) -> Result<Backend, BrokerError> {
    let _ = (path, options);
    todo!()
}
