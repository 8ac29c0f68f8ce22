//! A root with little in it, and what each task gets in it for itself.
//!
//! The zygote builds the root once and goes to live in it. A task shares it, but for its own
//! `/tmp` and `/proc`, which are mounted where nobody else sees them.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use bulkhead_shared::isolation::{Access, Network, Root, Walls};
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, chdir, getegid, geteuid, pivot_root, sethostname};

use super::{Failed, Step, init};
use crate::sys;

/// Where the root is built before it is one: a directory that every host has.
const SITE: &str = "/tmp";

/// Devices that tell nobody anything.
const DEVICES: [&str; 5] = ["full", "null", "random", "urandom", "zero"];

/// Links in `/dev`. What is shared memory lies in `/tmp`, and counts there.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("shm", "/tmp"),
];

/// Bytes of files of ours in the root: two short ones.
const ROOT_SIZE: &str = "size=1m,nr_inodes=64k,mode=755";

/// Walls that stand.
#[derive(Debug)]
pub(super) struct Raised {
    /// What a task may do with files, for its Landlock domain.
    pub(super) rules: Vec<(OwnedFd, bool)>,
    /// The host's `/proc` lies where a task mounts its own: without one in sight the kernel allows
    /// no other inside a user namespace.
    has_host_proc: bool,
}

/// Builds what all tasks share, once.
pub(super) fn raise(walls: &Walls) -> Result<Raised, Failed> {
    let has_host_proc = walls.user_namespace || !maps_everybody();
    if walls.user_namespace {
        unshare(CloneFlags::CLONE_NEWUSER).step("make a user namespace")?;
        init::map_own_user().step("map its user")?;
    }
    let mut spaces = CloneFlags::empty();
    spaces.set(CloneFlags::CLONE_NEWNS, walls.has_mounts());
    let shares_none = walls.network == Network::None && !walls.own_network;
    spaces.set(CloneFlags::CLONE_NEWNET, shares_none);
    spaces.set(CloneFlags::CLONE_NEWUTS, walls.uts);
    unshare(spaces).step("make namespaces")?;
    if walls.uts {
        sethostname("bulkhead").step("name its host")?;
    }
    if walls.has_mounts() {
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
            .step("keep its mounts to itself")?;
    }
    if let Some(root) = &walls.root {
        build(root, has_host_proc)?;
    }
    let mut rules = Vec::new();
    for access in walls.files.iter().flatten() {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        match openat(AT_FDCWD, &access.path, flags, Mode::empty()) {
            Ok(place) => rules.push((place, access.write)),
            Err(_) if !access.required => {}
            Err(errno) => return Err(errno).step(opening(access)),
        }
    }
    Ok(Raised {
        rules,
        has_host_proc,
    })
}

/// Whether this is the first user namespace, which maps every user.
fn maps_everybody() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut numbers = map.split_whitespace();
    numbers.nth(2) == Some("4294967295") && numbers.next().is_none()
}

/// The step that a path takes; made only when it has failed.
fn opening(access: &Access) -> String {
    format!("open `{}`, a path of its profile", access.path.display())
}

/// A mount on its way into the new root.
struct Part {
    tree: OwnedFd,
    place: PathBuf,
    is_directory: bool,
}

fn build(root: &Root, has_host_proc: bool) -> Result<(), Failed> {
    // What lies at the site is hidden from here on, so everything is held before.
    let mut links = Vec::new();
    let mut parts = Vec::new();
    for bind in &root.binds {
        match part(bind).or_else(|error| Err(error).step(opening(bind)))? {
            Found::Nothing => {}
            Found::Link(to) => links.push((bind.path.clone(), to)),
            Found::Part(part) => parts.push(part),
        }
    }
    for name in DEVICES {
        let path = Path::new("/dev").join(name);
        let tree = match name {
            // Reads as the other one, and cannot be mapped.
            "zero" if !root.maps_zero => sys::copy_tree(Path::new("/dev/full")),
            _ => sys::copy_tree(&path),
        };
        let tree = tree.step("open a device")?;
        let without = sys::READ_ONLY | sys::NO_SETUID | sys::NO_EXECUTION;
        sys::confine_tree(tree.as_fd(), without).step("confine a device")?;
        parts.push(Part {
            tree,
            place: path,
            is_directory: false,
        });
    }
    if has_host_proc {
        parts.push(Part {
            tree: sys::copy_tree(Path::new("/proc")).step("open /proc")?,
            place: "/proc".into(),
            is_directory: true,
        });
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("root"), SITE, Some("tmpfs"), flags, Some(ROOT_SIZE)).step("make a root")?;
    furnish_root(&parts, &links).step("furnish the root")?;
    chdir(SITE).step("enter the root")?;
    pivot_root(".", ".").step("enter the root")?;
    umount2(".", MntFlags::MNT_DETACH).step("leave the host's root")?;
    chdir("/").step("enter the root")?;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | flags;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).step("close the root")
}

enum Found {
    Nothing,
    Link(PathBuf),
    Part(Part),
}

fn part(bind: &Access) -> io::Result<Found> {
    let kind = match fs::symlink_metadata(&bind.path) {
        Ok(data) => data.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !bind.required => {
            return Ok(Found::Nothing);
        }
        Err(error) => return Err(error),
    };
    // As `/bin` is one on most hosts. What it leads to is seen if that is named, too.
    if kind.is_symlink() && !bind.required {
        return Ok(Found::Link(fs::read_link(&bind.path)?));
    }
    let tree = sys::copy_tree(&bind.path)?;
    let mut without = sys::NO_SETUID | sys::NO_DEVICES;
    if !bind.write {
        without |= sys::READ_ONLY;
    }
    sys::confine_tree(tree.as_fd(), without)?;
    Ok(Found::Part(Part {
        tree,
        place: bind.path.clone(),
        is_directory: fs::metadata(&bind.path)?.is_dir(),
    }))
}

fn furnish_root(parts: &[Part], links: &[(PathBuf, PathBuf)]) -> io::Result<()> {
    for name in ["proc", "tmp", "dev", "etc"] {
        make_directory(&Path::new(SITE).join(name))?;
    }
    for part in parts {
        let place = inside(&part.place);
        if part.is_directory {
            make_directory(&place)?;
        } else {
            make_directory(place.parent().unwrap_or_else(|| Path::new(SITE)))?;
            make_file(&place, "")?;
        }
        sys::attach(part.tree.as_fd(), &sys::text(&place)?)?;
    }
    for (path, to) in links {
        let place = inside(path);
        make_directory(place.parent().unwrap_or_else(|| Path::new(SITE)))?;
        symlink(to, place)?;
    }
    for (name, to) in LINKS {
        symlink(to, Path::new(SITE).join("dev").join(name))?;
    }
    let etc = Path::new(SITE).join("etc");
    let users = "root:x:0:0::/tmp:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n";
    make_file(&etc.join("passwd"), users)?;
    make_file(&etc.join("group"), "root:x:0:\nnogroup:x:65534:\n")
}

/// Where a path of the host lies while the root is built.
fn inside(path: &Path) -> PathBuf {
    let names = path
        .components()
        .filter(|component| matches!(component, Component::Normal(_)));
    Path::new(SITE).join(names.collect::<PathBuf>())
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)?;
    // The zygote's mask is for tasks.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    match fs::set_permissions(path, mode) {
        // Of a mount that cannot be written, or is somebody else's: it is as it is.
        Err(_) if path != Path::new(SITE) => Ok(()),
        done => done,
    }
}

/// Makes a file if there is none.
fn make_file(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    match options.create_new(true).write(true).mode(0o444).open(path) {
        Ok(mut file) => {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o444);
            file.set_permissions(mode)?;
            io::Write::write_all(&mut file, text.as_bytes())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// What is one task's own. Runs in its namespaces, above the task or in it, before it has lost any
/// right.
pub(super) fn furnish(
    walls: &Walls,
    raised: &Raised,
    owner: Option<(Uid, Gid)>,
) -> Result<(), Failed> {
    furnish_network(walls)?;
    furnish_proc(walls, raised)?;
    furnish_tmp(walls, owner)
}

/// The devices of its own network.
pub(super) fn furnish_network(walls: &Walls) -> Result<(), Failed> {
    if walls.network == Network::Loopback {
        sys::loopback_up().step("switch its loopback device on")?;
    }
    Ok(())
}

/// The `/proc` of its pid namespace.
pub(super) fn furnish_proc(walls: &Walls, raised: &Raised) -> Result<(), Failed> {
    if walls.root.is_some() {
        let mut without = sys::NO_SETUID | sys::NO_DEVICES | sys::NO_EXECUTION;
        if !walls.user_namespace {
            // Where root's files in it could be written by a task that is root.
            without |= sys::READ_ONLY;
        }
        let own = sys::own_proc(without).step("make its /proc")?;
        if raised.has_host_proc {
            umount2("/proc", MntFlags::MNT_DETACH).step("hide the host's /proc")?;
        }
        sys::attach(own.as_fd(), c"/proc").step("mount its /proc")?;
    }
    Ok(())
}

/// Its `/tmp`, empty.
pub(super) fn furnish_tmp(walls: &Walls, owner: Option<(Uid, Gid)>) -> Result<(), Failed> {
    if let Some(tmp) = walls.tmp {
        let (user, group) = owner.unwrap_or_else(|| (geteuid(), getegid()));
        let options = format!(
            "size={},nr_inodes={},mode=700,uid={user},gid={group}",
            tmp.size, tmp.files
        );
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(
            Some("tmp"),
            "/tmp",
            Some("tmpfs"),
            flags,
            Some(options.as_str()),
        )
        .step("mount its /tmp")?;
    }
    Ok(())
}

/// Takes its `/tmp` away, with all that is in it.
pub(super) fn clear_tmp(walls: &Walls) -> Result<(), Failed> {
    if walls.tmp.is_some() {
        umount2("/tmp", MntFlags::MNT_DETACH).step("take its /tmp away")?;
    }
    Ok(())
}

/// Takes the way to files that are not its own from a task.
pub(super) fn confine(walls: &Walls, raised: &Raised, home: Option<&str>) -> Result<(), Failed> {
    if walls.files.is_none() {
        return Ok(());
    }
    let domain = domain(walls, raised, home).step("prepare landlock")?;
    sys::restrict_self(domain.as_fd()).step("enter landlock")
}

/// Takes system calls from a task; the last step of all.
pub(super) fn shut(walls: &Walls) -> Result<(), Failed> {
    if walls.own_filter.is_empty() {
        return Ok(());
    }
    sys::enter_filter(&walls.own_filter).step("enter its filter of system calls")
}

/// A Landlock domain of its own: files, connections, signals.
fn domain(walls: &Walls, raised: &Raised, home: Option<&str>) -> io::Result<OwnedFd> {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, Ruleset,
        RulesetAttr, RulesetCreatedAttr, Scope,
    };
    let all = AccessFs::from_all(ABI::V6);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .map_err(io::Error::other)?;
    if walls.network == Network::None {
        ruleset = ruleset
            .handle_access(AccessNet::from_all(ABI::V6))
            .map_err(io::Error::other)?;
    }
    let mut ruleset = ruleset
        .scope(Scope::from_all(ABI::V6))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let own = match (home, walls.tmp) {
        (_, Some(_)) => Some("/tmp"),
        (home, None) => home,
    };
    let own = own
        .map(|own| {
            openat(
                AT_FDCWD,
                own,
                OFlag::O_PATH | OFlag::O_CLOEXEC,
                Mode::empty(),
            )
        })
        .transpose()?;
    let shared = raised
        .rules
        .iter()
        .map(|(place, write)| (place.as_fd(), *write));
    for (place, write) in shared.chain(own.as_ref().map(|own| (own.as_fd(), true))) {
        let rights = match write {
            true => all,
            false => AccessFs::from_read(ABI::V6),
        };
        ruleset = ruleset
            .add_rule(PathBeneath::new(place, rights))
            .map_err(io::Error::other)?;
    }
    let descriptor: Option<OwnedFd> = ruleset.into();
    descriptor.ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}
