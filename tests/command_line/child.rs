//! `supervisor child check`, with programs that keep to the protocol and programs that do not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bulkhead_tests::cli::{Place, program};
use serde_json::Value;

fn python() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../child/examples/python/tasks.py");
    fs::read_to_string(path).unwrap()
}

fn script(place: &Place, text: &str) -> PathBuf {
    let path = place.file("tasks", text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The checks that fail, with what was found.
fn failures(place: &Place, program: &Path) -> Vec<(String, String)> {
    let ran = place.run(&["child", "check", "--json", program.to_str().unwrap()]);
    let object = ran.json();
    let is_wrong = |finding: &&Value| finding["severity"] == "error";
    let findings = object["findings"].as_array().unwrap().iter();
    let failed: Vec<_> = findings
        .filter(is_wrong)
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap().to_owned();
            assert!(!text("why").is_empty() && !text("way_out").is_empty());
            (text("check"), text("found"))
        })
        .collect();
    assert_eq!(object["is_right"], failed.is_empty());
    assert_eq!(ran.code, if failed.is_empty() { 0 } else { 9 });
    failed
}

#[test]
fn children_in_rust_and_python_keep_to_the_protocol() {
    let place = Place::new();
    for name in ["child", "launcher", "chaos-child"] {
        assert_eq!(failures(&place, &program(name)), [], "{name}");
    }
    let python = script(&place, &python());
    assert_eq!(failures(&place, &python), []);
    let page = place
        .run(&["child", "check", python.to_str().unwrap()])
        .succeeds()
        .stdout;
    assert!(page.lines().all(|line| line.starts_with("ok ")), "{page}");
}

/// The child in Python with a mistake in it fails this check for this reason.
fn mistake(from: &str, to: &str, check: &str, reason: &str) {
    let text = python();
    assert!(text.contains(from), "{from}");
    let place = Place::new();
    let program = script(&place, &text.replacen(from, to, 1));
    let failed = failures(&place, &program);
    let found = failed.iter().find(|(name, _)| name == check);
    let (_, found) = found.unwrap_or_else(|| panic!("{check} in {failed:?}"));
    assert!(found.contains(reason), "{reason:?} in {found:?}");
}

macro_rules! mistakes {
    ($($name:ident: $from:literal => $to:literal, $check:literal, $reason:literal;)*) => {
        $(#[test] fn $name() { mistake($from, $to, $check, $reason); })*
    };
}

mistakes! {
    a_wrong_hello_is_found: "b\"BLKH\"" => "b\"HTTP\"", "ready", "did not say hello";
    another_version_is_found: "\"<HH\", 1, 5" => "\"<HH\", 9, 5", "ready", "protocol version 9";
    a_missing_ready_is_found: "    send(number(READY))\n" => "    send(number(PROGRESS) + number(1) + blob(b\"1\"))\n", "ready", "Progress came first";
    noise_before_the_hello_is_found: "    os.write(RESULTS, HELLO)\n" => "    os.write(RESULTS, b\"hello\\n\" + HELLO)\n", "ready", "did not say hello";
    a_list_that_is_no_json_is_found: "print(json.dumps(specs))" => "print(specs)", "describe", "no list of tasks";
    another_calls_answer_is_found: "number(DONE) + number(nonce)" => "number(DONE) + number(nonce + 1)", "unknown", "and was asked call 300";
    a_failure_that_is_tried_again_for_ever_is_found: "+ bytes([is_final])" => "+ b\"\\x00\"", "unknown", "not final";
    another_name_for_an_unknown_task_is_found: "Refused(\"unknown-task\"" => "Refused(\"nope\"", "unknown", "`nope`";
    an_answer_for_nonsense_is_found: "    except (ValueError, AttributeError, TypeError) as error:\n" => "    except ValueError:\n        return b\"1\"\n    except (AttributeError, TypeError) as error:\n", "arguments", "returned something";
    a_cut_frame_is_found: "while len(data) < count:" => "while not data:", "large", "";
    a_child_that_answers_everything_is_found: "        elif kind == RUN:" => "        else:", "strangers", "";
    a_child_that_has_more_than_it_may_is_found: "            lower(*limit)" => "            pass", "limits", "60";
    a_child_that_never_ends_is_found: "while jobs == 0 or served < jobs:" => "while True:", "jobs", "had not ended";
    a_child_that_outlives_its_pipe_is_found: "        if prefix is None:\n            return 0" => "        if prefix is None:\n            time.sleep(60)", "end", "had not ended";
    a_child_that_ignores_sigterm_is_found: "signal.signal(signal.SIGTERM, stop)" => "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "term", "had not ended";
    a_child_that_bears_nonsense_is_found: "            return 65\n        data = read_exactly(length)" => "            return 0\n        data = read_exactly(length)", "nonsense", "code 0";
}

#[test]
fn a_program_that_is_no_child_at_all_is_told_so() {
    let place = Place::new();
    let failed = failures(&place, Path::new("/bin/true"));
    let checks: Vec<_> = failed.iter().map(|(check, _)| check.as_str()).collect();
    assert_eq!(checks, ["describe", "ready"]);
    let failed = failures(&place, &place.path("nowhere"));
    assert_eq!(failed.len(), 2, "{failed:?}");
}
