//! The same verdicts, and no process left, on hosts that lack what the supervisor would like best.
//!
//! Promised on every host: exact verdicts, hard deadlines, and that nothing a task has started is
//! there when its verdict can be read. What a host cannot give then is in the table [`MISSING`],
//! and is said at start. Features that are not in it have a replacement that is as good.

use bulkhead_tests::cli::Place;
use bulkhead_tests::ignores_term;
use bulkhead_tests::supervise::Supervisor;
use serde_json::{Value, json};

use crate::parts::{Verdict, Who, ended, once, place_of, submit, with};

pub(crate) const ALL: &str = "landlock,cgroup,cgroup-kill,pidfd-group,clone3,userns,tid-address";

/// Without these, that is not promised.
const MISSING: [(&[&str], &str); 2] = [
    (
        &["landlock"],
        "tasks can signal processes of their own user",
    ),
    (&["cgroup", "userns"], "a task that kills the init above it"),
];

/// Jobs and their verdicts on any host.
fn dozen() -> Vec<(Value, Verdict)> {
    vec![
        (once("add", json!([2, 3])), Verdict::succeeded()),
        (
            once("fail", json!(["no"])),
            Verdict::failed("error", "error"),
        ),
        (
            once("panic", json!(["no"])),
            Verdict::failed("error", "panic"),
        ),
        (once("crash", json!(["SEGV"])), Verdict::crashed("SIGSEGV")),
        (once("crash", json!(["ABRT"])), Verdict::crashed("SIGABRT")),
        (once("crash", json!(["KILL"])), Verdict::crashed("SIGKILL")),
        (
            once("crash", json!([(libc::SIGRTMIN() + 5).to_string()])),
            Verdict::crashed("SIGRTMIN+5"),
        ),
        (
            once("exit", json!([7])),
            Verdict::failed("crash", "crash").with_code(7),
        ),
        (
            with(once("hang", json!([])), "timeout", "200ms"),
            Verdict::failed("timeout", "timeout").by_signal("SIGKILL"),
        ),
        (
            once("allocate", json!([1000])),
            Verdict::failed("out-of-memory", "out-of-memory").by_signal("SIGABRT"),
        ),
    ]
}

/// A job that leaves a fugitive behind: when its verdict can be read, the fugitive is gone.
fn nobody_escapes(place: &Place, supervisor: &Supervisor<'_>, job: &str, verdict: &Verdict) {
    let status = place.ended(job);
    let left: Vec<_> = supervisor
        .processes()
        .into_iter()
        .filter(|&pid| ignores_term(pid))
        .collect();
    assert!(left.is_empty(), "{left:?} got away: {status:#}");
    assert_eq!(Verdict::of(&status), *verdict, "{status:#}");
}

fn run_without(without: &str, who: Who, spawn: &str) {
    let place = place_of(who);
    let arguments = [
        "--spawn",
        spawn,
        "--processes",
        "2",
        "--patience",
        "200ms",
        "--memory",
        "96MiB",
    ];
    let mut supervisor = Supervisor::at(&place)
        .args(arguments)
        .env("BULKHEAD_WITHOUT", without)
        .start();
    let timed_out = Verdict::failed("timeout", "timeout").by_signal("SIGKILL");
    let escapes = [
        (once("escape", json!([])), Verdict::succeeded()),
        (
            with(once("escape", json!([true])), "timeout", "200ms"),
            timed_out,
        ),
    ];
    for (line, verdict) in &escapes {
        let job = submit(&place, std::slice::from_ref(line)).remove(0);
        nobody_escapes(&place, &supervisor, &job, verdict);
    }
    let (lines, verdicts): (Vec<_>, Vec<_>) = dozen().into_iter().unzip();
    let jobs = submit(&place, &lines);
    let statuses = ended(&place, &jobs);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
    supervisor.leaves_nothing();
    for (status, verdict) in statuses.iter().zip(verdicts) {
        assert_eq!(
            Verdict::of(status),
            verdict,
            "{status:#}\n{}",
            supervisor.log()
        );
    }
    let is_denied = |word: &&str| without.split(',').any(|denied| denied == *word);
    let log = supervisor.log();
    for (words, guarantee) in MISSING {
        // Other hosts may lack it by themselves.
        assert!(
            !words.iter().all(is_denied) || log.contains(guarantee),
            "{log}"
        );
    }
    let isolation = statuses[0]["isolation"].as_str().unwrap();
    for (word, sign) in [
        ("landlock", "landlock"),
        ("cgroup", "cgroup"),
        ("userns", "namespace"),
    ] {
        assert!(
            !(is_denied(&word) && isolation.contains(sign)),
            "{isolation}"
        );
    }
}

macro_rules! cells {
    ($($name:ident: $without:expr;)*) => {$(
        mod $name {
            use super::*;
            #[test] fn forked_by_root() { run_without($without, Who::Root, "fork"); }
            #[test] fn executed_by_root() { run_without($without, Who::Root, "exec"); }
            #[test] fn forked_by_a_user() { run_without($without, Who::User, "fork"); }
            #[test] fn executed_by_a_user() { run_without($without, Who::User, "exec"); }
        }
    )*};
}

cells! {
    with_all_the_host_can_do: "";
    without_landlock: "landlock";
    without_cgroups: "cgroup";
    without_cgroup_kill: "cgroup-kill";
    without_signals_to_groups_by_pidfd: "pidfd-group";
    without_clone3: "clone3";
    without_user_namespaces: "userns";
    without_the_tid_address: "tid-address";
    without_cgroups_and_namespaces: "cgroup,userns";
    without_any_of_it: ALL;
}
