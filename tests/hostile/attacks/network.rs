//! On what listens on this machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as Local, UnixStream};
use std::time::Duration;

use bulkhead_child::Context;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::{Attack, Came, Victims, came};

pub(super) const ALL: &[(&str, Attack)] = &[
    ("connect-tcp", tcp),
    ("talk-udp", udp),
    ("connect-unix-path", unix_path),
    ("connect-unix-abstract", unix_abstract),
    ("open-netlink", netlink),
    ("open-packet-socket", packet),
    ("open-vsock", vsock),
    ("open-crypto-socket", crypto),
];

const PATIENCE: Duration = Duration::from_secs(2);

fn talk(mut stream: impl Read + Write) -> std::io::Result<()> {
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}

fn tcp(_: &Context, victims: &Victims) -> Came {
    let address = SocketAddr::from(([127, 0, 0, 1], victims.port("tcp")));
    came(TcpStream::connect_timeout(&address, PATIENCE).and_then(talk))
}

fn udp(_: &Context, victims: &Victims) -> Came {
    let talk = || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(("127.0.0.1", victims.port("udp")))?;
        socket.send(b"x")?;
        socket.recv(&mut [0])
    };
    came(talk())
}

fn unix_path(_: &Context, victims: &Victims) -> Came {
    came(UnixStream::connect(victims.path("unix")).and_then(talk))
}

fn unix_abstract(_: &Context, victims: &Victims) -> Came {
    let address = Local::from_abstract_name(victims.text("abstract"));
    came(
        address
            .and_then(|address| UnixStream::connect_addr(&address))
            .and_then(talk),
    )
}

fn open(family: AddressFamily, kind: SockType) -> Came {
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None);
    came(socket.map(|socket| socket.as_raw_fd()))
}

fn netlink(_: &Context, _: &Victims) -> Came {
    open(AddressFamily::Netlink, SockType::Raw)
}

fn packet(_: &Context, _: &Victims) -> Came {
    open(AddressFamily::Packet, SockType::Raw)
}

fn vsock(_: &Context, _: &Victims) -> Came {
    open(AddressFamily::Vsock, SockType::Stream)
}

fn crypto(_: &Context, _: &Victims) -> Came {
    open(AddressFamily::Alg, SockType::SeqPacket)
}
