//! Packets and descriptors through a socket, without the heap: every page that a zygote writes to
//! between two forks is copied by the next one.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Most descriptors in one packet: four pipes, a cgroup, a report pipe.
pub(crate) const DESCRIPTORS: usize = 8;

/// Descriptors that came with a packet, in order.
pub(crate) type Received = [Option<OwnedFd>; DESCRIPTORS];

/// Room for the control message that holds them, aligned as its header asks.
#[repr(C, align(8))]
struct Space([u8; 64]);

const NUMBERS: usize = DESCRIPTORS * size_of::<RawFd>();

fn header(packet: &mut libc::iovec, space: &mut Space, used: usize) -> libc::msghdr {
    // SAFETY: msghdr is integers and pointers, for which all zeroes is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = packet;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut space.0).cast();
    header.msg_controllen = used;
    header
}

/// Receives one packet; its length, 0 at the end. A packet or descriptors that do not fit are an
/// error.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    packet: &mut [u8],
    received: &mut Received,
) -> io::Result<usize> {
    let mut space = Space([0; 64]);
    let mut part = libc::iovec {
        iov_base: packet.as_mut_ptr().cast(),
        iov_len: packet.len(),
    };
    // SAFETY: asks for a length in bytes; no memory is touched.
    let room = unsafe { libc::CMSG_SPACE(u32::try_from(NUMBERS).unwrap_or(u32::MAX)) } as usize;
    let mut header = header(&mut part, &mut space, room.min(size_of::<Space>()));
    let len = loop {
        let flags = libc::MSG_CMSG_CLOEXEC;
        // SAFETY: the header describes `packet` and `space`, which outlive the call.
        let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        match usize::try_from(len) {
            Ok(len) => break len,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    };
    take(&header, received);
    if header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    Ok(len)
}

fn take(header: &libc::msghdr, received: &mut Received) {
    // SAFETY: the kernel has filled the header and the space it points to.
    let first = unsafe { libc::CMSG_FIRSTHDR(header) };
    // The supervisor sends one control message at most.
    // SAFETY: it is null or points into the space, which is aligned for it.
    let Some(control) = (unsafe { first.as_ref() }) else {
        return;
    };
    if control.cmsg_level != libc::SOL_SOCKET || control.cmsg_type != libc::SCM_RIGHTS {
        return;
    }
    // SAFETY: asks for a length in bytes; no memory is touched.
    let empty = unsafe { libc::CMSG_LEN(0) } as usize;
    let count = control.cmsg_len.saturating_sub(empty) / size_of::<RawFd>();
    // SAFETY: points behind the header, into the same space.
    let numbers = unsafe { libc::CMSG_DATA(first) }.cast::<RawFd>();
    for (place, slot) in received.iter_mut().enumerate().take(count) {
        // SAFETY: `count` numbers lie there, as the kernel says.
        let number = unsafe { numbers.add(place) };
        // SAFETY: as above; they need not be aligned.
        let number = unsafe { number.read_unaligned() };
        // SAFETY: the kernel has just opened it for us, and nobody else knows it.
        *slot = Some(unsafe { OwnedFd::from_raw_fd(number) });
    }
}

/// Sends one packet, with a descriptor or without.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut space = Space([0; 64]);
    let mut part = libc::iovec {
        // Only read from, as this is a send.
        iov_base: packet.as_ptr().cast_mut().cast(),
        iov_len: packet.len(),
    };
    let number_len = u32::try_from(size_of::<RawFd>()).unwrap_or(u32::MAX);
    // SAFETY: asks for a length in bytes; no memory is touched.
    let room = unsafe { libc::CMSG_SPACE(number_len) } as usize;
    let used = if descriptor.is_some() { room } else { 0 };
    let header = header(&mut part, &mut space, used);
    if let Some(descriptor) = descriptor {
        // SAFETY: the header has just been filled with a space that holds one control message.
        let first = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
        // SAFETY: it points into the space, which is aligned for it and is not read meanwhile.
        if let Some(control) = unsafe { first.as_mut() } {
            control.cmsg_level = libc::SOL_SOCKET;
            control.cmsg_type = libc::SCM_RIGHTS;
            // SAFETY: asks for a length in bytes; no memory is touched.
            control.cmsg_len = unsafe { libc::CMSG_LEN(number_len) } as usize;
            // SAFETY: points behind the header, into the same space.
            let numbers = unsafe { libc::CMSG_DATA(first) }.cast::<RawFd>();
            // SAFETY: there is room for one number, which need not be aligned.
            unsafe { numbers.write_unaligned(descriptor.as_raw_fd()) };
        }
    }
    loop {
        let flags = libc::MSG_NOSIGNAL;
        // SAFETY: the header describes `packet` and `space`, which outlive the call.
        if unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags) } >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::os::fd::AsFd;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC;
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap()
    }

    #[test]
    fn a_packet_comes_with_its_descriptor() {
        let (ours, theirs) = pair();
        send(ours.as_fd(), b"with", Some(ours.as_fd())).unwrap();
        send(ours.as_fd(), b"without", None).unwrap();
        let (mut packet, mut received) = ([0; 16], Received::default());
        let len = receive(theirs.as_fd(), &mut packet, &mut received).unwrap();
        assert_eq!(&packet[..len], b"with");
        assert_eq!(received.iter().flatten().count(), 1);
        // What came is the other end indeed.
        let other = received[0].take().unwrap();
        send(other.as_fd(), b"again", None).unwrap();
        for text in [&b"without"[..], b"again"] {
            let len = receive(theirs.as_fd(), &mut packet, &mut received).unwrap();
            assert_eq!(&packet[..len], text);
            assert!(received.iter().all(Option::is_none));
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_the_end_is_zero() {
        let (ours, theirs) = pair();
        send(ours.as_fd(), b"too long", None).unwrap();
        let (mut packet, mut received) = ([0; 4], Received::default());
        let error = receive(theirs.as_fd(), &mut packet, &mut received).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        drop(ours);
        assert_eq!(
            receive(theirs.as_fd(), &mut packet, &mut received).unwrap(),
            0
        );
    }
}
