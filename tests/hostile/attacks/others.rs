//! On the supervisor, on other tasks, and on what is to end them.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;

use bulkhead_child::Context;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{ForkResult, Pid, pause, setsid};

use super::{Attack, Came, Victims, came};
use crate::sys;

pub(super) const ALL: &[(&str, Attack)] = &[
    ("read-supervisor-memory", read_memory),
    ("copy-supervisor-memory", copy_memory),
    ("read-supervisor-environment", read_environment),
    ("take-supervisor-descriptor", take_descriptor),
    ("list-supervisor-descriptors", list_descriptors),
    ("see-other-processes", see_others),
    ("trace-supervisor", trace_supervisor),
    ("trace-neighbour", trace_neighbour),
    ("signal-supervisor", signal_supervisor),
    ("stop-neighbour", stop_neighbour),
    ("signal-everybody", signal_everybody),
    ("read-own-environment", own_environment),
    ("use-inherited-descriptors", inherited),
    ("read-standard-input", standard_input),
    ("outlive-the-supervisor", outlive_supervisor),
    ("outlive-the-task", outlive_task),
    ("read-process-1-environment", first_environment),
];

fn read_memory(_: &Context, victims: &Victims) -> Came {
    let pid = victims.supervisor();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).map_err(|e| e.to_string())?;
    let memory = File::open(format!("/proc/{pid}/mem")).map_err(|e| e.to_string())?;
    let first = maps.split('-').next().unwrap_or_default();
    let address = u64::from_str_radix(first, 16).map_err(|e| e.to_string())?;
    came(memory.read_exact_at(&mut [0; 8], address))
}

fn copy_memory(_: &Context, victims: &Victims) -> Came {
    // Any address: one that is not there is told only to whoever may look.
    let mut buffer = [0_u8; 8];
    let local = [buffer.as_mut_ptr() as usize, buffer.len()];
    let remote = [0x1000_usize, buffer.len()];
    let pid = usize::try_from(victims.supervisor()).unwrap_or(0);
    let arguments = [
        pid,
        local.as_ptr() as usize,
        1,
        remote.as_ptr() as usize,
        1,
        0,
    ];
    match super::reached(libc::SYS_process_vm_readv, arguments) {
        Ok(text) if text.contains("No such process") => Err(text),
        other => other,
    }
}

fn environment_of(pid: i32) -> Came {
    let text = fs::read(format!("/proc/{pid}/environ")).map_err(|e| e.to_string())?;
    match String::from_utf8_lossy(&text).contains("BULKHEAD_STORE") {
        true => Ok("the store's URL".into()),
        false => Err("nothing of the supervisor's in it".into()),
    }
}

fn read_environment(_: &Context, victims: &Victims) -> Came {
    environment_of(victims.supervisor())
}

fn first_environment(_: &Context, _: &Victims) -> Came {
    environment_of(1)
}

fn take_descriptor(_: &Context, victims: &Victims) -> Came {
    let pid = usize::try_from(victims.supervisor()).unwrap_or(0);
    let pidfd = sys::raw(libc::SYS_pidfd_open, [pid, 0, 0, 0, 0, 0]).map_err(|e| e.to_string())?;
    let taken = sys::raw(libc::SYS_pidfd_getfd, [pidfd, 0, 0, 0, 0, 0]);
    came(taken)
}

fn list_descriptors(_: &Context, victims: &Victims) -> Came {
    came(fs::read_dir(format!("/proc/{}/fd", victims.supervisor())))
}

fn see_others(_: &Context, _: &Victims) -> Came {
    let own = fs::read("/proc/self/cmdline").unwrap_or_default();
    for entry in fs::read_dir("/proc").map_err(|e| e.to_string())?.flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if !command.is_empty() && command != own {
            return Ok(String::from_utf8_lossy(&command).replace('\0', " "));
        }
    }
    Err("only its own processes are there".into())
}

fn trace(pid: i32) -> Came {
    const PTRACE_SEIZE: usize = 0x4206;
    let pid = usize::try_from(pid).unwrap_or(0);
    came(sys::raw(libc::SYS_ptrace, [PTRACE_SEIZE, pid, 0, 0, 0, 0]))
}

fn trace_supervisor(_: &Context, victims: &Victims) -> Came {
    trace(victims.supervisor())
}

fn trace_neighbour(_: &Context, victims: &Victims) -> Came {
    trace(victims.sibling())
}

fn signal_supervisor(_: &Context, victims: &Victims) -> Came {
    // It does no harm, and takes the same right as one that does. Where the number is that of an
    // init of its own, nobody but that init hears it.
    let pid = victims.supervisor();
    if own_command(pid) {
        return Err("the supervisor's number is that of its own init".into());
    }
    came(kill(Pid::from_raw(pid), Signal::SIGCONT))
}

/// Whether the process of that number runs this very program.
fn own_command(pid: i32) -> bool {
    let command = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let theirs = command(&pid.to_string());
    !theirs.is_empty() && theirs == command("self")
}

fn stop_neighbour(_: &Context, victims: &Victims) -> Came {
    let pid = Pid::from_raw(victims.sibling());
    let stopped = kill(pid, Signal::SIGSTOP);
    let _ = kill(pid, Signal::SIGCONT);
    came(stopped)
}

fn signal_everybody(_: &Context, _: &Victims) -> Came {
    kill(Pid::from_raw(-1), Signal::SIGCONT).map_err(|errno| errno.to_string())?;
    // The kernel says so also if everybody it came to refused it.
    let own = std::process::id().to_string();
    let others = fs::read_dir("/proc").map_err(|error| error.to_string())?;
    for name in others.flatten().map(|entry| entry.file_name()) {
        let name = name.to_string_lossy();
        let pid = name.parse().unwrap_or(0);
        if pid > 1 && name != own && kill(Pid::from_raw(pid), None).is_ok() {
            return Ok(format!("process {pid} among them"));
        }
    }
    Err("nobody took it".into())
}

fn own_environment(_: &Context, _: &Victims) -> Came {
    let mut names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let secret = names.find(|name| name.contains("BULKHEAD") || name.contains("SECRET"));
    secret.ok_or_else(|| "no variable of the supervisor's".into())
}

fn inherited(_: &Context, _: &Victims) -> Came {
    /// Standard ones, and the pipes of jobs and answers.
    const KNOWN: usize = 5;
    let open = (KNOWN..1024).find(|&number| {
        sys::raw(
            libc::SYS_fcntl,
            [number, libc::F_GETFD as usize, 0, 0, 0, 0],
        )
        .is_ok()
    });
    let open = open.ok_or_else(|| "no other descriptor is open".to_owned())?;
    Ok(format!("descriptor {open}"))
}

fn standard_input(_: &Context, _: &Victims) -> Came {
    let mut byte = [0];
    match std::io::stdin().read(&mut byte) {
        Ok(0) => Err("it is empty".into()),
        other => Ok(format!("{other:?}")),
    }
}

fn outlive_supervisor(_: &Context, _: &Victims) -> Came {
    let arguments = [libc::PR_SET_PDEATHSIG as usize, 0, 0, 0, 0, 0];
    came(sys::raw(libc::SYS_prctl, arguments))
}

fn outlive_task(_: &Context, _: &Victims) -> Came {
    match sys::fork() {
        Ok(ForkResult::Child) => {
            let _ = setsid();
            if matches!(sys::fork(), Ok(ForkResult::Parent { .. })) {
                sys::leave();
            }
            let _ = SigSet::all().thread_block();
            let _ = sys::raw(
                libc::SYS_prctl,
                [libc::PR_SET_PDEATHSIG as usize, 0, 0, 0, 0, 0],
            );
            loop {
                pause();
            }
        }
        // The test looks whether anybody is left.
        Ok(ForkResult::Parent { .. }) => Err("that is for the test to see".into()),
        Err(errno) => Err(errno.to_string()),
    }
}
