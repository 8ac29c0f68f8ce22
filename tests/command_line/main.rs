//! The client commands against real stores, as far as they need no running task.

mod inspect;
mod submit;
mod usage;
