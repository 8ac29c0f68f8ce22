//! Which part may know which.

use crate::sources::{Source, rust};

/// Modules of the shared crate that only a store's users see.
const STORE: [&str; 14] = [
    "backend",
    "broker",
    "catalog",
    "checkpoint",
    "client",
    "fault",
    "finding",
    "fleet",
    "redis",
    "sqlite",
    "schedule",
    "status",
    "transit",
    "turned",
];

fn manifest(crate_name: &str) -> Source {
    let path = format!("{crate_name}/Cargo.toml");
    let text = std::fs::read_to_string(crate::sources::root().join(&path)).unwrap();
    Source { path, text }
}

/// The crates of this workspace that a manifest depends on, with what it says about each.
fn dependencies(manifest: &Source) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut in_dependencies = false;
    for line in manifest.text.lines() {
        if line.starts_with('[') {
            in_dependencies = line == "[dependencies]";
        } else if in_dependencies && line.starts_with("bulkhead-") {
            let (name, rest) = line.split_once(['.', ' ']).unwrap();
            found.push((name.to_owned(), rest.to_owned()));
        }
    }
    found
}

fn wrong_dependencies(manifest: &Source, allowed: &[&str]) -> Vec<String> {
    let found = dependencies(manifest);
    let wrong = |(name, said): &&(String, String)| {
        !allowed.contains(&name.as_str())
            || (manifest.path.starts_with("child") && said.contains("feature"))
    };
    let wrong = found.iter().filter(wrong);
    wrong
        .map(|(name, said)| format!("{} depends on {name} {said}", manifest.path))
        .collect()
}

#[test]
fn crates_depend_on_the_shared_one_and_not_on_each_other() {
    let text = "[dependencies]\nbulkhead-supervisor.workspace = true\n";
    let bad = Source::made_up("child/Cargo.toml", text);
    assert_eq!(wrong_dependencies(&bad, &["bulkhead-shared"]).len(), 1);
    let text = "[dependencies]\nbulkhead-shared = { workspace = true, features = [\"sqlite\"] }\n";
    let bad = Source::made_up("child/Cargo.toml", text);
    assert_eq!(wrong_dependencies(&bad, &["bulkhead-shared"]).len(), 1);

    let allowed = ["bulkhead-shared", "bulkhead-child-macros"];
    let mut offences = wrong_dependencies(&manifest("child"), &allowed);
    offences.extend(wrong_dependencies(&manifest("child/macros"), &[]));
    offences.extend(wrong_dependencies(&manifest("shared"), &[]));
    offences.extend(wrong_dependencies(
        &manifest("supervisor"),
        &["bulkhead-shared"],
    ));
    assert_eq!(offences, [""; 0]);
    // Without features unless a crate asks for them: the child does not.
    let workspace = std::fs::read_to_string(crate::sources::root().join("Cargo.toml")).unwrap();
    assert!(
        workspace.contains("bulkhead-shared = { path = \"shared\", default-features = false }")
    );
}

fn wrong_uses(files: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for file in files {
        if file.is_in(&["child/src", "child/macros/src"]) {
            let stores = STORE.map(|module| format!("bulkhead_shared::{module}"));
            offences.extend(file.naming(&stores.each_ref().map(String::as_str)));
            offences.extend(file.naming(&["bulkhead_supervisor"]));
        } else if file.is_in(&["supervisor/src"]) {
            offences.extend(file.naming(&["use bulkhead_child"]));
        } else if file.is_in(&["shared/src"]) {
            offences.extend(file.naming(&["use bulkhead_child", "bulkhead_supervisor"]));
        }
    }
    offences
}

#[test]
fn sources_name_only_the_layer_below() {
    for (path, text) in [
        ("child/src/a.rs", "use bulkhead_shared::client::Client;"),
        ("supervisor/src/a.rs", "use bulkhead_child::Task;"),
        ("shared/src/a.rs", "use bulkhead_child::run;"),
    ] {
        assert_eq!(wrong_uses(&[Source::made_up(path, text)]).len(), 1);
    }
    assert_eq!(wrong_uses(&rust()), [""; 0]);
}

/// What stores say in scripts: each keeps to the keys of one queue, and says what it takes.
fn loose_scripts(files: &[Source]) -> Vec<String> {
    let scripts = files.iter().filter(|file| file.path.ends_with(".lua"));
    let mut offences = Vec::new();
    for file in scripts {
        let text = file.text.as_str();
        let is_part = text.contains("What every script begins with") || text.contains("Used by");
        for word in ["-- KEYS", "-- ARGV", "-- RETURNS"] {
            if !is_part && !text.contains(word) {
                offences.push(format!("{} does not say its {word}", file.path));
            }
        }
        // Every key begins with the tag of the queue.
        for (index, line) in text.lines().enumerate() {
            let mut calls = line.split("call('").skip(1);
            let is_bare = |call: &str| {
                let arguments = call.split_once('\'').map(|(_, arguments)| arguments);
                arguments.is_some_and(|arguments| arguments.starts_with(", '"))
            };
            if calls.any(is_bare) {
                offences.push(format!("{}:{} names a bare key", file.path, index + 1));
            }
        }
    }
    offences
}

#[test]
fn scripts_keep_to_one_queue_and_say_what_they_take() {
    let bad = "-- KEYS\n-- ARGV\n-- RETURNS\ncall('GET', 'x')\n";
    let bad = Source::made_up("shared/src/redis/scripts/a.lua", bad);
    assert_eq!(loose_scripts(&[bad]).len(), 1);
    let bad = Source::made_up("shared/src/redis/scripts/a.lua", "return 1\n");
    assert_eq!(loose_scripts(&[bad]).len(), 3);
    assert_eq!(loose_scripts(&crate::sources::all()), [""; 0]);
}

/// What a pure module has no business with.
const WORLD: [&str; 11] = [
    "Instant::now",
    "SystemTime",
    "std::fs",
    "std::io",
    "std::thread",
    "std::env",
    "std::process",
    "libc",
    "nix::",
    "tracing",
    "bulkhead_shared",
];

fn impurities(files: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for file in files {
        let tests = [
            "supervisor/src/pool/tests",
            "supervisor/src/pool/simulation",
        ];
        if !file.is_in(&["supervisor/src/pool/"]) || file.is_in(&tests) {
            continue;
        }
        offences.extend(file.naming(&WORLD));
        for (line, code) in file.code() {
            if code.replace("crate::pool", "").contains("crate::") {
                offences.push(format!("{}:{line} looks out of the pool", file.path));
            }
        }
    }
    offences
}

#[test]
fn the_pool_reads_no_clock_and_does_no_io() {
    for text in ["let now = Instant::now();", "use crate::job::Job;"] {
        let bad = Source::made_up("supervisor/src/pool/slot.rs", text);
        assert_eq!(impurities(&[bad]).len(), 1);
    }
    assert_eq!(impurities(&rust()), [""; 0]);
}

/// Where unsafe code may be.
const UNSAFE: &[&str] = &[
    "child/src/allocation.rs",
    "child/src/bin/child/sys.rs",
    "child/src/process.rs",
    "child/src/sys/",
    "child/src/zygote/",
    "shared/src/pidfd.rs",
    "supervisor/src/process/",
    "supervisor/src/sandbox/probe.rs",
    // It measures bare forks.
    "tests/bench/",
    // They make namespaces, and attack.
    "tests/harness/namespace.rs",
    "tests/hostile/sys.rs",
    // They look for the word.
    "child/macros/src/signature.rs",
    "tests/guards/",
];

fn stray_unsafe(files: &[Source]) -> Vec<String> {
    let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
    let others = files.iter().filter(|file| !file.is_in(UNSAFE));
    others.flat_map(|file| file.naming(&words)).collect()
}

#[test]
fn unsafe_code_stays_in_its_files() {
    let bad = Source::made_up("supervisor/src/pool/slot.rs", "unsafe { libc::fork() }");
    assert_eq!(stray_unsafe(&[bad]).len(), 1);
    assert_eq!(stray_unsafe(&rust()), [""; 0]);
}

fn wire_formats(files: &[Source]) -> Vec<String> {
    let others = files
        .iter()
        .filter(|file| !file.is_in(&["shared/src/codec.rs", "tests/guards/"]));
    others.flat_map(|file| file.naming(&["bincode"])).collect()
}

#[test]
fn only_the_codec_knows_the_wire_format() {
    let bad = Source::made_up("child/src/outbox.rs", "use bincode::config;");
    assert_eq!(wire_formats(&[bad]).len(), 1);
    assert_eq!(wire_formats(&rust()), [""; 0]);
}
