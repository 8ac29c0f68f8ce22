//! Commands that are told how jobs of a command task have ended.

use bulkhead_shared::command::{CommandSpec, Form, Source, Template};
use bulkhead_shared::hook::HookKind;

use super::super::file::{FileError, Table};
use super::program_and_words;

/// The keys, each of the kind at its place in [`HookKind::ALL`].
pub(super) const KEYS: [&str; 4] = ["on-retry", "on-failure", "on-success", "on-revocation"];

/// The commands of a task's hooks.
pub(super) fn hooks(table: &Table) -> Result<Vec<(HookKind, CommandSpec)>, FileError> {
    let mut found = Vec::new();
    for kind in HookKind::ALL {
        let key = key_of(kind);
        if let Some(words) = table.texts(key)? {
            let (program, words) = program_and_words(table, key, &words)?;
            check(table, key, kind, &words)?;
            found.push((kind, command(program, words)));
        }
    }
    Ok(found)
}

/// The key that a hook stands under.
pub(super) const fn key_of(kind: HookKind) -> &'static str {
    match kind {
        HookKind::OnRetry => KEYS[0],
        HookKind::OnFailure => KEYS[1],
        HookKind::OnSuccess => KEYS[2],
        HookKind::OnRevocation => KEYS[3],
    }
}

/// All that is known of the end is on its standard input.
fn command(program: String, words: Vec<Template>) -> CommandSpec {
    CommandSpec {
        program,
        words,
        env: Vec::new(),
        stdin: Some(Source {
            form: Form::Json,
            param: None,
        }),
        files: Vec::new(),
        output: None,
        success: vec![0],
        retry: None,
        dashes: false,
        defaults: serde_json::Map::new(),
    }
}

fn check(table: &Table, key: &str, kind: HookKind, words: &[Template]) -> Result<(), FileError> {
    let known: &[&str] = match kind {
        HookKind::OnRetry | HookKind::OnFailure => &["uuid", "attempt", "cause"],
        HookKind::OnSuccess | HookKind::OnRevocation => &["uuid", "attempt"],
    };
    let mut params = words.iter().flat_map(Template::params);
    match params.find(|param| !known.contains(param)) {
        None => Ok(()),
        Some(param) => {
            let known = known.join("}`, `{");
            let reason = format!(
                "has a place for `{{{param}}}`, and here are only `{{{known}}}` (all else is in the JSON on its standard input)"
            );
            Err(table.wrong(key, reason))
        }
    }
}
