//! What a run prepares on its machine before it starts: directories, cgroups, users.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkhead_shared::broker::SupervisorId;
use bulkhead_shared::isolation::Containment;

use super::account;
use super::{EngineError, Step};
use crate::process::cgroup::Cgroups;
use crate::process::dead;
use crate::process::home::RunDirectory;
use crate::process::limits::{Cages, Controllers};
use crate::process::users::{self, Users};
use crate::sandbox::menu::{Entry, Menu};
use crate::sandbox::probe::Host;

/// What a run has of its own on this machine.
pub(super) struct Ground {
    pub(super) directory: Arc<RunDirectory>,
    pub(super) cgroups: Option<Cgroups>,
    pub(super) cages: Option<Cages>,
    pub(super) users: Option<Users>,
    /// Where this and other supervisors make their cgroups.
    pub(super) below: Option<PathBuf>,
    pub(super) controllers: Option<Controllers>,
}

impl Ground {
    pub(super) fn prepare(
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
            own_users(menu, host)?
        } else {
            None
        };
        name_users(menu, host)?;
        Ok(Self {
            directory: Arc::new(directory),
            cgroups,
            cages,
            users,
            below: host.cgroup.clone(),
            controllers: host.controllers.clone(),
        })
    }
}

fn own_users(menu: &mut Menu, host: &Host) -> Result<Option<Users>, EngineError> {
    match Users::claim(Path::new(users::LOCKS)) {
        // As the host has promised when the profiles were resolved.
        claimed if host.task_users => claimed.step("claim users for tasks").map(Some),
        claimed => {
            let reason = claimed.err().map(|error| error.to_string());
            let reason = reason.unwrap_or_else(|| "they are not to be used".into());
            menu.change(|plan| {
                if plan.own_users {
                    plan.without_own_users(host, &reason);
                }
            });
            Ok(None)
        }
    }
}

/// Looks up the users that profiles name.
fn name_users(menu: &mut Menu, host: &Host) -> Result<(), EngineError> {
    let mut found = HashMap::new();
    for entry in menu.entries() {
        let Some(name) = &entry.plan.user else {
            continue;
        };
        let asked = match entry.profile.user {
            Some(_) => format!("`user` of the profile `{}`", entry.profile.name),
            None => "--task-user".into(),
        };
        let name = name.clone();
        if !host.is_root {
            return Err(EngineError::NotRoot { name, asked });
        }
        let numbers = account::numbers_of(&name).step("look up a user for tasks")?;
        let numbers = numbers.ok_or_else(|| EngineError::NoUser {
            name: name.clone(),
            asked,
        })?;
        found.insert(name, numbers);
    }
    menu.change(|plan| {
        let numbers = plan.user.as_ref().and_then(|name| found.get(name));
        (plan.uid, plan.gid) = numbers.copied().unzip();
    });
    Ok(())
}
