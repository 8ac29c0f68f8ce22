//! A store that fails once, at any of its calls: every job still ends exactly once.
//!
//! The threads are the real ones; a script stands in for the reactor. A fault either keeps the
//! call from the store or loses its answer: the caller cannot tell these apart.

mod flaky;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bulkhead_shared::backend::{Backend, Options};
use bulkhead_shared::broker::{Broker, Note, Presence, Selection, Submission, SupervisorId};
use bulkhead_shared::catalog::State;
use bulkhead_shared::outcome::{Ended, Outcome};
use bulkhead_shared::policy::Defaults;
use bulkhead_shared::sqlite::{self, Clock};
use bulkhead_shared::task::TaskSpec;
use bulkhead_shared::{Message, QueueName, TaskName, Timestamp, Uuid};
use crossbeam::channel::{Receiver, Select, Sender, bounded, unbounded};

use super::queue::{Order, Queue, Setting, ended_unrun, queue};
use super::renew::Renewer;
use super::{Held, Place};
use crate::job::{Job, Rules};
use crate::notice::{Notice, Notices};
use crate::pool::TicketId;
use crate::upkeep::{Upkeep, Word};
use flaky::{CALLS, Call, Fault, Flaky, When};

/// In the store's time, which passes only when nothing happens, and for the renewals' rhythm.
const LEASE: Duration = Duration::from_millis(300);

/// Nothing has happened for so long that what was lost on the way must be waited for.
const IDLE: Duration = Duration::from_millis(100);

/// Jobs of the script, and how many of them may run at once.
const JOBS: usize = 3;
const ROOM: u32 = 2;

/// Calls of one kind that are failed in turn.
const FAILED: usize = 3;

/// Rounds after which a job that has no ending will never have one.
const ROUNDS: usize = 600;

/// A clock that moves when told. It begins with the real one, which the threads go by.
#[derive(Debug)]
struct Hands(AtomicU64);

impl Hands {
    fn new() -> Self {
        Self(AtomicU64::new(Timestamp::now().as_millis()))
    }

    fn passed(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn pass(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.0.fetch_add(ms + 1, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.passed())
    }
    fn since_boot(&self) -> Duration {
        Duration::from_millis(self.passed())
    }
    fn boot_id(&self) -> [u8; 16] {
        [1; 16]
    }
}

/// A supervisor without processes.
struct Script {
    flaky: Arc<Flaky>,
    clock: Arc<Hands>,
    queue: Queue,
    inbox: Receiver<Notice>,
    notes: Sender<Vec<Note>>,
    running: HashMap<TicketId, Box<Job>>,
    epoch: u32,
}

impl Script {
    /// Plays the reactor until upkeep says that nothing is left to do; whether it ever did.
    fn play(&mut self) -> bool {
        for _ in 0..ROUNDS {
            let room = ROOM - u32::try_from(self.running.len()).unwrap().min(ROOM);
            let room = u16::try_from(room).unwrap();
            self.queue.publish(self.epoch, [room, 0, 0, 0]);
            match self.inbox.recv_timeout(IDLE) {
                Ok(Notice::AllDone) => return true,
                Ok(notice) => self.take(notice),
                Err(_) => self.clock.pass(LEASE),
            }
            // Jobs run until their lease has been renewed, so that there are renewals.
            if self.flaky.count(Call::Renew) > 0 {
                for (_, job) in self.running.drain() {
                    self.queue.send(Order::Settle(job, returned()));
                }
            }
        }
        false
    }

    fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Claimed { epoch, jobs } => {
                self.epoch = epoch;
                let note = |job: &Job| Note {
                    receipt: job.receipt.clone(),
                    started_at: Timestamp::now(),
                    pid: 1,
                    progress: None,
                };
                self.notes
                    .send(jobs.iter().map(|job| note(job)).collect())
                    .unwrap();
                self.running
                    .extend(jobs.into_iter().map(|job| (job.ticket, job)));
            }
            Notice::Lost(ticket) => {
                self.running.remove(&ticket);
                self.queue.send(Order::Forget(ticket));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn returned() -> Ended {
    let now = Timestamp::now();
    Ended {
        started_at: Some(now),
        ..ended_unrun(Outcome::Returned(b"1".to_vec()), now)
    }
}

/// Does `call` until it succeeds, as producers do.
fn insist<T, E>(mut call: impl FnMut() -> Result<T, E>) -> T {
    (0..3).find_map(|_| call().ok()).expect("it fails once")
}

fn submit(broker: &dyn Broker) -> Vec<Uuid> {
    let build = |_| Message::new("add").build().unwrap();
    let messages: Vec<Message> = (0..JOBS).map(build).collect();
    let queue = QueueName::default();
    let submission = |message| Submission {
        message,
        queue: &queue,
    };
    let batch: Vec<_> = messages.iter().map(submission).collect();
    insist(|| broker.submit(&batch));
    messages.iter().map(|message| message.uuid).collect()
}

fn rules() -> Rules {
    let add = TaskName::new("add").unwrap();
    Rules {
        defaults: Defaults {
            timeout: Duration::from_secs(1),
            patience: Duration::from_secs(1),
            memory: None,
            profile: "none".into(),
        },
        specs: Arc::new(HashMap::from([(add.clone(), TaskSpec::new(add))])),
        extras: Arc::default(),
        menu: None,
        most_memory: None,
    }
}

fn selection() -> Selection {
    Selection {
        queues: vec![QueueName::default()],
        tasks: vec![TaskName::new("add").unwrap()],
    }
}

fn upkeep(
    flaky: &Arc<Flaky>,
    store: &Backend,
    id: SupervisorId,
    queue: &Queue,
    notices: &Notices,
) -> (Upkeep, Sender<Word>) {
    let (words, inbox) = unbounded();
    let upkeep = Upkeep {
        broker: Arc::clone(flaky) as _,
        catalog: Arc::clone(&store.catalog),
        control: Arc::clone(&store.control),
        journals: Arc::clone(&store.journals),
        schedules: None,
        each: Vec::new(),
        is_told: false,
        presence: Presence {
            id,
            host: "here".into(),
            pid: 1,
            selection: selection(),
            tasks: Vec::new(),
            version: "1".into(),
            slots: 1,
            started_at: Timestamp::from_millis(0),
        },
        rules: rules(),
        lease: LEASE,
        unknown_after: None,
        burst: true,
        below: None,
        controllers: None,
        queue: queue.clone(),
        notices: notices.clone(),
        words: inbox,
    };
    (upkeep, words)
}

#[test]
fn a_burst_that_serves_no_task_ends() {
    let store = sqlite::open(":memory:", &Options::new("sqlite::memory:")).unwrap();
    let flaky = Arc::new(Flaky::new(Arc::clone(&store.broker), None));
    let id = SupervisorId(Uuid::now_v7());
    let (notices, inbox, _wake) = Notices::new().unwrap();
    let (queue, _settle_and_claim) = queue(Setting {
        broker: Arc::clone(&flaky) as _,
        owner: id,
        lease: LEASE,
        place: Place {
            host: "here".into(),
        },
        held: Arc::new(Held::new(LEASE)),
        notices: notices.clone(),
        delivered: inbox.clone(),
    })
    .unwrap();
    let (upkeep, words) = upkeep(&flaky, &store, id, &queue, &notices);
    let nothing = Selection {
        tasks: Vec::new(),
        ..selection()
    };
    let rules = Rules {
        specs: Arc::default(),
        ..rules()
    };
    words.send(Word::Serve(nothing, rules)).unwrap();
    let thread = thread::spawn(|| upkeep.run());
    let told = inbox.recv_timeout(Duration::from_secs(20));
    assert!(matches!(told, Ok(Notice::AllDone)), "{told:?}");
    drop(words);
    thread.join().unwrap();
}

/// Runs a few jobs to their ends over a store with this fault.
fn run_over(fault: Option<Fault>) -> Arc<Flaky> {
    let clock = Arc::new(Hands::new());
    let options = Options::new("sqlite::memory:");
    let store = sqlite::open_with_clock(":memory:", &options, Arc::clone(&clock) as _).unwrap();
    let flaky = Arc::new(Flaky::new(Arc::clone(&store.broker), fault));
    let id = SupervisorId(Uuid::now_v7());
    let held = Arc::new(Held::new(LEASE));
    let (notices, inbox, _wake) = Notices::new().unwrap();
    let (queue, settle_and_claim) = queue(Setting {
        broker: Arc::clone(&flaky) as _,
        owner: id,
        lease: LEASE,
        place: Place {
            host: "here".into(),
        },
        held: Arc::clone(&held),
        notices: notices.clone(),
        delivered: inbox.clone(),
    })
    .unwrap();
    let (notes, notes_inbox) = bounded(16);
    let renewer = Renewer {
        broker: Arc::clone(&flaky) as _,
        lease: LEASE,
        held: Arc::clone(&held),
        notices: notices.clone(),
        notes: notes_inbox,
    };
    let (upkeep, words) = upkeep(&flaky, &store, id, &queue, &notices);
    let jobs = submit(&*flaky);
    let is_done = thread::scope(|threads| {
        let upkeep = threads.spawn(|| upkeep.run());
        let queueing = threads.spawn(settle_and_claim);
        threads.spawn(|| renewer.run());
        words.send(Word::Serve(selection(), rules())).unwrap();
        let mut script = Script {
            flaky: Arc::clone(&flaky),
            clock,
            queue: queue.clone(),
            inbox,
            notes,
            running: HashMap::new(),
            epoch: 0,
        };
        let is_done = script.play();
        drop((script, words));
        upkeep.join().unwrap();
        queue.send(Order::Stop);
        queueing.join().unwrap();
        is_done
    });
    assert!(is_done, "there are jobs without an ending: {flaky:?}");
    insist(|| flaky.leave(id));
    insist(|| flaky.prune(10));
    let rows = store.catalog.jobs_by_id(&jobs).unwrap();
    for (job, row) in jobs.iter().zip(rows) {
        assert_eq!(flaky.endings(*job), 1, "{fault:?}");
        assert_eq!(row.unwrap().state, State::Succeeded, "{fault:?}");
    }
    flaky
}

fn fail_each_call_in_turn(when: When) {
    let usual = run_over(None);
    for call in CALLS {
        let most = usual.count(call).min(FAILED);
        assert!(most > 0, "{call:?} is not part of the script");
        for n in 1..=most {
            let flaky = run_over(Some(Fault { call, n, when }));
            // Later calls may come more or less often, as time goes.
            assert!(n > 1 || flaky.has_failed(), "{call:?} was not called");
        }
    }
}

#[test]
fn a_call_that_does_not_reach_the_store_costs_no_job_its_one_ending() {
    fail_each_call_in_turn(When::Before);
}

#[test]
fn an_answer_that_is_lost_on_its_way_costs_no_job_its_one_ending() {
    fail_each_call_in_turn(When::After);
}

#[test]
fn what_was_claimed_for_a_reactor_that_has_ended_is_given_back() {
    let store = sqlite::open_with_clock(
        ":memory:",
        &Options::new("sqlite::memory:"),
        Arc::new(Hands::new()),
    )
    .unwrap();
    let (notices, inbox, _wake) = Notices::new().unwrap();
    let (queue, settle_and_claim) = queue(Setting {
        broker: Arc::clone(&store.broker),
        owner: SupervisorId(Uuid::now_v7()),
        lease: LEASE,
        place: Place {
            host: "here".into(),
        },
        held: Arc::new(Held::new(LEASE)),
        notices,
        delivered: inbox.clone(),
    })
    .unwrap();
    let jobs = submit(&*store.broker);
    let queueing = thread::spawn(settle_and_claim);
    queue.send(Order::Serve(selection(), rules()));
    queue.publish(0, [u16::try_from(JOBS).unwrap(), 0, 0, 0]);
    let mut delivered = Select::new();
    delivered.recv(&inbox);
    delivered.ready_timeout(Duration::from_secs(10)).unwrap();
    // The reactor ends here, and has not looked.
    drop(inbox);
    queue.send(Order::Stop);
    queueing.join().unwrap();
    for row in store.catalog.jobs_by_id(&jobs).unwrap() {
        assert_eq!(row.unwrap().state, State::Ready);
    }
}
