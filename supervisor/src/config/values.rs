//! Values as they are meant: paths, lists, the environment of tasks.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{ConfigError, Environment, WITHOUT_VARIABLE};
use crate::sandbox::probe::FEATURES;

pub(super) fn existing_directory(path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.is_dir() {
        Ok(absolute(path))
    } else {
        Err(ConfigError::NoDirectory { path })
    }
}

pub(super) fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

pub(super) fn unique<T: PartialEq>(names: Vec<T>) -> Vec<T> {
    let mut seen = Vec::with_capacity(names.len());
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// PATH, LANG, LC_* and TZ of `environment`, then what `--env` says, the last word counting.
pub(super) fn task_environment(
    named: &[OsString],
    environment: &Environment,
) -> Result<Vec<(OsString, OsString)>, ConfigError> {
    let is_usual = |name: &OsStr| {
        ["PATH", "LANG", "TZ"].iter().any(|usual| name == *usual)
            || name.as_bytes().starts_with(b"LC_")
    };
    let mut env: Vec<_> = environment.variables.clone();
    env.retain(|(name, _)| is_usual(name));
    for text in named {
        let mut parts = text.as_bytes().splitn(2, |&byte| byte == b'=');
        let name = OsStr::from_bytes(parts.next().unwrap_or_default());
        if name.is_empty() {
            return Err(ConfigError::EnvName {
                text: text.to_string_lossy().into_owned(),
            });
        }
        let value = parts
            .next()
            .map(OsStr::from_bytes)
            .or_else(|| environment.find(name));
        env.retain(|(known, _)| known != name);
        // A variable that is to be copied and is not set here stays unset there.
        env.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    Ok(env)
}

pub(super) fn without(environment: &Environment) -> Result<Vec<String>, ConfigError> {
    let text = environment.text(WITHOUT_VARIABLE)?.unwrap_or_default();
    let words = text.split(',').map(str::trim).filter(|w| !w.is_empty());
    words
        .map(|word| {
            if FEATURES.contains(&word) {
                Ok(word.into())
            } else {
                Err(ConfigError::Without { word: word.into() })
            }
        })
        .collect()
}
