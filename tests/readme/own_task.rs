//! The crate that the README shows is the one in tests/own-task, and it works.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bulkhead_tests::cli::{Place, Ran};

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().unwrap()
}

#[test]
fn code_in_the_readme_is_code_in_the_repository() {
    let readme = crate::readme();
    for file in ["Cargo.toml", "src/main.rs", "src/greet.rs"] {
        let path = format!("tests/own-task/{file}");
        let text = fs::read_to_string(root().join(&path)).unwrap();
        assert_eq!(crate::block(&readme, &path), text, "{path}");
    }
}

/// Builds the crate as somebody elsewhere would, and returns where its programs are.
fn build(place: &Place) -> PathBuf {
    let own = root().join("tests/own-task");
    let copy = place.path("own-task");
    fs::create_dir_all(copy.join("src")).unwrap();
    for file in ["src/main.rs", "src/greet.rs"] {
        fs::copy(own.join(file), copy.join(file)).unwrap();
    }
    let manifest = fs::read_to_string(own.join("Cargo.toml")).unwrap();
    let manifest = manifest.replace("../..", root().to_str().unwrap());
    fs::write(copy.join("Cargo.toml"), manifest).unwrap();
    // The same releases of everything: nothing needs to be fetched.
    fs::copy(root().join("Cargo.lock"), copy.join("Cargo.lock")).unwrap();
    let target = root().join("target/own-task");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet", "--bins"])
        .current_dir(&copy)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env_remove("RUSTFLAGS")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("warning"), "{said}");
    target.join("debug")
}

#[test]
fn the_crate_of_the_readme_builds_and_its_tasks_run() {
    let place = Place::new();
    let programs = build(&place);
    let greeter = programs.join("greeter");
    let greeter = greeter.to_str().unwrap();
    let submit = |arguments: &[&str]| {
        let all = [&["submit", "--child", greeter], arguments].concat();
        place.run(&all).succeeds().line()
    };
    let greeted = submit(&["greet", "--args", r#"["Ada"]"#]);
    let insisted = submit(&["insist"]);
    let _ = place
        .run(&["run", "--burst", "--child", greeter])
        .succeeds();
    let result = |uuid: &str| place.run(&["result", uuid]).succeeds().line();
    assert_eq!(result(&greeted), r#""Hello, Ada! ""#);
    assert_eq!(result(&insisted), "2");

    // The producer's store is the one beside it: a supervisor of that store serves it.
    let mut supervisor = place.command(&["run", "--child", greeter]);
    supervisor.env("BULKHEAD_STORE", "sqlite:bulkhead.db");
    let mut supervisor = supervisor.stderr(Stdio::null()).spawn().unwrap();
    let mut producer = Command::new(programs.join("greet"));
    producer.current_dir(place.path(""));
    let ran = Ran::of(producer);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(supervisor.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
    let ended = supervisor.wait().unwrap();
    assert_eq!(ran.succeeds().line(), "Hello, Ada! Hello, Ada! ");
    assert!(ended.success(), "{ended}");
}
