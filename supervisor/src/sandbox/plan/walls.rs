//! What a profile puts between its tasks and the host: a root, rules about files, filters.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bulkhead_shared::isolation::{Access, Network, Root, Tmp, Walls};

use super::{INSIDE, Spaces};
use crate::config::RunConfig;
use crate::sandbox::probe::Host;
use crate::sandbox::profile::{Landlock, Profile};
use crate::sandbox::seccomp::{self, Filters, Memory};

/// What stands around the tasks; `None` if it would be nothing.
pub(super) fn walls(
    profile: &Profile,
    config: &RunConfig,
    host: &Host,
    spaces: &Spaces,
    memory: Memory,
) -> Option<Walls> {
    // What the processor does not know cannot be filtered, and is a lack.
    let filters = match host.seccomp {
        true => seccomp::filters(profile, memory).unwrap_or_default(),
        false => Filters::default(),
    };
    let has_files = profile.landlock == Landlock::Files && host.landlock_abi >= 1;
    let is_none = !spaces.any() && !has_files && filters == Filters::default();
    let walls = Walls {
        user_namespace: spaces.any() && !host.is_root,
        network: spaces.network,
        // Nothing but Landlock keeps tasks in one network from each other's abstract sockets.
        own_network: spaces.network == Network::Loopback
            || spaces.network == Network::None && !host.landlock_scope,
        ipc: spaces.ipc,
        uts: spaces.uts,
        root: spaces.root.then(|| Root {
            binds: binds(profile, config),
            maps_zero: memory == Memory::Kernel,
        }),
        tmp: spaces.tmp.then_some(profile.tmp).flatten().map(|size| Tmp {
            size,
            files: profile.tmp_files,
        }),
        directory: match (&profile.cwd, spaces.root) {
            (None, true) => Some(INSIDE.into()),
            (cwd, _) => cwd.clone(),
        },
        files: has_files.then(|| files(profile, config, spaces.root)),
        inherited_filter: filters.inherited,
        own_filter: filters.own,
    };
    (!is_none).then_some(walls)
}

/// What of the host is seen in a root of its own.
fn binds(profile: &Profile, config: &RunConfig) -> Vec<Access> {
    let access = |path: &PathBuf, write| Access {
        path: path.clone(),
        write,
        required: profile.required.contains(path),
    };
    let child = Access {
        path: config.child.clone(),
        write: false,
        // It has been started already; it may have been replaced since.
        required: false,
    };
    let read = profile.read_only.difference(&profile.writable);
    let read = read.map(|path| access(path, false));
    // Those that are above others come first.
    read.chain(profile.writable.iter().map(|path| access(path, true)))
        .chain([child])
        .collect()
}

/// What Landlock lets a task read and write, besides its own directory.
fn files(profile: &Profile, config: &RunConfig, has_root: bool) -> Vec<Access> {
    let access = |path: PathBuf, write| Access {
        required: profile.required.contains(&path),
        path,
        write,
    };
    let mut rules = Vec::new();
    if has_root {
        // What is in it may be read: it was put there for that.
        rules.push(access("/".into(), false));
    } else {
        let usual: BTreeSet<_> = Profile::strict().read_only;
        let all = usual.union(&profile.read_only).cloned();
        let all = all.chain(["/proc".into(), config.child.clone()]);
        rules.extend(all.map(|path| access(path, false)));
    }
    rules.push(access("/dev".into(), true));
    let written = profile.writable.iter().cloned();
    rules.extend(written.map(|path| access(path, true)));
    rules
}
