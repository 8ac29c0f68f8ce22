use bulkhead_shared::backend::{self, Backend, Options};
use bulkhead_shared::backoff::{Algorithm, Backoff};
use bulkhead_shared::policy::{Defaults, Retries};
use bulkhead_shared::stream::{ExceptionPolicy, LastResort, ProcessorSpec, StreamSpec};
use serde_json::json;

use super::*;

fn thread(backend: &Backend) -> Thread {
    let (notices, _, _) = Notices::new().unwrap();
    let (_, inbox) = crossbeam::channel::unbounded();
    Thread {
        setting: Setting {
            store: Arc::clone(&backend.streams),
            broker: Arc::clone(&backend.broker),
            me: SupervisorId(Uuid::now_v7()),
            lease: Duration::from_mins(1),
            slots: 2,
            held: Arc::new(Held::new(Duration::from_mins(1))),
            notices,
        },
        inbox,
        interrupt: Arc::new(Interrupt::new().unwrap()),
        is_waiting: Arc::default(),
        rules: None,
        duties: Vec::new(),
        tickets: HashMap::new(),
        next_ticket: 0,
        is_draining: false,
        is_stopping: false,
        serves_anew: false,
        failures: 0,
        try_at: None,
        looked: None,
        rung: false,
    }
}

fn spec(policy: ExceptionPolicy) -> TaskSpec {
    let stream = StreamName::new("orders").unwrap();
    let processor = ProcessorSpec {
        exception_policy: policy,
        ..ProcessorSpec::new(StreamSpec::new(stream))
    };
    serde_json::from_value(json!({"name": "pack", "processor": processor})).unwrap()
}

fn serve(thread: &mut Thread, spec: TaskSpec) {
    let rules = Rules {
        defaults: Defaults {
            timeout: Duration::from_mins(1),
            patience: Duration::from_secs(1),
            memory: None,
            profile: "process".into(),
        },
        specs: Arc::default(),
        extras: Arc::default(),
        menu: None,
        most_memory: None,
    };
    thread.serve(&[spec], rules);
}

#[test]
fn what_a_changed_processor_holds_is_not_freed_when_the_one_before_it_departs() {
    let backend = backend::open(&Options::new("sqlite::memory:")).unwrap();
    let mut thread = thread(&backend);
    serve(&mut thread, spec(ExceptionPolicy::Halt));
    let now = Now::read().mono;
    thread.ask(now).unwrap();
    let held = thread.duties[0].partitions.len();
    assert!(held > 0);
    serve(&mut thread, spec(ExceptionPolicy::Ignore));
    assert_eq!(thread.duties.len(), 2);
    // At the first look after it: a later one would have taken again what was freed.
    let departs = |looks| {
        thread.ask(now + looks * LOOK_EVERY).unwrap();
        thread.duties.len() == 1
    };
    assert!((1..=3).any(departs));
    assert_eq!(thread.duties[0].partitions.len(), held);
    let overview = backend.streams.streams(None).unwrap().remove(0);
    let shares = &overview.processors[0].1.shares;
    let ours = shares
        .iter()
        .filter(|share| share.owner == Some(thread.setting.me));
    assert_eq!(ours.count(), held);
}

#[test]
fn a_processor_whose_retries_have_changed_goes_on_under_the_new_rules() {
    let backend = backend::open(&Options::new("sqlite::memory:")).unwrap();
    let mut thread = thread(&backend);
    let policy = ExceptionPolicy::Retry {
        then: LastResort::Halt,
    };
    serve(&mut thread, spec(policy));
    let backoff = Backoff {
        algorithm: Algorithm::Constant { constant_ms: 7 },
        floor_ms: None,
        ceiling_ms: None,
        zero_override: false,
    };
    let changed = TaskSpec {
        max_retries: Some(Retries::Times(9)),
        backoff: Some(backoff),
        ..spec(policy)
    };
    serve(&mut thread, changed);
    assert_eq!(thread.duties.len(), 1);
    let rules = thread.duties[0].rules;
    assert_eq!(
        (rules.max_retries, rules.backoff),
        (Retries::Times(9), backoff)
    );
}
