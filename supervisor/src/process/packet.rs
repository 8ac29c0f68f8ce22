//! Requests to zygotes and wardens: one packet, one message, descriptors beside it.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use bulkhead_shared::codec;
use bulkhead_shared::frame::ToZygote;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

pub(super) fn send(
    socket: BorrowedFd<'_>,
    message: &ToZygote<'_>,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let body = codec::body(message).map_err(io::Error::other)?;
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let rights = if numbers.is_empty() {
        &[][..]
    } else {
        &rights[..]
    };
    let parts = [IoSlice::new(&body)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &parts, rights, flags, None)?;
    Ok(())
}
