//! On files that are not the task's.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bulkhead_child::Context;

use super::{Attack, Came, Victims, came};

pub(super) const ALL: &[(&str, Attack)] = &[
    ("write-outside", write_outside),
    ("write-system-file", write_system),
    ("read-shadow", read_shadow),
    ("list-roots-home", list_home),
    ("read-store", read_store),
    ("read-neighbours-file", read_neighbour),
    ("follow-a-link-out", follow_link),
    ("write-kernel-setting", write_setting),
    ("write-sysrq", write_sysrq),
    ("read-kernel-memory", read_kernel),
    ("open-a-disk", open_disk),
    ("replace-own-program", replace_program),
    ("see-host-mounts", see_mounts),
];

fn for_writing(path: impl AsRef<Path>) -> Came {
    came(OpenOptions::new().write(true).open(path))
}

fn write_outside(_: &Context, victims: &Victims) -> Came {
    let path = victims.path("foreign").join("written");
    came(fs::write(path, "by a task"))
}

fn write_system(_: &Context, _: &Victims) -> Came {
    for_writing("/etc/passwd")
}

fn read_shadow(_: &Context, _: &Victims) -> Came {
    came(fs::read("/etc/shadow"))
}

fn list_home(_: &Context, _: &Victims) -> Came {
    came(fs::read_dir("/root"))
}

fn read_store(_: &Context, victims: &Victims) -> Came {
    came(File::open(victims.path("store")))
}

fn read_neighbour(_: &Context, victims: &Victims) -> Came {
    came(fs::read(victims.path("neighbours")))
}

fn follow_link(_: &Context, victims: &Victims) -> Came {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let link = PathBuf::from(home).join("link");
    symlink(victims.path("store"), &link).map_err(|error| error.to_string())?;
    came(File::open(link))
}

fn write_setting(_: &Context, _: &Victims) -> Came {
    for_writing("/proc/sys/kernel/core_pattern")
}

fn write_sysrq(_: &Context, _: &Victims) -> Came {
    for_writing("/proc/sysrq-trigger")
}

fn read_kernel(_: &Context, _: &Victims) -> Came {
    came(File::open("/proc/kcore").or_else(|_| File::open("/dev/mem")))
}

fn open_disk(_: &Context, _: &Victims) -> Came {
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into());
    let path = PathBuf::from(home).join("disk");
    let kind = nix::sys::stat::SFlag::S_IFBLK;
    let device = nix::sys::stat::makedev(1, 0);
    let mode = nix::sys::stat::Mode::S_IRWXU;
    nix::sys::stat::mknod(&path, kind, mode, device).map_err(|errno| errno.to_string())?;
    let _ = fs::remove_file(&path);
    Ok("a device of its own".into())
}

fn replace_program(_: &Context, _: &Victims) -> Came {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    came(fs::rename(&own, own.with_extension("old")).and_then(|()| {
        // Put back: others of the test need it.
        fs::rename(own.with_extension("old"), &own)
    }))
}

fn see_mounts(_: &Context, victims: &Victims) -> Came {
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|e| e.to_string())?;
    let foreign = victims.text("foreign");
    // The host's root is seen if the test's own directory is.
    match Path::new(&foreign).exists() && mounts.lines().count() > 1 {
        true => Ok("the host's".into()),
        false => Err("only its own".into()),
    }
}
