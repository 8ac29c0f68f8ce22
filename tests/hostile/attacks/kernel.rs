//! On the kernel: calls that no task of a queue needs, given nonsense.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;

use bulkhead_child::Context;
use nix::sys::prctl;

use super::{Attack, Came, Victims, came, reached};
use crate::sys;

pub(super) const ALL: &[(&str, Attack)] = &[
    ("load-bpf", |_, _| {
        reached(libc::SYS_bpf, [0, 0, 0, 0, 0, 0])
    }),
    ("open-io-uring", |_, _| {
        reached(libc::SYS_io_uring_setup, [0, 0, 0, 0, 0, 0])
    }),
    ("open-perf", |_, _| {
        reached(libc::SYS_perf_event_open, [0, 0, 0, usize::MAX, 0, 0])
    }),
    ("read-keyring", |_, _| {
        // KEYCTL_GET_KEYRING_ID of the session.
        reached(libc::SYS_keyctl, [0, 3_usize.wrapping_neg(), 1, 0, 0, 0])
    }),
    ("open-userfaultfd", |_, _| {
        came(sys::raw(libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0]))
    }),
    ("load-kernel", |_, _| {
        reached(libc::SYS_kexec_load, [0, 0, 0, 0, 0, 0])
    }),
    ("load-module", |_, _| {
        reached(libc::SYS_init_module, [0, 0, 0, 0, 0, 0])
    }),
    ("open-by-handle", |_, _| {
        reached(libc::SYS_open_by_handle_at, [0, 0, 0, 0, 0, 0])
    }),
    ("change-personality", |_, _| {
        const ADDR_NO_RANDOMIZE: usize = 0x0004_0000;
        came(sys::raw(
            libc::SYS_personality,
            [ADDR_NO_RANDOMIZE, 0, 0, 0, 0, 0],
        ))
    }),
    ("share-system-v-memory", |_, _| {
        came(
            sys::raw(libc::SYS_shmget, [4711, 4096, 0o1666, 0, 0, 0]).and_then(|id| {
                // Removed at once: it would outlive the test.
                sys::raw(libc::SYS_shmctl, [id, 0, 0, 0, 0, 0])
            }),
        )
    }),
    ("set-the-clock", |_, _| {
        // To nothing at all: whoever may set it is told that it is done.
        came(sys::raw(libc::SYS_settimeofday, [0, 0, 0, 0, 0, 0]))
    }),
    ("rename-the-host", |_, _| {
        reached(libc::SYS_sethostname, [0, usize::MAX >> 1, 0, 0, 0, 0])
    }),
    ("restart-the-machine", |_, _| {
        reached(libc::SYS_reboot, [0, 0, 0, 0, 0, 0])
    }),
    ("read-kernel-log", |_, _| {
        const SYSLOG_ACTION_READ_ALL: usize = 3;
        reached(libc::SYS_syslog, [SYSLOG_ACTION_READ_ALL, 0, 0, 0, 0, 0])
    }),
    ("swap", |_, _| reached(libc::SYS_swapon, [0, 0, 0, 0, 0, 0])),
    ("type-into-a-terminal", terminal),
    ("gain-privileges-by-a-program", privileges),
];

fn terminal(_: &Context, _: &Victims) -> Came {
    const TIOCSTI: usize = 0x5412;
    let open = |path: &str| OpenOptions::new().read(true).write(true).open(path);
    let terminal = open("/dev/tty").or_else(|_| open("/dev/ptmx"));
    let terminal = terminal.map_err(|error| error.to_string())?;
    let number = usize::try_from(terminal.as_raw_fd()).unwrap_or(0);
    let byte = b"x".as_ptr() as usize;
    came(sys::raw(libc::SYS_ioctl, [number, TIOCSTI, byte, 0, 0, 0]))
}

fn privileges(_: &Context, _: &Victims) -> Came {
    let _ = File::open("/proc/self/status");
    match prctl::get_no_new_privs() {
        Ok(true) => Err("no program of its can gain any".into()),
        other => Ok(format!("{other:?}")),
    }
}
