//! Records whose fields are scalars: each becomes a field of the store, as text.

mod read;
mod write;

pub(super) use read::decode;
pub(super) use write::encode;
