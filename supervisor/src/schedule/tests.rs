//! Two supervisors that declare the same at the same moment.

use std::sync::Mutex;

use bulkhead_shared::backend::{self, Options};
use bulkhead_shared::schedule::{Due, Put, Schedules};
use bulkhead_shared::trigger::{On, TriggerSpec};
use bulkhead_shared::{QueueName, ScheduleName, Uuid};
use crossbeam::channel::unbounded;

use super::*;

/// Where somebody else writes a row just after all were read.
#[derive(Debug)]
struct Contended {
    store: Arc<dyn Schedules>,
    row: Mutex<Option<Row>>,
}

impl Schedules for Contended {
    fn all(&self) -> Result<Vec<Row>, BrokerError> {
        let rows = self.store.all()?;
        if let Some(row) = self.row.lock().unwrap().take() {
            assert_eq!(self.store.put(&row)?, Put::Written);
        }
        Ok(rows)
    }
    fn put(&self, row: &Row) -> Result<Put, BrokerError> {
        self.store.put(row)
    }
    fn find(&self, name: &ScheduleName) -> Result<Option<Row>, BrokerError> {
        self.store.find(name)
    }
    fn forget(&self, row: &Row) -> Result<bool, BrokerError> {
        self.store.forget(row)
    }
    fn due(&self, limit: usize) -> Result<Due, BrokerError> {
        self.store.due(limit)
    }
    fn fire(&self, fires: &[Fire]) -> Result<Vec<Fired>, BrokerError> {
        self.store.fire(fires)
    }
}

/// One that serves a task that declares to run at its start.
fn scheduler(backend: Backend) -> Scheduler {
    let trigger = TriggerSpec {
        at_start: true,
        on: On::Each,
        ..TriggerSpec::default()
    };
    let spec = TaskSpec {
        trigger: Some(trigger),
        ..TaskSpec::new(TaskName::new("warm").unwrap())
    };
    let selection = Selection {
        queues: vec![QueueName::default()],
        tasks: vec![spec.name.clone()],
    };
    let setting = Setting {
        backend,
        me: SupervisorId(Uuid::now_v7()),
        started_at: Timestamp::now(),
        is_draining: Arc::default(),
        words: unbounded().1,
        upkeep: unbounded().0,
    };
    Scheduler {
        serving: Some((selection, vec![spec])),
        ..Scheduler::new(setting)
    }
}

#[test]
fn what_another_one_declares_at_the_same_moment_fires_at_our_start_too() {
    let backend = backend::open(&Options::new("sqlite::memory:")).unwrap();
    let mut other = scheduler(backend.clone());
    let _ = other.look().unwrap();
    let row = backend.schedules.all().unwrap().remove(0);
    assert!(backend.schedules.forget(&row).unwrap());
    let contended = Backend {
        schedules: Arc::new(Contended {
            store: Arc::clone(&backend.schedules),
            row: Mutex::new(Some(Row { version: 0, ..row })),
        }),
        ..backend.clone()
    };
    let _ = scheduler(contended).look().unwrap();
    let queues = [QueueName::default()];
    assert_eq!(backend.catalog.unfinished(&queues).unwrap(), 2);
}
