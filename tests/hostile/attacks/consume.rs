//! On what everybody needs. The test keeps all of it in a box.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::thread;

use bulkhead_child::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{ForkResult, pause};

use super::{Attack, Came, Victims};
use crate::sys;

pub(super) const ALL: &[(&str, Attack)] = &[
    ("fork-bomb", forks),
    ("thread-bomb", threads),
    ("memory-bomb", memory),
    ("shared-memory-bomb", shared_memory),
    ("memfd-bomb", memfd),
    ("many-processes-memory-bomb", processes_memory),
    ("hidden-memory-bomb", hidden_memory),
    ("unmapped-memory-bomb", unmapped_memory),
    ("large-file", large_file),
    ("disk-bomb", disk),
    ("inode-bomb", inodes),
    ("descriptor-bomb", descriptors),
    ("flood-output", output),
    ("flood-progress", progress),
    ("take-every-lock", locks),
    ("flood-asks", asks),
    ("raise-own-limits", raise),
    ("raise-own-priority", priority),
    ("dump-core", core),
    ("burn-cpu", burn),
];

const MEBIBYTE: usize = 1 << 20;

/// More than any profile but `none` allows of processes.
const MANY: usize = 700;

/// Where a task may write: where it has no place of its own, where the test lets it.
fn temporary(victims: &Victims) -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| victims.path("foreign"), Into::into)
}

fn stopped(at: usize, unit: &str, error: impl std::fmt::Display) -> Came {
    Err(format!("stopped at {at} {unit}: {error}"))
}

fn forks(_: &Context, _: &Victims) -> Came {
    for count in 0..MANY {
        match sys::fork() {
            Ok(ForkResult::Child) => loop {
                pause();
            },
            Ok(ForkResult::Parent { .. }) => {}
            Err(errno) => return stopped(count, "processes", errno),
        }
    }
    Ok(format!("{MANY} processes"))
}

fn threads(_: &Context, _: &Victims) -> Came {
    for count in 0..MANY {
        let thread = thread::Builder::new().stack_size(64 << 10).spawn(|| {
            loop {
                thread::park();
            }
        });
        if let Err(error) = thread {
            return stopped(count, "threads", error);
        }
    }
    Ok(format!("{MANY} threads"))
}

fn touch(mebibytes: usize) -> Result<Vec<u8>, String> {
    let mut held: Vec<u8> = Vec::new();
    let bytes = mebibytes * MEBIBYTE;
    held.try_reserve_exact(bytes)
        .map_err(|error| error.to_string())?;
    held.resize(bytes, 1);
    Ok(std::hint::black_box(held))
}

fn memory(_: &Context, _: &Victims) -> Came {
    touch(256).map(|_| "256 MiB".into())
}

fn shared_memory(_: &Context, _: &Victims) -> Came {
    // More addresses than a process has where nothing else can be counted.
    let mapped = sys::map_shared(1536 * MEBIBYTE).map_err(|errno| errno.to_string())?;
    mapped.touch(256 * MEBIBYTE);
    Ok("256 MiB".into())
}

fn memfd(_: &Context, _: &Victims) -> Came {
    let name = c"bomb".as_ptr() as usize;
    let number = sys::raw(libc::SYS_memfd_create, [name, 0, 0, 0, 0, 0]);
    let mut file = sys::file(number.map_err(|errno| errno.to_string())?);
    fill(&mut file, 256).map(|()| "256 MiB".into())
}

fn fill(file: &mut File, mebibytes: usize) -> Result<(), String> {
    let part = vec![1; MEBIBYTE];
    for _ in 0..mebibytes {
        file.write_all(&part).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Each below the limit of one, all together above that of a task.
fn processes_memory(_: &Context, _: &Victims) -> Came {
    hoard(|take| {
        let _held = take();
        loop {
            pause();
        }
    })
}

/// The same by processes that let nobody look at them and whose first threads have ended.
fn hidden_memory(_: &Context, _: &Victims) -> Came {
    hoard(|take| {
        let _ = nix::sys::prctl::set_dumpable(false);
        thread::spawn(move || {
            let _held = take();
            loop {
                thread::park();
            }
        });
        let _ = sys::raw(libc::SYS_exit, [0; 6]);
        unreachable!("this thread has ended")
    })
}

/// Shared memory of which only the first page stays mapped.
fn unmapped_memory(_: &Context, _: &Victims) -> Came {
    for part in 0..8 {
        let bytes = 32 * MEBIBYTE;
        let mapped = sys::map_shared(bytes).map_err(|errno| errno.to_string())?;
        mapped.touch(bytes);
        if let Err(errno) = mapped.unmap_tail() {
            return stopped(part * 32, "MiB", errno);
        }
    }
    Ok("256 MiB".into())
}

/// Takes memory, and tells that it has it.
type Take = Box<dyn Fn() -> Option<Vec<u8>> + Send>;

/// Starts processes that take memory; whether all of them had it.
fn hoard(live: fn(Take) -> !) -> Came {
    /// How many, and how much each.
    const CHILDREN: u8 = 8;
    const EACH: usize = 40;
    let (reader, writer) = nix::unistd::pipe().map_err(|errno| errno.to_string())?;
    for _ in 0..CHILDREN {
        match sys::fork() {
            Ok(ForkResult::Child) => {
                let take = move || {
                    let held = touch(EACH).ok()?;
                    let _ = nix::unistd::write(&writer, b"x");
                    Some(held)
                };
                live(Box::new(take))
            }
            Ok(ForkResult::Parent { .. }) => {}
            Err(errno) => return Err(errno.to_string()),
        }
    }
    let mut count = 0;
    while count < CHILDREN {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let mut ready = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(5000_u16)) != Ok(1) {
            return Err(format!("{count} of {CHILDREN} had it"));
        }
        let mut byte = [0];
        let _ = nix::unistd::read(&reader, &mut byte);
        count += 1;
    }
    Ok("320 MiB".into())
}

fn large_file(_: &Context, victims: &Victims) -> Came {
    let mut options = OpenOptions::new();
    let file = options
        .create(true)
        .write(true)
        .truncate(true)
        .open(temporary(victims).join("large"));
    let mut file = file.map_err(|error| error.to_string())?;
    // A hole takes no room: the length alone is tried.
    file.seek(SeekFrom::Start(1 << 30))
        .map_err(|error| error.to_string())?;
    file.write_all(b"x").map_err(|error| error.to_string())?;
    Ok("a file of 1 GiB".into())
}

fn disk(_: &Context, victims: &Victims) -> Came {
    for number in 0..24 {
        let file = File::create(temporary(victims).join(format!("part-{number}")));
        let mut file = file.map_err(|error| error.to_string())?;
        if let Err(error) = fill(&mut file, 4) {
            return stopped(number * 4, "MiB", error);
        }
    }
    Ok("96 MiB".into())
}

fn inodes(_: &Context, victims: &Victims) -> Came {
    for number in 0..10_000 {
        if let Err(error) = File::create(temporary(victims).join(number.to_string())) {
            return stopped(number, "files", error);
        }
    }
    Ok("10000 files".into())
}

fn descriptors(_: &Context, _: &Victims) -> Came {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let mut held = Vec::new();
    for count in 0..5000 {
        match File::open("/dev/null") {
            Ok(file) => held.push(file),
            Err(error) => return stopped(count, "descriptors", error),
        }
    }
    Ok("5000 descriptors".into())
}

fn output(_: &Context, _: &Victims) -> Came {
    let part = vec![b'x'; MEBIBYTE];
    for _ in 0..64 {
        if std::io::stdout().write_all(&part).is_err() {
            return Err("nobody listens any more".into());
        }
    }
    Err("the supervisor keeps the end of it only".into())
}

fn progress(ctx: &Context, _: &Victims) -> Came {
    for number in 0..5000 {
        if ctx.progress(serde_json::json!({ "n": number })).is_err() {
            return Err("nobody listens any more".into());
        }
    }
    Err("it is one status".into())
}

fn locks(ctx: &Context, _: &Victims) -> Came {
    let mut held = Vec::new();
    for number in 0..100 {
        match ctx.lock(&format!("everybody-{number}")).acquire() {
            Ok(guard) => held.push(guard),
            Err(error) => return stopped(number, "locks", error),
        }
    }
    Ok("100 locks".into())
}

fn asks(ctx: &Context, _: &Victims) -> Came {
    for number in 0..5000 {
        if let Err(error) = ctx.lock("one").acquire().map(drop)
            && number > 2500
        {
            return stopped(number, "asks", error);
        }
    }
    Ok("5000 asks".into())
}

fn raise(_: &Context, _: &Victims) -> Came {
    let limits = [
        Resource::RLIMIT_NOFILE,
        Resource::RLIMIT_NPROC,
        Resource::RLIMIT_CORE,
    ];
    let raised = limits.into_iter().find(|&limit| {
        let before = getrlimit(limit).map(|(_, hard)| hard);
        let most = nix::sys::resource::RLIM_INFINITY;
        before != Ok(most) && setrlimit(limit, most, most).is_ok()
    });
    raised
        .map(|limit| format!("{limit:?}"))
        .ok_or_else(|| "none could be raised".into())
}

fn priority(_: &Context, _: &Victims) -> Came {
    let arguments = [0, 0, 20_usize.wrapping_neg(), 0, 0, 0];
    super::came(sys::raw(libc::SYS_setpriority, arguments))
}

fn core(_: &Context, _: &Victims) -> Came {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_CORE) {
        let _ = setrlimit(Resource::RLIMIT_CORE, hard, hard);
    }
    let most = getrlimit(Resource::RLIMIT_CORE).map_or(0, |(soft, _)| soft);
    match most {
        0 => Err("its limit is 0 for good".into()),
        _ => Ok("its memory could be written to a file".into()),
    }
}

fn burn(_: &Context, _: &Victims) -> Came {
    loop {
        std::hint::black_box(0);
    }
}
