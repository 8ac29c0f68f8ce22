//! System calls that no crate wraps. All unsafe code of the zygote lives here.

mod clone;
mod exec;
mod filter;
mod leavings;
mod limits;
mod mounts;
mod network;
mod pages;
mod privilege;
mod reap;
mod socket;

pub(crate) use clone::{Forked, How, spawn_below, spawn_sibling, spawn_unheard, tid_address};
pub(crate) use exec::{leave, replace};
pub(crate) use filter::enter_filter;
pub(crate) use leavings::{Directory, has_ipc};
pub(crate) use limits::{
    close_all_but, close_from, limit_both, lower_limit, place, place_privately,
};
pub(crate) use mounts::{
    NO_DEVICES, NO_EXECUTION, NO_SETUID, READ_ONLY, attach, confine_tree, copy_tree, own_proc, text,
};
pub(crate) use network::loopback_up;
pub(crate) use pages::{Memory, Program, above, table as page_table, touch};
pub(crate) use privilege::{drop_bounding_set, drop_capabilities, restrict_self};
pub(crate) use reap::{Ended, Reaped, reap_any, reap_next, wait_for_signal, whole_usage};
pub(crate) use socket::{Received, receive, send};

use std::io;

/// The value of a system call, or the error it left in errno.
fn check(value: libc::c_long) -> io::Result<libc::c_long> {
    if value == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}
