use std::fs;

use super::*;
use crate::cli::Cli;
use clap::{CommandFactory, Parser};

fn environment(variables: &[(&str, &str)]) -> Environment {
    let own = variables.iter().map(|(n, v)| (n.into(), v.into()));
    Environment {
        variables: own.collect(),
        file: None,
    }
}

fn configured(
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<RunConfig, Box<dyn std::error::Error>> {
    configured_in(arguments, &environment(variables))
}

fn configured_in(
    arguments: &[&str],
    environment: &Environment,
) -> Result<RunConfig, Box<dyn std::error::Error>> {
    let typed = ["supervisor", "--child", "/bin/true"];
    let matches = Cli::command().try_get_matches_from(typed.iter().chain(arguments))?;
    let (store, _) = store_args(&matches, environment)?;
    let (run, _) = run_args(Some(&matches), environment)?;
    Ok(RunConfig::new(store, run, environment)?)
}

fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    configured(arguments, variables).unwrap_err().to_string()
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_run_without_options_has_the_documented_defaults() {
    let config = configured(&[], &[]).unwrap();
    assert_eq!(config.store.url, "sqlite:bulkhead.db");
    assert_eq!(config.store.namespace.as_str(), "bulkhead");
    assert_eq!(config.store.missing, Missing::Create);
    assert_eq!(config.memory, Some(1 << 30));
    assert_eq!(config.tasks_per_process, 1);
    assert_eq!(config.patience, Duration::from_secs(1));
    assert_eq!(config.grace, Duration::from_secs(30));
    assert_eq!(config.lease, Duration::from_secs(30));
    assert_eq!(config.unknown_after, Some(Duration::from_secs(5)));
    assert_eq!((config.queues, config.tasks), (None, None));
    assert_eq!(config.sandbox, "process");
    assert_eq!(config.task_user, TaskUser::Auto);
    assert!(!config.burst);
}

#[test]
fn no_limit_is_said_in_words() {
    let config = configured(&["--memory", "none", "--unknown-after", "never"], &[]).unwrap();
    assert_eq!((config.memory, config.unknown_after), (None, None));
}

#[test]
fn queues_keep_their_order_and_lose_their_repetitions() {
    let config = configured(&["--queues", "b,a,b"], &[]).unwrap();
    let names: Vec<_> = config.queues.unwrap();
    assert_eq!(
        names.iter().map(QueueName::as_str).collect::<Vec<_>>(),
        ["b", "a"]
    );
}

#[test]
fn tasks_processes_and_the_log_are_what_is_typed() {
    let typed = ["--tasks", "b,a", "--processes", "3", "--log-level", "debug"];
    let config = configured(&typed, &[]).unwrap();
    let names: Vec<_> = config.tasks.unwrap();
    assert_eq!(
        names.iter().map(TaskName::as_str).collect::<Vec<_>>(),
        ["b", "a"]
    );
    assert_eq!(
        (config.processes.get(), config.log_level),
        (3, LogLevel::Debug)
    );
    let usual = configured(&[], &[]).unwrap();
    let cpus = std::thread::available_parallelism().unwrap();
    assert_eq!(usize::from(usual.processes.get()), cpus.get());
}

#[test]
fn wrong_values_are_refused_with_a_way_out() {
    assert!(refused(&["--sandbox", "tight"], &[]).contains("none, process, strict"));
    assert!(refused(&["--memory", "1KiB"], &[]).contains("16MiB"));
    assert!(refused(&["--lease", "10ms"], &[]).contains("at least `1s`"));
    assert!(refused(&["--patience", "5"], &[]).contains("`250ms`"));
    assert!(refused(&["--queues", "a,,b"], &[]).contains("empty"));
    assert!(refused(&["--cwd", "/nowhere"], &[]).contains("/nowhere"));
    assert!(refused(&["--env", "=x"], &[]).contains("NAME=VALUE"));
    assert!(refused(&["--processes", "0"], &[]).contains("processes"));
    assert!(refused(&[], &[("BULKHEAD_NAMESPACE", "a b")]).contains("BULKHEAD_NAMESPACE"));
}

#[test]
fn the_store_of_an_argument_goes_before_that_of_the_environment() {
    let variables = [
        ("BULKHEAD_STORE", "sqlite:b.db"),
        ("BULKHEAD_NAMESPACE", "n"),
    ];
    let config = configured(&["--store", "sqlite:a.db"], &variables).unwrap();
    assert_eq!(config.store.url, "sqlite:a.db");
    assert_eq!(config.store.namespace.as_str(), "n");
    let config = configured(&[], &variables).unwrap();
    assert_eq!(config.store.url, "sqlite:b.db");
}

#[test]
fn a_password_is_refused_in_an_argument_and_taken_from_the_environment() {
    let url = "redis://user:se/cret@host:6379/0";
    let error = refused(&["--store", url], &[]);
    assert!(
        error.contains("BULKHEAD_STORE") && error.contains("--store-file"),
        "{error}"
    );
    assert!(!error.contains("cret"), "{error}");
    let config = configured(&[], &[("BULKHEAD_STORE", url)]).unwrap();
    assert_eq!(config.store.url, url);
    for harmless in [
        "redis://host:6379/0",
        "redis://user@host",
        "sqlite:/a:b@c.db",
    ] {
        assert!(
            configured(&["--store", harmless], &[]).is_ok(),
            "{harmless}"
        );
    }
}

#[test]
fn a_password_behind_a_question_mark_is_refused_in_an_argument_and_hidden() {
    for (url, shown) in [
        (
            "redis+unix:///run/r.sock?pass=secret",
            "redis+unix:///run/r.sock?...",
        ),
        ("unix:/run/r.sock?db=2&pass=secret", "unix:/run/r.sock?..."),
        ("unix:///r.sock?p%61ss=secret", "unix:///r.sock?..."),
        ("unix:///r.sock?PASS=secret", "unix:///r.sock?..."),
        ("unix:///r.sock?pa\tss=secret", "unix:///r.sock?..."),
        ("unix:///r.sock?pass=a@secret", "unix://...@"),
        (
            "redis+sentinel://:secret@a:1/main?sentinel_password=secret",
            "redis+sentinel://...@a:1/main?...",
        ),
        ("redis://u:a?secret@host/0", "redis://...@"),
        ("redis:\t//u:secret@host/0", "redis:...@host/0"),
    ] {
        let error = refused(&["--store", url], &[]);
        assert!(
            error.contains("BULKHEAD_STORE") && !error.contains("secret"),
            "{url:?}: {error}"
        );
        let config = configured(&[], &[("BULKHEAD_STORE", url)]).unwrap();
        assert_eq!(config.store.url, url);
        assert_eq!(without_password(url), shown, "{url:?}");
    }
    for harmless in [
        "redis+unix:///run/r.sock?db=2&user=me&protocol=3",
        "unix:/run/r.sock",
        "redis://host/0?",
        "sqlite:/pass=a?pass=b",
    ] {
        assert!(
            configured(&["--store", harmless], &[]).is_ok(),
            "{harmless}"
        );
        assert_eq!(without_password(harmless), harmless);
    }
}

#[test]
fn the_store_is_read_from_the_first_line_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store");
    fs::write(&file, "redis://:secret@host\n# more\n").unwrap();
    let file = file.to_str().unwrap();
    let config = configured(&["--store-file", file], &[]).unwrap();
    assert_eq!(config.store.url, "redis://:secret@host");
    assert!(refused(&["--store-file", "/nowhere"], &[]).contains("/nowhere"));
}

#[test]
fn the_file_with_the_url_may_be_named_by_a_variable_if_no_other_names_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store");
    fs::write(&file, "redis://:secret@host\n").unwrap();
    let of_file = ("BULKHEAD_STORE_FILE", file.to_str().unwrap());
    let config = configured(&[], &[of_file, ("BULKHEAD_STORE", "")]).unwrap();
    assert_eq!(config.store.url, "redis://:secret@host");
    let both = [of_file, ("BULKHEAD_STORE", "sqlite:b.db")];
    let error = refused(&[], &both);
    assert!(
        error.contains("BULKHEAD_STORE and BULKHEAD_STORE_FILE"),
        "{error}"
    );
    let config = configured(&["--store", "sqlite:a.db"], &both).unwrap();
    assert_eq!(config.store.url, "sqlite:a.db");
    let nowhere = [("BULKHEAD_STORE_FILE", "/nowhere")];
    assert!(refused(&[], &nowhere).contains("/nowhere"));
    let (_, source) = store_url(None, None, &environment(&[of_file])).unwrap();
    assert_eq!(source, Source::Variable("BULKHEAD_STORE_FILE".into()));
}

#[test]
fn tasks_see_the_usual_variables_and_those_named() {
    let variables = [
        ("PATH", "/bin"),
        ("LC_ALL", "C"),
        ("AWS_SECRET", "s"),
        ("COPY", "c"),
    ];
    let arguments = [
        "--env", "COPY", "--env", "A=b=c", "--env", "PATH=/x", "--env", "GONE",
    ];
    let mut env = configured(&arguments, &variables).unwrap().env;
    env.sort();
    let expected = [("A", "b=c"), ("COPY", "c"), ("LC_ALL", "C"), ("PATH", "/x")];
    assert_eq!(env, expected.map(|(n, v)| (n.into(), v.into())));
}

#[test]
fn unknown_words_in_the_probes_variable_are_refused_with_the_known_ones() {
    let config = configured(&[], &[("BULKHEAD_WITHOUT", "cgroup, clone3,")]).unwrap();
    assert_eq!(config.without, ["cgroup", "clone3"]);
    let error = refused(&[], &[("BULKHEAD_WITHOUT", "cgruop")]);
    assert!(
        error.contains("`cgruop`") && error.contains("tid-address"),
        "{error}"
    );
}

#[test]
fn a_program_that_is_missing_may_come_later() {
    let typed = ["supervisor", "--child", "/nowhere/child"];
    let cli = Cli::try_parse_from(typed).unwrap();
    let config = RunConfig::new(cli.store, cli.run, &environment(&[])).unwrap();
    assert_eq!(config.child, PathBuf::from("/nowhere/child"));
}

#[test]
fn a_path_that_can_name_no_program_is_refused() {
    assert!(Cli::try_parse_from(["supervisor", "--child", ""]).is_err());
    let cli = Cli::try_parse_from(["supervisor", "--child", "/"]).unwrap();
    let error = RunConfig::new(cli.store, cli.run, &environment(&[])).unwrap_err();
    assert!(error.to_string().contains("names no program"), "{error}");
}

#[test]
fn groups_are_as_many_and_as_large_as_is_typed() {
    let typed = [
        "--groups",
        "3",
        "--group-floor",
        "2",
        "--threads",
        "5",
        "--async-tasks",
        "7",
    ];
    let config = configured(&typed, &[]).unwrap();
    let found = (
        config.groups,
        config.group_floor,
        config.threads,
        config.async_tasks,
    );
    assert_eq!(found, (3, 2, 5, 7));
}

#[test]
fn more_processes_than_there_are_numbers_for_are_refused() {
    let most = [
        "--processes",
        "60000",
        "--groups",
        "5534",
        "--stream-processes",
        "0",
    ];
    assert!(configured(&most, &[]).is_ok());
    let mut more = most;
    more[5] = "1";
    let error = configured(&more, &[]).unwrap_err().to_string();
    for named in [
        "--processes 60000",
        "--groups 5534",
        "--stream-processes 1",
        "65536",
    ] {
        assert!(error.contains(named), "{error}");
    }
}
