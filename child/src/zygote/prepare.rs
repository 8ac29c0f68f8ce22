//! What a zygote applies to itself once, so that its tasks inherit it.

use std::cell::Cell;
use std::fs;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use bulkhead_shared::isolation::{Containment, Setup, Walls};
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::walls::{self, Raised};
use super::{Failed, Step};
use crate::process;
use crate::sys::{self, Received};

/// Descriptors below this are places in a task; received ones must lie above.
pub(super) const PLACES: i32 = 10;

/// A zygote that is ready to fork.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) setup: Setup,
    /// `/dev/null`: a task's standard input.
    pub(super) null: OwnedFd,
    /// The Landlock domain tasks enter, built once.
    pub(super) landlock: Option<OwnedFd>,
    /// This program, opened while the file could still be read.
    pub(super) program: Option<OwnedFd>,
    /// Whether its interpreter has to open it once more.
    pub(super) is_script: bool,
    /// What stands around tasks besides.
    pub(super) raised: Option<Raised>,
    /// The group of tasks that change their user, if it has been told.
    pub(super) gid: Cell<Option<u32>>,
    /// It has left the groups that its tasks are not to be in.
    has_left_groups: Cell<bool>,
    tid_address: Option<NonZeroU64>,
    /// The cgroup that holds the cgroups of all tasks.
    cgroups: Option<OwnedFd>,
}

impl Prepared {
    /// Who a task is, and who has what is its own.
    pub(super) fn owner(&self, user: u32) -> (Uid, Gid) {
        let group = self.gid.get().unwrap_or(user);
        (Uid::from_raw(user), Gid::from_raw(group))
    }

    /// Leaves all further groups, so that no task that changes its user has to.
    pub(super) fn leave_groups(&self) {
        if !self.has_left_groups.get() {
            self.has_left_groups.set(setgroups(&[]).is_ok());
        }
    }

    /// Makes this task another user's.
    pub(super) fn become_user(&self, user: u32) -> nix::Result<()> {
        let (user, group) = self.owner(user);
        if !self.has_left_groups.get() {
            setgroups(&[])?;
        }
        setresgid(group, group, group)?;
        setresuid(user, user, user)
    }

    pub(super) fn apply(
        setup: Setup,
        received: Received,
        program: Option<&Path>,
    ) -> Result<Self, Failed> {
        assert_single_threaded().step("check that it has one thread")?;
        process::restore_tunables();
        super::init::remember_ids();
        let null = open(Path::new("/dev/null"), OFlag::O_RDWR).step("open /dev/null")?;
        reserve_places(&null).step("reserve descriptors")?;
        // The standard input of all tasks; the supervisor's socket has another number by now.
        sys::place(null.as_fd(), 0).step("let go of its standard input")?;
        umask(Mode::from_bits_truncate(0o077));
        for &(resource, value) in &setup.rlimits {
            limit(resource, value).step("set resource limits")?;
        }
        if setup.no_new_privileges {
            prctl::set_no_new_privs().step("give up new privileges")?;
        }
        let has_files = |walls: &Walls| walls.files.is_some();
        let has_own_domain = setup.walls.as_deref().is_some_and(has_files);
        let landlock = (setup.landlock_scope && !has_own_domain)
            .then(scope)
            .transpose()
            .step("prepare landlock")?;
        let own = fs::read_link("/proc/self/exe").step("find its own program")?;
        let is_script = setup.exec && program.is_some_and(is_script);
        let has_root = |walls: &Walls| walls.root.is_some();
        let in_own_root = setup.walls.as_deref().is_some_and(has_root);
        let open_program = |path: &Path| {
            let opened = setup.exec.then(|| open(path, OFlag::O_PATH));
            opened.transpose().step("open the program")
        };
        let mut opened = match in_own_root {
            true => None,
            false => open_program(program.unwrap_or_else(|| Path::new("/proc/self/exe")))?,
        };
        let raised = setup.walls.as_deref().map(walls::raise).transpose()?;
        if in_own_root {
            // What lies outside of the root cannot be executed inside.
            opened = open_program(program.unwrap_or(&own))?;
        }
        let program = opened;
        let tid_address = setup.tid_address.then(sys::tid_address).flatten();
        // Only where tasks run as another user or in a domain of their own does this matter, and
        // then a task could otherwise read the memory all of them are copied from.
        if setup.no_new_privileges {
            prctl::set_dumpable(false).step("hide its memory")?;
        }
        if let Some(walls) = &setup.walls {
            // Not in use by the zygote, whose tasks give away what they have.
            if !walls.user_namespace && nix::unistd::geteuid().is_root() {
                sys::drop_bounding_set().step("give up capabilities")?;
            }
            if !walls.inherited_filter.is_empty() {
                sys::enter_filter(&walls.inherited_filter)
                    .step("enter the filter of system calls")?;
            }
        }
        let cgroups = received.into_iter().flatten().next();
        Ok(Self {
            setup,
            null,
            landlock,
            program,
            is_script,
            raised,
            gid: Cell::new(None),
            has_left_groups: Cell::new(false),
            tid_address,
            cgroups,
        })
    }

    /// What a fork asks of the kernel.
    pub(super) fn how<'a>(&self, cgroup: Option<BorrowedFd<'a>>) -> sys::How<'a> {
        let contained = match self.setup.containment {
            Containment::PidNamespace { user: false } => libc::CLONE_NEWPID as u64,
            Containment::PidNamespace { user: true } => {
                (libc::CLONE_NEWPID | libc::CLONE_NEWUSER) as u64
            }
            Containment::Cgroup | Containment::Subreaper => 0,
        };
        let walls = self.setup.walls.as_deref();
        let namespaces = contained | walls.map_or(0, own_namespaces);
        let clone3 = self.setup.clone3;
        let cgroup = cgroup.filter(|_| clone3);
        sys::How {
            namespaces,
            cgroup,
            tid_address: self.tid_address,
            clone3,
        }
    }

    /// What the fork of a warden asks of the kernel.
    pub(super) fn how_warden(&self) -> sys::How<'_> {
        let walls = self.setup.walls.as_deref();
        sys::How {
            namespaces: libc::CLONE_NEWPID as u64 | walls.map_or(0, own_mounts),
            cgroup: None,
            tid_address: self.tid_address,
            clone3: self.setup.clone3,
        }
    }

    /// Forks a task of a warden, which has made the other namespaces.
    pub(super) fn fork_below(&self) -> io::Result<i32> {
        let namespaces = self.setup.walls.as_deref().map_or(0, own_network);
        sys::spawn_below(namespaces, self.tid_address)
    }

    /// Kills every task there is; called when the supervisor is gone. Where tasks live below an
    /// init of ours, that init sees for itself that the supervisor is gone.
    pub(super) fn kill_everything(&self) -> io::Result<()> {
        let Some(cgroups) = &self.cgroups else {
            return Ok(());
        };
        bulkhead_shared::cgroup::kill_all(cgroups.as_fd(), self.setup.cgroup_kill)
    }
}

/// Namespaces that each task has for itself.
fn own_namespaces(walls: &Walls) -> u64 {
    let ipc = if walls.ipc { libc::CLONE_NEWIPC } else { 0 };
    u64::from(ipc.cast_unsigned()) | own_mounts(walls) | own_network(walls)
}

fn own_mounts(walls: &Walls) -> u64 {
    let own = walls.has_mounts();
    u64::from(if own { libc::CLONE_NEWNS } else { 0 }.cast_unsigned())
}

fn own_network(walls: &Walls) -> u64 {
    let own = walls.own_network;
    u64::from(if own { libc::CLONE_NEWNET } else { 0 }.cast_unsigned())
}

fn assert_single_threaded() -> io::Result<()> {
    match fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        // EDEADLK: a task forked from here could wait for ever for a lock of the other thread.
        _ => Err(io::Error::from_raw_os_error(libc::EDEADLK)),
    }
}

fn is_script(program: &Path) -> bool {
    let mut first = [0; 2];
    let read = fs::File::open(program).and_then(|mut file| file.read_exact(&mut first));
    read.is_ok() && first == *b"#!"
}

fn open(path: impl AsRef<Path>, flags: OFlag) -> nix::Result<OwnedFd> {
    openat(
        AT_FDCWD,
        path.as_ref(),
        flags | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

/// Fills the places, so that descriptors received later never lie where a task expects its pipes.
fn reserve_places(null: &OwnedFd) -> io::Result<()> {
    loop {
        let filler = null.try_clone()?;
        if filler.as_raw_fd() >= PLACES {
            return Ok(());
        }
        // Stays open for the life of the zygote; a task closes it.
        std::mem::forget(filler);
    }
}

/// Lowers a limit of this process for good; one that is lower already stays.
pub(super) fn limit(resource: u32, value: u64) -> io::Result<()> {
    sys::lower_limit(resource, value)
}

/// A Landlock ruleset that handles no files and no network, only the scope: a task in it can
/// neither signal nor trace anything outside, nor reach abstract sockets there.
fn scope() -> io::Result<OwnedFd> {
    use landlock::{ABI, Access, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .scope(Scope::from_all(ABI::V6))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let descriptor: Option<OwnedFd> = ruleset.into();
    descriptor.ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}
