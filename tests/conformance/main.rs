//! What every store promises, on each backend.

mod bell;
mod submit;
