use std::fs;
use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use clap::CommandFactory;

use super::*;
use crate::cli::{Cli, LogLevel, RunArgs, StoreArgs};
use crate::config::{problems, run_args, settings, store_args, store_options};
use bulkhead_shared::backend::Missing;

/// A file with this text, in a directory of its own.
struct Written(tempfile::TempDir);

impl Written {
    fn new(text: &str) -> Self {
        let written = Self(tempfile::tempdir().unwrap());
        fs::write(written.path(), text).unwrap();
        written.mode(0o644);
        written
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("b.toml")
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn file(&self) -> File {
        File::read(&self.path(), true).unwrap()
    }

    fn with(&self, variables: &[(&str, &str)]) -> Result<Environment, ConfigError> {
        let own = variables.iter().map(|(n, v)| (n.into(), v.into()));
        let environment = Environment {
            variables: own.collect(),
            file: None,
        };
        environment.with_file(Some(&self.path()))
    }
}

fn matches(typed: &[&str]) -> ArgMatches {
    let words = ["supervisor"].iter().chain(typed);
    Cli::command().try_get_matches_from(words).unwrap()
}

/// The reasons why this text is refused, all in one.
#[track_caller]
fn refused(text: &str, words: &[&str]) {
    let written = Written::new(text);
    let found = problems(&written.file());
    let said: Vec<_> = found.iter().map(ToString::to_string).collect();
    let said = said.join("\n");
    for word in words {
        assert!(said.contains(word), "{word:?} in {said}");
    }
}

#[test]
fn the_command_line_goes_before_the_environment_that_before_the_file_that_before_the_default() {
    let written = Written::new("processes = 3\npatience = \"7s\"\nlog-level = \"debug\"\n");
    let environment = written.with(&[("BULKHEAD_PATIENCE", "8s"), ("BULKHEAD_LOG_LEVEL", "warn")]);
    let environment = environment.unwrap();
    let typed = matches(&["--log-level", "error"]);
    let (run, settings) = run_args(Some(&typed), &environment).unwrap();
    assert_eq!(run.log_level, LogLevel::Error);
    assert_eq!(run.patience, Duration::from_secs(8));
    assert_eq!(run.processes, NonZeroU16::new(3));
    assert_eq!(run.grace, Duration::from_secs(30));
    let of = |name: &str| {
        settings
            .iter()
            .find(|setting| setting.name == name)
            .unwrap()
    };
    assert_eq!(of("log-level").source, Source::CommandLine);
    let patience = of("patience");
    let variable = Source::Variable("BULKHEAD_PATIENCE".into());
    assert_eq!(
        (patience.value.as_deref(), &patience.source),
        (Some("8s"), &variable)
    );
    assert_eq!(of("processes").source, Source::File(1));
    assert_eq!(
        (of("grace").value.as_deref(), &of("grace").source),
        (Some("30s"), &Source::Default)
    );
}

#[test]
fn options_typed_after_run_count_too() {
    let written = Written::new("processes = 3\n");
    let environment = written.with(&[]).unwrap();
    let all = matches(&["run", "--processes", "5", "--queues", "a,b"]);
    let (run, _) = run_args(all.subcommand_matches("run"), &environment).unwrap();
    assert_eq!(run.processes, NonZeroU16::new(5));
    assert_eq!(run.queues.unwrap().len(), 2);
}

#[test]
fn every_option_of_a_run_and_of_the_store_can_stand_in_the_file() {
    let text = r#"
        store = "sqlite:x.db"
        namespace = "n"
        durability = "full"
        store-group = true
        processes = 3
        child = "bin/tasks"
        queues = ["a", "b"]
        tasks = ["x"]
        burst = true
        tasks-per-process = 0
        stream-processes = 4
        groups = 2
        group-floor = 1
        threads = 4
        async-tasks = 5
        thread-stack = "1MiB"
        spawn = "exec"
        sandbox = "none"
        group-sandbox = "process"
        sandbox-best-effort = true
        task-user = "keep"
        memory = "none"
        cwd = "."
        patience = "1s"
        grace = "2s"
        lease = "3s"
        unknown-after = "never"
        task-output = "log"
        log-format = "json"
        log-level = "off"
        [env]
        A = "b=c"
        COPIED = true
    "#;
    let written = Written::new(text);
    assert_eq!(problems(&written.file()), []);
    let environment = written.with(&[]).unwrap();
    let all = settings(&matches(&[]), &environment).unwrap();
    let elsewhere: Vec<_> = all
        .iter()
        .filter(|setting| !matches!(setting.source, Source::File(_)))
        .collect();
    // All but the other way to name a store, which is no setting.
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    let count = names::<StoreArgs>().len() + names::<RunArgs>().len();
    assert_eq!(all.len(), count - 2 + 2);
    // A relative path begins where the file is.
    let directory = written.0.path();
    let (run, _) = run_args(None, &environment).unwrap();
    assert_eq!(run.child.unwrap(), directory.join("bin/tasks"));
    let (store, _) = store_args(&matches(&[]), &environment).unwrap();
    let options = store_options(store, &environment, Missing::Refuse).unwrap();
    assert_eq!(
        options.url,
        format!("sqlite:{}", directory.join("x.db").display())
    );
    assert_eq!(options.namespace.as_str(), "n");
    assert!(options.group_access);
    assert_eq!(run.env, ["A=b=c", "COPIED"]);
}

#[test]
fn what_is_wrong_is_told_with_line_key_and_way_out() {
    refused(
        "\nprocesses = \"4\"\n",
        &["b.toml:2: `processes`", "whole number"],
    );
    refused(
        "patience = 5\n",
        &["b.toml:1: `patience` is a number", "a text"],
    );
    refused("patience = \"5\"\n", &["`patience` is `5`", "`250ms`"]);
    refused("memory = \"1kb\"\n", &["`memory` is `1kb`", "`64KiB`"]);
    refused("spawn = \"clone\"\n", &["`spawn` is `clone`", "fork, exec"]);
    refused("processes = 0\n", &["`processes` is `0`"]);
    refused("processes = -1\n", &["`processes` is `-1`"]);
    refused(
        "tasks-per-process = 99999999999\n",
        &["`tasks-per-process` is `99999999999`"],
    );
    refused("queues = \"a\"\n", &["`queues` is a text", "list of texts"]);
    refused("queues = [\"a,b\"]\n", &["`a,b`", "no name"]);
    refused("queues = [\"a b\"]\n", &["`queues` is `a b`"]);
    refused("burst = 1\n", &["`burst`", "`true` or `false`"]);
    refused(
        "proceses = 1\n",
        &["`proceses` is unknown", "did you mean `processes`"],
    );
    refused("config = \"x\"\n", &["`config` is unknown"]);
    refused("[env]\nA = 1\n", &["b.toml:2: `env.A`", "takes a text"]);
    refused("[env]\n\"A=B\" = \"x\"\n", &["is no name of a variable"]);
    refused("[env]\nA = \"\\u0000\"\n", &["has a NUL"]);
    refused("env = [\"A\"]\n", &["`env` is a list", "[env]"]);
    refused(
        "store = \"sqlite:a\"\nstore-file = \"b\"\n",
        &["b.toml:2: `store-file`"],
    );
    refused(
        "lease = \"1ms\"\nnamespace = \"a b\"\n",
        &["at least `1s`", "b.toml:2: `namespace`"],
    );
}

#[test]
fn several_problems_are_counted_and_the_first_is_told() {
    let written = Written::new("patience = 5\ngrace = 5\nlease = 5\n");
    let error = written.with(&[]).unwrap_err().to_string();
    assert!(error.contains(":1: `patience`"), "{error}");
    assert!(
        error.contains("2 more: `supervisor config check`"),
        "{error}"
    );
}

#[test]
fn a_variable_that_is_wrong_is_named() {
    let written = Written::new("");
    for (name, value, word) in [
        ("BULKHEAD_PATIENCE", "5", "`250ms`"),
        ("BULKHEAD_BURST", "perhaps", "`1` or `0`"),
        ("BULKHEAD_PROCESSES", "0", "BULKHEAD_PROCESSES"),
    ] {
        let environment = written.with(&[(name, value)]).unwrap();
        let error = run_args(None, &environment).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(word), "{error}");
    }
    let environment = written
        .with(&[("BULKHEAD_BURST", "1"), ("BULKHEAD_GRACE", "")])
        .unwrap();
    assert!(run_args(None, &environment).unwrap().0.burst);
}

#[test]
fn a_password_in_a_file_that_others_can_read_is_refused_and_never_shown() {
    for (url, shown) in [
        ("redis://user:secret@host:6379/0", "redis://...@host:6379/0"),
        (
            "redis+unix:///run/r.sock?db=2&pass=secret",
            "redis+unix:///run/r.sock?...",
        ),
    ] {
        let written = Written::new(&format!("store = \"{url}\"\n"));
        let said = problems(&written.file())[0].to_string();
        assert!(
            said.contains("chmod 600") && !said.contains("secret"),
            "{said}"
        );
        written.mode(0o600);
        let environment = written.with(&[]).unwrap();
        let all = settings(&matches(&[]), &environment).unwrap();
        assert_eq!(all[0].value.as_deref(), Some(shown));
        assert_eq!(all[0].source, Source::File(1));
    }
}

#[test]
fn the_store_of_the_environment_goes_before_that_of_the_file() {
    let written = Written::new("store-file = \"where\"\n");
    fs::write(written.0.path().join("where"), "redis://elsewhere\n").unwrap();
    let url = |variables: &[(&str, &str)], typed: &[&str]| {
        let environment = written.with(variables).unwrap();
        let (store, _) = store_args(&matches(typed), &environment).unwrap();
        store_options(store, &environment, Missing::Refuse)
            .unwrap()
            .url
    };
    assert_eq!(url(&[], &[]), "redis://elsewhere");
    let variable = [("BULKHEAD_STORE", "sqlite:v.db")];
    assert_eq!(url(&variable, &[]), "sqlite:v.db");
    assert_eq!(url(&variable, &["--store", "sqlite:t.db"]), "sqlite:t.db");
}
