use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::broker::{Claim, Receipt, Selection, Settlement, SupervisorId};
use crate::history::History;
use crate::message::Message;
use crate::name::ScheduleName;
use crate::outcome::Cause;
use crate::retry::Move;
use crate::time::Timestamp;
use crate::trigger::{On, TriggerSpec};

const SOON: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(30);

fn client() -> Client {
    Client::open("sqlite::memory:").unwrap()
}

fn built(task: &str) -> Message {
    Message::new(task).build().unwrap()
}

fn claim(client: &Client) -> Receipt {
    let selection = Selection {
        queues: vec![QueueName::default()],
        tasks: vec![TaskName::new("add").unwrap()],
    };
    let claim = Claim {
        owner: SupervisorId(Uuid::now_v7()),
        selection: &selection,
        room: 1,
        lease: LONG,
    };
    let turned = client.backend().broker.turn(Vec::new(), Some(claim));
    turned.unwrap().claimed.remove(0).receipt
}

fn settle(client: &Client, receipt: Receipt, next: Move) {
    let settlement = Settlement {
        receipt,
        next,
        history: History::default().to_json(),
        at: Timestamp::now(),
        errands: Default::default(),
    };
    client
        .backend()
        .broker
        .turn(vec![settlement], None)
        .unwrap();
}

#[test]
fn a_schedule_whose_only_time_is_over_is_not_added() {
    let client = client();
    let name = ScheduleName::new("x").unwrap();
    let task = TaskName::new("add").unwrap();
    let add = |at: &str, on| {
        let trigger = TriggerSpec {
            at: Some(at.into()),
            on,
            ..TriggerSpec::default()
        };
        client.add_schedule(&name, &task, None, trigger)
    };
    for on in [On::One, On::Each] {
        let error = add("2020-01-31T09:30:00Z", on).unwrap_err().to_string();
        assert!(error.contains("2020-01-31T09:30:00"), "{error}");
    }
    assert!(client.schedules().unwrap().is_empty());
    add("2100-01-31T09:30:00Z", On::One).unwrap();
}

fn succeed(client: &Client, result: Option<&[u8]>) {
    let next = Move::Succeed {
        result: result.map(Into::into),
        result_until: None,
        purge_at: None,
    };
    settle(client, claim(client), next);
}

fn bury(client: &Client) {
    let next = Move::Bury {
        cause: Cause::Crash,
        purge_at: None,
    };
    settle(client, claim(client), next);
}

#[test]
fn a_batch_is_bounded_in_number_and_bytes_and_never_empty() {
    let many = vec![built("add"); BATCH + 1];
    assert_eq!(batch_len(&many), BATCH);
    let heavy = Message {
        payload: vec![0; BATCH_BYTES / 2 + 1],
        ..built("add")
    };
    assert_eq!(batch_len(&[heavy.clone(), heavy.clone()]), 1);
    let too_heavy = Message {
        payload: vec![0; BATCH_BYTES + 1],
        ..heavy
    };
    assert_eq!(batch_len(&[too_heavy]), 1);
    assert_eq!(batch_len(&[]), 0);
}

#[test]
fn a_known_uuid_is_refused_with_its_queue() {
    let client = client();
    let message = built("add");
    client.submit(message.clone()).unwrap();
    let error = client.submit(message).unwrap_err();
    assert!(matches!(&error, ClientError::Known { queue, .. } if queue.as_str() == "default"));
}

#[test]
fn a_message_that_cannot_be_built_is_never_sent() {
    let error = client().submit(Message::new("a b")).unwrap_err();
    assert!(matches!(error, ClientError::Message(_)), "{error}");
}

#[test]
fn the_queue_is_the_messages_else_the_learnt_one_else_the_default() {
    let mut client = client();
    let mut spec = TaskSpec::new(TaskName::new("mail").unwrap());
    spec.queue = Some(QueueName::new("post").unwrap());
    let messages = [
        built("mail"),
        Message::new("mail").queue("q").build().unwrap(),
        built("add"),
    ];
    let names = |tasks: Vec<TaskName>| tasks.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        names(
            client
                .unregistered(&messages.clone().map(Flow::from))
                .unwrap()
        ),
        ["add", "mail"]
    );
    client.learn([spec]);
    assert_eq!(
        names(
            client
                .unregistered(&messages.clone().map(Flow::from))
                .unwrap()
        ),
        ["add"]
    );
    let tickets = client.submit_many(&messages).unwrap();
    let queues: Vec<_> = tickets.iter().map(|t| t.queue.as_str()).collect();
    assert_eq!(queues, ["post", "q", "default"]);
}

#[test]
fn a_result_is_read_kept_and_taken_once() {
    let client = client();
    let uuid = client.submit(Message::new("add").arg(2).arg(3)).unwrap();
    assert!(matches!(
        client.result(uuid, None),
        Err(ClientError::NotEnded(_))
    ));
    succeed(&client, Some(b"5"));
    assert_eq!(client.result_as::<i64>(uuid, None).unwrap(), 5);
    assert!(matches!(
        client.result_as::<String>(uuid, None),
        Err(ClientError::Decode { .. })
    ));
    assert_eq!(client.take_result(uuid, None).unwrap(), b"5");
    assert!(matches!(
        client.result(uuid, None),
        Err(ClientError::NoResult { .. })
    ));
}

#[test]
fn a_failed_job_has_no_result_but_a_cause() {
    let client = client();
    let uuid = client.submit(built("add")).unwrap();
    bury(&client);
    let error = client.result(uuid, Some(LONG)).unwrap_err();
    assert!(matches!(&error, ClientError::Failed(job) if job.cause == Some(Cause::Crash)));
    assert!(error.to_string().contains("crash"), "{error}");
}

#[test]
fn a_job_that_nobody_knows_is_not_waited_for() {
    let nobody = Uuid::now_v7();
    assert_eq!(client().status(nobody).unwrap().status, Status::Unknown);
    let error = client().result(nobody, Some(LONG)).unwrap_err();
    assert!(matches!(error, ClientError::NotFound { .. }), "{error}");
}

#[test]
fn a_wait_ends_at_its_deadline_and_names_the_jobs_left() {
    let client = client();
    let uuid = client.submit(built("add")).unwrap();
    let error = client
        .wait_for(&[uuid], &[Status::Succeeded], SOON)
        .unwrap_err();
    assert!(matches!(&error, ClientError::TimedOut { waiting, .. } if *waiting == [uuid]));
    assert!(error.to_string().contains("20ms"), "{error}");
}

#[test]
fn a_wait_for_what_can_no_longer_come_ends_at_once() {
    let client = client();
    let uuid = client.submit(built("add")).unwrap();
    bury(&client);
    let error = client
        .wait_for(&[uuid], &[Status::Succeeded], LONG)
        .unwrap_err();
    assert!(matches!(error, ClientError::EndedOtherwise(_)), "{error}");
}

#[test]
fn a_wait_hears_of_ends_in_other_threads() {
    let client = client();
    let uuids: Vec<_> = (0..3)
        .map(|_| client.submit(built("add")).unwrap())
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..3).for_each(|_| succeed(&client, None)));
        let ended = client.wait_for(&uuids, &[Status::Succeeded, Status::Failed], LONG);
        let ended: Vec<_> = ended.unwrap().iter().map(|job| job.uuid).collect();
        assert_eq!(ended, uuids);
    });
}

#[test]
fn a_wait_can_be_interrupted() {
    let client = client();
    let uuid = client.submit(built("add")).unwrap();
    let interrupt = crate::broker::Interrupt::new().unwrap();
    interrupt.raise();
    let wait = Wait {
        within: None,
        interrupt: Some(&interrupt),
    };
    let waited = client.watch::<ClientError>(&[uuid], wait, |_, _| Ok(Look::Again));
    assert!(matches!(waited, Err(ClientError::Interrupted { waiting }) if waiting == [uuid]));
}

#[test]
fn revoked_and_removed_jobs_say_what_they_were() {
    let client = client();
    let uuid = client.submit(built("add")).unwrap();
    assert_eq!(client.revoke(uuid, false).unwrap(), Revocation::Ended);
    assert_eq!(
        client.revoke(uuid, false).unwrap(),
        Revocation::AlreadyEnded
    );
    assert!(!client.is_dead_letter(uuid).unwrap());
    assert!(client.remove(uuid).unwrap());
    assert!(!client.remove(uuid).unwrap());
    assert_eq!(client.revoke(uuid, false).unwrap(), Revocation::Unknown);
}

#[test]
fn a_hook_of_the_producer_runs_once_for_each_message_that_is_stored() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    fn count(_: &Message) {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
    fn fail(_: &Message) {
        panic!("a hook that fails");
    }
    let client = client();
    let message = Message::new("add").on_submit(count).build().unwrap();
    client.submit(message.clone()).unwrap();
    assert!(client.submit(message).is_err());
    assert_eq!(CALLS.load(Ordering::Relaxed), 1);
    // Whatever it does, the message is stored.
    let uuid = client.submit(Message::new("add").on_submit(fail)).unwrap();
    assert!(client.exists(uuid).unwrap());
}

#[test]
fn a_message_is_sent_as_it_was_changed() {
    let client = client();
    let mut message = built("add");
    message.priority = 3;
    message.header.timeout_ms = Some(500);
    let uuid = client.submit(message).unwrap();
    let sent = client.message(uuid).unwrap();
    assert_eq!((sent.priority, sent.header.timeout_ms), (3, Some(500)));
}

#[test]
fn what_ended_in_time_is_told_however_late_it_is_asked_for() {
    let (client, within) = (client(), Duration::from_millis(500));
    let jobs = [
        client.submit(built("add")).unwrap(),
        client.submit(built("add")).unwrap(),
    ];
    let never = [client.submit(built("other")).unwrap()];
    succeed(&client, Some(b"1"));
    let mut results = client.results(&jobs, within).unwrap().istream().unwrap();
    let second = [jobs[1]];
    let mut updates = client.updates(&second, within).unwrap();
    assert!(results.next().unwrap().1.is_ok());
    assert_eq!(updates.next().unwrap().unwrap().status, Status::Submitted);
    succeed(&client, Some(b"2"));
    // Their time is over when this wait's is, which began later.
    let waited = client.wait_for(&never, &[Status::Succeeded], within);
    assert!(matches!(waited, Err(ClientError::TimedOut { .. })));
    assert_eq!(results.next().unwrap().1.unwrap().bytes, b"2");
    let last = updates.next().unwrap().unwrap();
    assert_eq!(last.status, Status::Succeeded);
}
