use super::*;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn row(state: State, history: &History) -> JobRow {
    JobRow {
        uuid: Uuid::nil(),
        task: TaskName::new("add").unwrap(),
        queue: QueueName::default(),
        state,
        priority: 0,
        fence: 1,
        submitted_at: at(1),
        ready_at: at(5000),
        started_at: None,
        finished_at: None,
        cause: None,
        is_revoked: false,
        progress: None,
        owner_host: None,
        pid: None,
        header: Vec::new(),
        history: history.to_json(),
        result_bytes: None,
    }
}

fn failed_once() -> History {
    let mut history = History {
        attempt: 1,
        retries: 1,
        errors: 1,
        pid: Some(7),
        ..History::default()
    };
    history.push(Attempt {
        n: 1,
        cause: Some(Cause::Crash),
        error: Some(ErrorDetails {
            signal: Some("SIGSEGV".into()),
            ..ErrorDetails::new("killed", "killed by SIGSEGV")
        }),
        usage: Usage {
            wall_ms: Some(12),
            ..Usage::default()
        },
        started_at: Some(at(2)),
        finished_at: at(3),
    });
    history
}

#[test]
fn a_job_that_waits_is_submitted_until_an_attempt_has_failed() {
    let fresh = JobStatus::from(row(State::Delayed, &History::default()));
    assert_eq!((fresh.status, fresh.attempt), (Status::Submitted, Some(0)));
    assert_eq!((fresh.cause, fresh.next_at), (None, Some(at(5000))));
    let again = JobStatus::from(row(State::Delayed, &failed_once()));
    assert_eq!(again.status, Status::Retrying);
    assert_eq!(again.cause, Some(Cause::Crash));
    assert_eq!(again.error.unwrap().signal.as_deref(), Some("SIGSEGV"));
    let ready = JobStatus::from(row(State::Ready, &failed_once()));
    assert_eq!((ready.status, ready.next_at), (Status::Retrying, None));
}

#[test]
fn a_running_job_shows_its_own_attempt_and_not_the_failure_before() {
    let row = JobRow {
        started_at: Some(at(9)),
        pid: Some(8),
        owner_host: Some("h".into()),
        ..row(State::Leased, &failed_once())
    };
    let job = JobStatus::from(row);
    assert_eq!((job.status, job.attempt), (Status::Running, Some(2)));
    assert_eq!(
        (job.cause, job.pid, job.started_at),
        (None, Some(8), Some(at(9)))
    );
    assert_eq!(job.attempts.len(), 1);
    assert_eq!(job.usage.wall_ms, None);
}

#[test]
fn every_key_is_there_for_a_job_that_nobody_knows() {
    let json = serde_json::to_value(JobStatus::unknown(Uuid::nil())).unwrap();
    let keys = "uuid task queue status cause attempt retries priority submitted_at started_at \
        finished_at next_at error usage output progress isolation host pid attempts";
    for key in keys.split_whitespace() {
        assert!(json.get(key).is_some(), "{key}");
    }
    assert_eq!(json["status"], "UNKNOWN");
    assert_eq!(json["usage"]["wall_ms"], Value::Null);
}

#[test]
fn times_are_printed_as_rfc3339_and_causes_by_their_names() {
    let json = serde_json::to_value(JobStatus::from(row(State::Delayed, &failed_once())));
    let json = json.unwrap();
    assert_eq!(json["submitted_at"], "1970-01-01T00:00:00.001Z");
    assert_eq!(
        json["attempts"][0]["finished_at"],
        "1970-01-01T00:00:00.003Z"
    );
    assert_eq!(json["attempts"][0]["error"]["signal"], "SIGSEGV");
    assert_eq!(json["cause"], "crash");
}

#[test]
fn a_damaged_history_gives_nulls_and_a_note() {
    let row = JobRow {
        history: b"{broken".to_vec(),
        progress: Some(b"]".to_vec()),
        cause: Some(Cause::Timeout),
        ..row(State::Dead, &History::default())
    };
    let job = JobStatus::from(row);
    assert_eq!(
        (job.status, job.cause),
        (Status::Failed, Some(Cause::Timeout))
    );
    assert_eq!((job.attempt, job.progress), (None, None));
    let note = job.note.unwrap();
    assert!(
        note.contains("history") && note.contains("progress"),
        "{note}"
    );
}

#[test]
fn a_status_is_read_in_any_case() {
    assert_eq!("running".parse(), Ok(Status::Running));
    assert!(
        "gone"
            .parse::<Status>()
            .unwrap_err()
            .to_string()
            .contains("`gone`")
    );
}
