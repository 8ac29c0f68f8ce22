use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

const FILE: &str = r#"
    [secret.key]
    file = "key.txt"
    tasks = ["pay", "refund"]
    [secret.token]
    variable = "TOKEN"
    [task.call]
    command = ["sh", "{secret.token}"]
    on-failure = ["sh", "{secret.key}"]
"#;

fn read_with(text: &str, mode: u32) -> Result<Extras, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.toml");
    fs::write(&path, text).unwrap();
    let key = dir.path().join("key.txt");
    fs::write(&key, "s3cret\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    let environment = Environment {
        variables: vec![("TOKEN".into(), "t0ken".into())],
        file: None,
    };
    read(&environment.with_file(Some(&path))?, "/usr/bin:/bin")
}

fn secrets_of(extras: &Extras, task: &str) -> Vec<(String, Vec<u8>)> {
    let task = TaskName::new(task).unwrap();
    secrets(&extras.of.get(&task).cloned().unwrap_or_default())
}

fn secrets(extra: &Extra) -> Vec<(String, Vec<u8>)> {
    extra
        .frames(7)
        .filter_map(|frame| match frame {
            ToTask::Secret {
                nonce: 7,
                name,
                value,
            } => Some((name, value.into_vec())),
            _ => None,
        })
        .collect()
}

#[test]
fn secrets_go_to_the_tasks_that_are_named_and_to_commands_with_a_place_for_them() {
    let extras = read_with(FILE, 0o600).unwrap();
    let key = || vec![("key".to_owned(), b"s3cret".to_vec())];
    assert_eq!(secrets_of(&extras, "pay"), key());
    assert_eq!(secrets_of(&extras, "refund"), key());
    assert_eq!(
        secrets_of(&extras, "call"),
        [("token".to_owned(), b"t0ken".to_vec())]
    );
    assert_eq!(secrets_of(&extras, "other"), []);
    // A hook is told those that it has places for itself, and no others.
    let of = |task: &str, kind| extras.of[&TaskName::new(task).unwrap()].of_hook(kind);
    let hook = of("call", HookKind::OnFailure).unwrap();
    assert_eq!(secrets(&hook), key());
    assert_eq!(of("call", HookKind::OnSuccess), None);
    // That of a function is the function's program.
    assert_eq!(secrets(&of("pay", HookKind::OnSuccess).unwrap()), key());
    // What is printed of a configuration is no secret.
    let printed = format!("{extras:?}");
    assert!(
        !printed.contains("s3cret") && !printed.contains("t0ken"),
        "{printed}"
    );
}

#[test]
fn a_secret_that_others_can_read_or_that_is_not_there_is_refused_and_not_told() {
    let error = read_with(FILE, 0o640).unwrap_err().to_string();
    assert!(
        error.contains("chmod 600") && error.contains(":3:"),
        "{error}"
    );
    for (from, to, word) in [
        ("\"TOKEN\"", "\"NONE\"", "`NONE` is not set"),
        ("key.txt", "nowhere.txt", "nowhere.txt"),
        ("secret.token]", "secret.tok]", "no [secret.token]"),
        ("variable = \"TOKEN\"", "", "one of them"),
        (
            "{secret.key}",
            "{secret.kee}",
            "on-failure` has a place for the secret `kee`",
        ),
        ("secret.key]", "secret.\"a b\"]", "secret's name"),
        ("tasks =", "task =", "did you mean `tasks`"),
        ("[\"pay\"", "[\"p y\"", "`p y`"),
    ] {
        let error = read_with(&FILE.replace(from, to), 0o600)
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "{word:?} in {error}");
        assert!(
            !error.contains("s3cret") && !error.contains("t0ken"),
            "{error}"
        );
    }
}
