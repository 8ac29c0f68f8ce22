//! The configuration file, as commands read it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use bulkhead_tests::cli::{Place, Ran};
use serde_json::{Value, json};

/// What `config show` says of an option: value and source.
fn shown(ran: &Ran, name: &str) -> Value {
    let all = ran.json();
    let found = all
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == name);
    let one = found.unwrap_or_else(|| panic!("no {name} in {all:#}"));
    json!([one["value"], one["source"], one["line"]])
}

#[test]
fn show_tells_each_value_and_its_source() {
    let place = Place::new();
    let _ = place.file("bulkhead.toml", "patience = \"3s\"\nnamespace = \"n\"\n");
    let mut command = place.command(&["config", "show", "--json", "--namespace", "typed"]);
    command.env("BULKHEAD_GRACE", "4s");
    let ran = Ran::of(command).succeeds();
    assert_eq!(shown(&ran, "patience"), json!(["3s", "file", 1]));
    assert_eq!(
        shown(&ran, "namespace"),
        json!(["typed", "command line", null])
    );
    assert_eq!(shown(&ran, "grace"), json!(["4s", "environment", null]));
    assert_eq!(shown(&ran, "lease"), json!(["30s", "default", null]));
    assert_eq!(shown(&ran, "store")[1], "environment");
    let table = place.run(&["config", "show"]).succeeds().stdout;
    let line = table
        .lines()
        .find(|line| line.starts_with("patience"))
        .unwrap();
    assert!(line.ends_with("bulkhead.toml:1"), "{line}");
}

#[test]
fn check_tells_all_that_is_wrong_with_lines() {
    let place = Place::new();
    let wrong = place.file("b.toml", "patience = 3\n\nfoo = 1\n");
    let wrong = wrong.to_str().unwrap();
    let ran = place
        .run(&["config", "check", "--config", wrong])
        .ends_with(2);
    let lines = ran.lines();
    assert_eq!(lines.len(), 2, "{ran:#?}");
    assert!(
        lines[0].contains("b.toml:1: `patience` is a number"),
        "{ran:#?}"
    );
    assert!(lines[1].contains("b.toml:3: `foo` is unknown"), "{ran:#?}");
    let ran = place
        .run(&["config", "check", "--json", "--config", wrong])
        .ends_with(2);
    let object = ran.json();
    assert_eq!(object["is_right"], false);
    assert_eq!(object["problems"][1]["line"], 3);
    assert_eq!(object["problems"][1]["key"], "foo");

    let _ = place.file("bulkhead.toml", "patience = \"3s\"\n");
    let ran = place.run(&["config", "check"]).succeeds();
    assert_eq!(ran.line(), "bulkhead.toml is right");
    fs::remove_file(place.path("bulkhead.toml")).unwrap();
    let _ = place
        .run(&["config", "check"])
        .ends_with(2)
        .says(&["no configuration file", "--config"]);
    let _ = place.file("bulkhead.toml", "= 1");
    let _ = place.run(&["config", "check"]).ends_with(2);
}

#[test]
fn every_command_refuses_a_file_that_is_wrong_and_leaves_no_store() {
    let place = Place::new();
    let _ = place.file("bulkhead.toml", "stor = \"sqlite:x.db\"\n");
    for command in [
        &["queues"][..],
        &["run", "--burst"],
        &["submit", "add"],
        &["config", "show"],
    ] {
        let ran = place.run(command).ends_with(2);
        let _ = ran.says(&["bulkhead.toml:1: `stor` is unknown", "did you mean `store`"]);
    }
    assert!(!place.store().exists());
    for named in ["nowhere.toml", "/proc/self/mem", "/dev/zero"] {
        let ran = place.run(&["queues", "--config", named]).ends_with(2);
        let _ = ran.says(&[named]);
    }
}

#[test]
fn commands_share_the_store_of_the_file_wherever_they_are_started() {
    let place = Place::new();
    let file = place.file(
        "b.toml",
        "store = \"sqlite:shared.db\"\nnamespace = \"n\"\n",
    );
    let elsewhere = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], directory: &std::path::Path| {
        let mut command = place.command(arguments);
        command
            .env_remove("BULKHEAD_STORE")
            .env("BULKHEAD_CONFIG", &file);
        command.current_dir(directory);
        Ran::of(command).succeeds()
    };
    let uuid = run(&["submit", "add"], elsewhere.path()).line();
    assert!(place.path("shared.db").exists());
    let status = run(&["status", &uuid, "--json"], &place.path("")).json();
    assert_eq!(status["status"], "SUBMITTED");
}

#[test]
fn a_file_of_somebody_else_is_not_read_unless_it_is_named() {
    let place = Place::new();
    let file = place.file("bulkhead.toml", "namespace = \"n\"\n");
    chown(&file, Some(12345), None).unwrap();
    let ran = place.run(&["config", "show"]).ends_with(2);
    let _ = ran.says(&["belongs to user 12345", "--config"]);
    let _ = place
        .run(&["config", "show", "--config", "bulkhead.toml"])
        .succeeds();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o646)).unwrap();
    let ran = place
        .run(&["config", "show", "--config", "bulkhead.toml"])
        .ends_with(2);
    let _ = ran.says(&["everybody can write", "chmod o-w"]);
}

/// The block of the page after the mark `<!-- name -->`.
fn block(name: &str) -> String {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/docs/configuration.md"
    );
    let page = fs::read_to_string(path).unwrap();
    let (_, rest) = page
        .split_once(&format!("<!-- {name} -->\n```toml\n"))
        .unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_file_of_the_documentation_is_right() {
    let place = Place::new();
    let _ = place.file("bulkhead.toml", &block("bulkhead.toml"));
    let _ = place.run(&["config", "check"]).succeeds();
    let mut command = place.command(&["config", "show", "--json"]);
    command.env_remove("BULKHEAD_STORE");
    let ran = Ran::of(command).succeeds();
    let store = json!(["sqlite:/var/lib/bulkhead/jobs.db", "file", 1]);
    assert_eq!(shown(&ran, "store"), store);
    assert_eq!(shown(&ran, "env.HTTPS_PROXY")[0], "(copied)");
}
