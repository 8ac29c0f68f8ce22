//! The zygote's socket: one packet, one message, descriptors beside it.
//!
//! Nothing here uses the heap, but for what the first messages hold: see [`sys::receive`].

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use bulkhead_shared::codec;
use bulkhead_shared::frame::{FromZygote, ToZygote};

use crate::sys::{self, Received};

/// Largest packet in bytes: a registration with long parameter lists fits many times.
pub(super) const PACKET: usize = 64 << 10;

/// Largest answer to a fork, or word of a warden: some numbers.
const ANSWER: usize = 128;

/// The zygote's end.
#[derive(Debug)]
pub(super) struct Control {
    socket: OwnedFd,
}

impl Control {
    /// Takes standard input, which must be the supervisor's socket.
    pub(super) fn adopt_stdin() -> io::Result<Self> {
        use nix::sys::socket::{SockType, getsockopt, sockopt};
        let stdin = io::stdin();
        if getsockopt(&stdin, sockopt::SockType) != Ok(SockType::SeqPacket) {
            return Err(io::Error::other(
                "standard input is not a supervisor's socket",
            ));
        }
        let socket = nix::unistd::dup(&stdin)?;
        Ok(Self { socket })
    }

    /// Lets go of the socket: its number is another file's from here on.
    pub(super) fn replace(&self, other: BorrowedFd<'_>) -> io::Result<()> {
        sys::place(other, self.socket.as_raw_fd())
    }

    /// Any socket that keeps packets apart.
    pub(super) const fn of(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// The next message, read into `packet`; `None` once the supervisor's end is closed.
    pub(super) fn hear<'a>(
        &self,
        packet: &'a mut [u8],
        received: &mut Received,
    ) -> io::Result<Option<ToZygote<'a>>> {
        let len = sys::receive(self.socket.as_fd(), packet, received)?;
        if len == 0 {
            return Ok(None);
        }
        codec::decode_borrowed(&packet[..len])
            .map(Some)
            .map_err(io::Error::other)
    }

    pub(super) fn say_hello(&self, hello: &[u8]) -> io::Result<()> {
        sys::send(self.socket.as_fd(), hello, None)
    }

    /// Says something of any length.
    pub(super) fn say(&self, message: &FromZygote) -> io::Result<()> {
        let body = codec::body(message).map_err(io::Error::other)?;
        sys::send(self.socket.as_fd(), &body, None)
    }

    /// Answers a request for a fork.
    pub(super) fn answer(
        &self,
        message: &FromZygote,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let mut packet = [0; ANSWER];
        let body = codec::body_into(message, &mut packet);
        let len = body.ok_or_else(|| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
        sys::send(self.socket.as_fd(), &packet[..len], descriptor)
    }
}
