//! What a command is given besides its words: a stream, files, secrets.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulkhead_shared::command::{CommandSpec, Form, Source};
use bulkhead_shared::frame::Failure;
use serde_json::{Map, Value};

use super::memory::{self, Heir};
use crate::call::failure;
use crate::inbox::Extras;

/// Secrets as files that only have a number: each is gone with the last process that holds it.
pub(super) struct Secrets(Vec<(String, File)>);

impl Secrets {
    /// Those that the command has places for.
    pub(super) fn open(
        spec: &CommandSpec,
        extras: &Extras,
        home: Option<&Path>,
    ) -> Result<Self, Failure> {
        let mut open = Vec::new();
        for name in spec.secrets() {
            let found = extras.secrets.iter().find(|(known, _)| *known == name);
            let Some((_, value)) = found else {
                let text = format!("secret `{name}` was not given to this task");
                return Err(failure("secret", text, true));
            };
            let file = memory::file(value, Heir::Command, home);
            let file = file.map_err(|error| no_file(&error))?;
            open.push((name, file));
        }
        Ok(Self(open))
    }

    /// Where the command reads one.
    pub(super) fn path(&self, name: &str) -> Option<String> {
        let (_, file) = self.0.iter().find(|(known, _)| known == name)?;
        Some(format!("/proc/self/fd/{}", file.as_raw_fd()))
    }
}

fn no_file(error: &io::Error) -> Failure {
    failure("command", format!("no file in memory: {error}"), false)
}

/// The argument of `source` as a stream.
pub(super) fn stream(
    source: &Source,
    arguments: &Map<String, Value>,
    home: &Path,
) -> Result<File, Failure> {
    let bytes = bytes(source, arguments)?;
    memory::file(&bytes, Heir::Nobody, Some(home)).map_err(|error| no_file(&error))
}

/// Writes the files that the command finds in its private directory.
pub(super) fn files(
    spec: &CommandSpec,
    home: &Path,
    arguments: &Map<String, Value>,
) -> Result<(), Failure> {
    for (name, source) in &spec.files {
        let bytes = bytes(source, arguments)?;
        write(&home.join(name), &bytes)
            .map_err(|error| failure("command", format!("file `{name}`: {error}"), false))?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Of another job of this process. Created afresh, it is never somebody's link.
    let _ = fs::remove_file(path);
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

fn bytes(source: &Source, arguments: &Map<String, Value>) -> Result<Vec<u8>, Failure> {
    let wrong = |text: String| failure("arguments", text, true);
    let json = |value: Result<Vec<u8>, serde_json::Error>| value.map_err(|e| wrong(e.to_string()));
    let Some(param) = &source.param else {
        return json(serde_json::to_vec(arguments));
    };
    let value = arguments.get(param);
    let value = value.ok_or_else(|| wrong(format!("parameter `{param}` is missing")))?;
    match (source.form, value) {
        (Form::Json, value) => json(serde_json::to_vec(value)),
        (Form::Text, Value::String(text)) => Ok(text.clone().into_bytes()),
        (Form::Bytes, Value::String(text)) => STANDARD
            .decode(text)
            .map_err(|error| wrong(format!("parameter `{param}` is not base64: {error}"))),
        (form, _) => Err(wrong(format!(
            "parameter `{param}` must be a string ({form})"
        ))),
    }
}
