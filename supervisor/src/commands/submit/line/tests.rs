use bulkhead_shared::message::Header;

use super::*;

fn parse(json: &str) -> Result<Line, String> {
    Line::parse(json.as_bytes(), &Line::default())
}

fn built(line: Result<Line, String>) -> Header {
    let message = line.and_then(Line::builder).unwrap();
    message.build().unwrap().header
}

#[test]
fn null_retries_mean_no_end_and_absent_ones_the_default() {
    let unlimited = parse(r#"{"task":"a","max_retries":null}"#).unwrap();
    assert_eq!(unlimited.max_retries, Some(Retries::Unlimited));
    assert_eq!(parse(r#"{"task":"a"}"#).unwrap().max_retries, None);
    let three = parse(r#"{"task":"a","max_retries":3}"#).unwrap();
    assert_eq!(three.max_retries, Some(Retries::Times(3)));
}

#[test]
fn options_are_the_defaults_of_lines() {
    let defaults = Line {
        task: Some("add".into()),
        priority: Some(3),
        at: Some(Timestamp::from_millis(5)),
        ..Line::default()
    };
    let line = Line::parse(br#"{"priority":1,"delay":"2s"}"#, &defaults).unwrap();
    assert_eq!(
        (line.task.as_deref(), line.priority),
        (Some("add"), Some(1))
    );
    assert_eq!((line.delay, line.at), (Some(Duration::from_secs(2)), None));
}

#[test]
fn every_rule_of_a_job_can_be_a_key() {
    let line = parse(
        r#"{"task":"a","patience":"0","ttl":"2s","backoff":"3s","memory":"32MiB",
            "limits":{"cpu-time":"1m","processes":4},"profile":"process","result_ttl":"1h"}"#,
    );
    let header = built(line);
    assert_eq!((header.patience_ms, header.ttl_ms), (Some(0), Some(2000)));
    let three = Backoff::constant(Duration::from_secs(3));
    assert_eq!(header.backoff, Some(three));
    assert_eq!(header.memory, Some(32 << 20));
    let limits = (header.limits.cpu_time_s, header.limits.processes);
    assert_eq!(limits, (Some(60), Some(4)));
    assert_eq!(header.profile.as_deref(), Some("process"));
    assert_eq!(header.result_ttl, Some(Keep::For { ms: 3_600_000 }));
    let bytes = parse(r#"{"task":"a","memory":33554432}"#).unwrap();
    assert_eq!(bytes.memory, Some(Size(32 << 20)));
}

#[test]
fn what_jobs_share_can_be_a_key() {
    let line = parse(
        r#"{"task":"a","unique":{"key":"u","for":"10m"},"concurrency":{"key":"k","most":2}}"#,
    );
    let header = built(line);
    assert_eq!(header.unique.unwrap().for_ms, Some(600_000));
    assert_eq!(header.concurrency.unwrap().most, 2);
    let line = parse(r#"{"task":"a","unique":{"key":"u"},"lock":"l"}"#);
    let header = built(line);
    assert_eq!(header.unique.unwrap().for_ms, None);
    assert_eq!(header.lock.unwrap().name.as_str(), "l");
}

#[test]
fn wrong_lines_say_what_is_wrong_with_them() {
    let says = |json, words: &[&str]| {
        let error = parse(json).and_then(Line::flow).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{word}: {error}");
        }
    };
    says(r#"{"task":"a","colour":1}"#, &["`colour`", "max_retries"]);
    says(r#"{"task":"a","args":{}}"#, &["sequence", "column"]);
    says(r#"{"args":[]}"#, &["names no task"]);
    says(r#"{"task":"a","timeout":1}"#, &["string"]);
    says(r#"{"task":"a","timeout":"1"}"#, &["`250ms`"]);
    says(
        r#"{"task":"a","delay":"1s","at":"2030-01-31T09:30:00Z"}"#,
        &["leave one out"],
    );
    says(r#"{"task":"a","uuid":"x"}"#, &["UUID"]);
    says(r#"{"task":"a","result_ttl":5}"#, &["a number"]);
    says(r#"{"task":"a","priority":-1}"#, &["lower runs first"]);
    says(r#"{"task":"a","patience":"soon"}"#, &["`250ms`"]);
    says(r#"{"task":"a","ttl":"0"}"#, &["ttl is zero"]);
    says(r#"{"task":"a","memory":"1KiB"}"#, &["16MiB"]);
    says(r#"{"task":"a","memory":1.5}"#, &["`memory`", "512MiB"]);
    says(r#"{"task":"a","limits":{"cpu-time":5}}"#, &["`30s`"]);
    says(
        r#"{"task":"a","limits":{"processes":-1}}"#,
        &["whole number"],
    );
    says(r#"{"task":"a","limits":{"fds":9}}"#, &["`open-files`"]);
    says(
        r#"{"task":"a","limits":["processes"]}"#,
        &["cpu-time", "an array"],
    );
    says(
        r#"{"limits":{"processes":4},"group":{"members":[]}}"#,
        &["without a task"],
    );
    says(
        r#"{"task":"a","profile":"o pen"}"#,
        &["`o pen`", "`process`"],
    );
    says(
        r#"{"task":"a","backoff":{"algorithm":"linear","factor":"1s","ceiling":"1s"}}"#,
        &["swap"],
    );
    says(r#"{"task":"a","unique":{"for":"1s"}}"#, &["`key`"]);
    says(r#"{"task":"a","unique":{"key":"a b"}}"#, &["`a b`"]);
    says(
        r#"{"task":"a","concurrency":{"key":"k","most":0}}"#,
        &["zero"],
    );
    says(
        r#"{"task":"a","lock":"l","concurrency":{"key":"k","most":1}}"#,
        &["leave one out"],
    );
    says("[1]", &["column"]);
    says("{", &["EOF"]);
}

#[test]
fn options_of_the_wrong_kind_are_named() {
    assert!(
        array("{}")
            .unwrap_err()
            .contains("must be a JSON array, got an object")
    );
    assert!(
        object("[1]")
            .unwrap_err()
            .contains("must be a JSON object, got an array")
    );
    assert!(object("{oops}").unwrap_err().contains("column 2"));
    assert!(retries("-1").is_err() && retries("none") == Ok(Retries::Unlimited));
    assert_eq!(keep("0"), Ok(Keep::For { ms: 0 }));
    assert_eq!(keep("none"), Ok(Keep::Forever));
}
