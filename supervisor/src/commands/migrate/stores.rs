//! The two stores of a move, and who else uses them.

use std::path::PathBuf;

use bulkhead_shared::backend::{self, Backend, Durability, Missing};
use bulkhead_shared::broker::{BrokerError, Presence, Selection, SupervisorId};
use bulkhead_shared::client::{ClientError, ScheduleError};
use bulkhead_shared::finding::{Depth, Finding};
use bulkhead_shared::schedule::{Put, Row};
use bulkhead_shared::task::TaskSpec;
use bulkhead_shared::{Timestamp, Uuid};

use super::MigrateArgs;
use crate::cli::StoreArgs;
use crate::commands::{CommandError, output};
use crate::config::{ConfigError, Environment, FROM_VARIABLE, TO_VARIABLE, url_of};

/// Both, opened.
pub(super) struct Stores {
    pub source: Backend,
    pub target: Backend,
    /// This move, as both stores list it.
    pub me: SupervisorId,
    host: String,
    started_at: Timestamp,
}

impl Stores {
    pub(super) fn open(
        args: MigrateArgs,
        store: StoreArgs,
        environment: &Environment,
    ) -> Result<Self, CommandError> {
        if store.store.is_some() || store.store_file.is_some() {
            return Err(ConfigError::StoreOfMove.into());
        }
        let url = |url: Option<String>, file: Option<PathBuf>, variable| {
            url_of(url, file, variable, environment)?.ok_or(ConfigError::NoStoreOfMove { variable })
        };
        let from = url(args.from, args.from_file, FROM_VARIABLE)?;
        let to = url(args.to, args.to_file, TO_VARIABLE)?;
        let namespace = store.namespace.unwrap_or_default();
        let options = |url, missing| backend::Options {
            url,
            namespace: namespace.clone(),
            missing,
            // A power cut must not take a job out of both stores, whatever each of them usually bears.
            durability: Durability::Full,
            group_access: store.store_group,
        };
        // The source first: a mistyped one leaves no target behind.
        let source = backend::open(&options(from, Missing::Refuse))?;
        let target = backend::open(&options(to, Missing::Create))?;
        if source.catalog.place() == target.catalog.place() {
            return Err(same());
        }
        let host = nix::unistd::gethostname().unwrap_or_default();
        Ok(Self {
            source,
            target,
            me: SupervisorId(Uuid::now_v7()),
            host: host.to_string_lossy().into_owned(),
            started_at: Timestamp::now(),
        })
    }

    /// What a crash of the target may take, if it is a server that does not keep all it is given:
    /// the source forgets what the target has.
    pub(super) fn risk(&self) -> Result<Option<String>, BrokerError> {
        let findings = self.target.catalog.examine(Depth::Quick)?;
        let found = findings.into_iter().find(|one| one.check == "persistence");
        let explain = |found: Finding| found.why.map(|why| format!("{}: {why}", found.found));
        Ok(found.and_then(explain))
    }

    /// Has `act` done while both stores know of this move, and nobody works at the source.
    pub(super) fn guarded<T>(
        &self,
        act: impl FnOnce(&Self) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let done = self
            .announce(&self.source, Vec::new())
            .map_err(CommandError::from)
            .and_then(|()| self.look_around())
            .and_then(|()| act(self));
        for store in [&self.source, &self.target] {
            // What is not told now is seen later: this process is gone by then.
            let _ = store.broker.leave(self.me);
        }
        done
    }

    /// Says to a store that this move goes on, and which tasks it brings.
    pub(super) fn announce(&self, to: &Backend, tasks: Vec<TaskSpec>) -> Result<(), BrokerError> {
        to.broker.announce(&Presence {
            id: self.me,
            host: self.host.clone(),
            pid: std::process::id(),
            selection: Selection {
                queues: Vec::new(),
                tasks: Vec::new(),
            },
            tasks,
            version: env!("CARGO_PKG_VERSION").into(),
            slots: 0,
            started_at: self.started_at,
        })
    }

    fn look_around(&self) -> Result<(), CommandError> {
        // One store under two names: what is announced in one is seen in the other.
        let target = self.target.catalog.fleet()?;
        if target.iter().any(|member| member.id == self.me) {
            return Err(same());
        }
        let (behind, ahead) = (
            self.source.transit.underway()?.arriving,
            self.target.transit.underway()?.leaving,
        );
        if behind + ahead > 0 {
            return Err(CommandError::Refused(format!(
                "another move was interrupted: {behind} jobs are arriving in the source, {ahead} \
                 are leaving the target (finish that one first: repeat its command)"
            )));
        }
        let fleet = self.source.catalog.fleet()?;
        let is_at_work = |slots: Option<u32>| slots != Some(0);
        let mut alive = fleet.iter().filter(|m| m.is_alive && is_at_work(m.slots));
        let Some(first) = alive.next() else {
            return Ok(());
        };
        let host = first.host.as_deref().unwrap_or("an unknown host");
        let pid = first.pid.map_or_else(|| "?".into(), |pid| pid.to_string());
        Err(CommandError::Refused(format!(
            "supervisors of the source live: {} of them, the first is process {pid} on {host} \
             (stop them with TERM, then repeat the command; `supervisor fleet` lists them)",
            alive.count() + 1
        )))
    }

    /// Whether another move from the source goes on: moves are its members that run nothing.
    pub(super) fn is_moved_by_others(&self) -> Result<bool, BrokerError> {
        let fleet = self.source.catalog.fleet()?;
        let mut others = fleet.iter().filter(|m| m.is_alive && m.id != self.me);
        Ok(others.any(|member| member.slots == Some(0)))
    }

    /// Moves schedules, each written to the target before the source forgets it: whatever happens
    /// in between, it is in one of them, and a firing's uuid is the same in both. How many.
    pub(super) fn bring_schedules(&self) -> Result<usize, CommandError> {
        let mut brought = 0;
        for row in self.source.schedules.all()? {
            let new = Row {
                version: 0,
                ..row.clone()
            };
            // One that the target has already goes before ours.
            if self.target.schedules.put(&new)? == Put::Full {
                return Err(ClientError::from(ScheduleError::Full).into());
            }
            if self.source.schedules.forget(&row)? {
                brought += 1;
            }
        }
        Ok(brought)
    }

    /// Tasks that the source knows and the target does not, made known there; how many.
    pub(super) fn bring_tasks(&self) -> Result<usize, BrokerError> {
        let known = self.target.catalog.tasks()?;
        let mut tasks = self.source.catalog.tasks()?;
        tasks.retain(|task| known.iter().all(|known| known.name != task.name));
        let brought = tasks.len();
        self.announce(&self.target, tasks)?;
        Ok(brought)
    }
}

fn same() -> CommandError {
    CommandError::Input("source and target are the same store (name two different ones)".into())
}

/// Tells how far the move is.
pub(super) fn say_progress(moved: u64, left: u64) {
    output::say(&format!("moved {moved}, {left} to go"));
}
