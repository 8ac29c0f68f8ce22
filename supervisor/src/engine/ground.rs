//! What a run prepares on its machine before it starts: directories, cgroups, users.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkhead_shared::broker::SupervisorId;
use bulkhead_shared::isolation::Containment;

use super::{EngineError, Step};
use crate::config::{RunConfig, TaskUser};
use crate::process::cgroup::Cgroups;
use crate::process::dead;
use crate::process::home::RunDirectory;
use crate::process::limits::{Cages, Controllers};
use crate::process::users::Users;
use crate::sandbox::menu::{Entry, Menu};
use crate::sandbox::probe::Host;

/// Where the locks on blocks of task users lie; root alone can write there.
const USER_LOCKS: &str = "/run/bulkhead";

/// What a run has of its own on this machine.
pub(super) struct Ground {
    pub(super) directory: Arc<RunDirectory>,
    pub(super) cgroups: Option<Cgroups>,
    pub(super) cages: Option<Cages>,
    pub(super) users: Option<Users>,
    pub(super) user: Option<u32>,
    /// Where this and other supervisors make their cgroups.
    pub(super) below: Option<PathBuf>,
    pub(super) controllers: Option<Controllers>,
}

impl Ground {
    pub(super) fn prepare(
        config: &RunConfig,
        host: &Host,
        menu: &mut Menu,
        id: SupervisorId,
    ) -> Result<Self, EngineError> {
        let name = id.0.simple().to_string();
        dead::clear_up(host.cgroup.as_deref(), host.controllers.as_ref())
            .step("clear up after dead supervisors")?;
        let directory = RunDirectory::create(&name).step("make its directory")?;
        let is_held = |entry: &Entry| entry.plan.setup.containment == Containment::Cgroup;
        let is_limited = |entry: &Entry| entry.is_open && entry.plan.amounts.is_some();
        let cages = match &host.controllers {
            Some(found) if menu.entries().iter().any(is_limited) => {
                let cages = Cages::new(found.clone(), &name);
                Some(cages.step("make cgroups for limits")?)
            }
            _ => None,
        };
        let cgroups = match (&host.cgroup, menu.entries().iter().any(is_held)) {
            (Some(below), true) => {
                let cgroups = Cgroups::create(below, &name, host.cgroup_kill);
                Some(cgroups.step("make its cgroup")?)
            }
            _ => None,
        };
        let kills_whole = cgroups.as_ref().is_some_and(Cgroups::kills_whole);
        menu.change(|plan| plan.setup.cgroup_kill = kills_whole);
        let users = if menu.entries().iter().any(|entry| entry.plan.own_users) {
            own_users(menu, host)
        } else {
            None
        };
        let user = named_user(config, host)?;
        Ok(Self {
            directory: Arc::new(directory),
            cgroups,
            cages,
            users,
            user,
            below: host.cgroup.clone(),
            controllers: host.controllers.clone(),
        })
    }
}

fn own_users(menu: &mut Menu, host: &Host) -> Option<Users> {
    match Users::claim(Path::new(USER_LOCKS)) {
        Ok(users) => Some(users),
        Err(error) => {
            let reason = error.to_string();
            menu.change(|plan| {
                if plan.own_users {
                    plan.without_own_users(host, &reason);
                }
            });
            None
        }
    }
}

fn named_user(config: &RunConfig, host: &Host) -> Result<Option<u32>, EngineError> {
    let TaskUser::Name(name) = &config.task_user else {
        return Ok(None);
    };
    if !host.is_root {
        return Err(EngineError::NotRoot { name: name.clone() });
    }
    let user = nix::unistd::User::from_name(name).step("look up the task user")?;
    match user {
        Some(user) => Ok(Some(user.uid.as_raw())),
        None => Err(EngineError::NoUser { name: name.clone() }),
    }
}
