//! The zygote's socket: one packet, one message, descriptors beside it.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use bulkhead_shared::codec;
use bulkhead_shared::frame::{FromZygote, ToZygote};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Largest packet in bytes: a registration with long parameter lists fits many times.
pub(super) const PACKET: usize = 64 << 10;

/// Most descriptors in one packet: four pipes, a cgroup, a report pipe.
const DESCRIPTORS: usize = 8;

/// The zygote's end.
#[derive(Debug)]
pub(super) struct Control {
    socket: OwnedFd,
    buffers: RefCell<(Vec<u8>, Vec<u8>)>,
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
        let buffers = RefCell::new((vec![0; PACKET], nix::cmsg_space!([RawFd; DESCRIPTORS])));
        Ok(Self { socket, buffers })
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The next message; `None` once the supervisor's end is closed.
    pub(super) fn hear(&self) -> io::Result<Option<(ToZygote, Vec<OwnedFd>)>> {
        let (packet, space) = &mut *self.buffers.borrow_mut();
        let (len, descriptors) = loop {
            let mut parts = [IoSliceMut::new(packet)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(self.descriptor(), &mut parts, Some(space), flags) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(message) => break (message.bytes, received(&message)?),
            }
        };
        if len == 0 {
            return Ok(None);
        }
        let message = codec::decode(&packet[..len]).map_err(io::Error::other)?;
        Ok(Some((message, descriptors)))
    }

    pub(super) fn say_hello(&self, hello: &[u8]) -> io::Result<()> {
        self.send(hello, &[])
    }

    pub(super) fn say(&self, message: &FromZygote) -> io::Result<()> {
        self.send(&codec::body(message).map_err(io::Error::other)?, &[])
    }

    pub(super) fn say_with(&self, message: &FromZygote, descriptor: &OwnedFd) -> io::Result<()> {
        let body = codec::body(message).map_err(io::Error::other)?;
        self.send(&body, &[descriptor.as_raw_fd()])
    }

    fn send(&self, packet: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
        let rights = [ControlMessage::ScmRights(descriptors)];
        let rights = if descriptors.is_empty() {
            &[][..]
        } else {
            &rights[..]
        };
        let parts = [IoSlice::new(packet)];
        let flags = MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg::<()>(self.descriptor(), &parts, rights, flags, None) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(_) => return Ok(()),
            }
        }
    }
}

fn received(message: &nix::sys::socket::RecvMsg<'_, '_, ()>) -> io::Result<Vec<OwnedFd>> {
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just opened these for us, and nobody else knows them.
            descriptors.extend(
                numbers
                    .into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    Ok(descriptors)
}
