//! A task that is a command: its arguments become words, streams and files; how it ends becomes a
//! result, a failure, or the very same signal.
//!
//! The command runs below this process, in a group of its own. Whatever it leaves behind is found
//! and killed as with every task.
#![forbid(unsafe_code)]

mod give;
mod memory;
mod wait;

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use bulkhead_shared::command::{CommandSpec, Form, Output};
use bulkhead_shared::frame::{Failure, Run};
use bulkhead_shared::message::Header;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::answer::{Reply, within_limit};
use crate::arguments::Payload;
use crate::call::failure;
use crate::inbox::Extras;
use crate::process;
use give::Secrets;

/// Runs the command that came with this job.
pub(crate) fn call(run: &Run, extras: &Extras) -> Reply {
    let spec = extras.command.as_deref().unwrap_or_default();
    let spec: CommandSpec = serde_json::from_slice(spec)
        .map_err(|error| failure("command", format!("its declaration: {error}"), true))?;
    let header: Header = serde_json::from_slice(&run.header)
        .map_err(|error| failure("header", format!("message header: {error}"), true))?;
    let (payload, _) = header.split(&run.payload);
    let payload = header.encoding.unwrap_or_default().to_json(payload);
    let payload = payload.map_err(|error| failure("arguments", error.to_string(), true))?;
    let arguments = match header.hook {
        None => bind(&spec, &payload)?,
        // What it is told of the end, by name.
        Some(kind) => serde_json::from_slice(&payload)
            .map_err(|error| failure("hook", format!("what `{kind}` is told: {error}"), true))?,
    };
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let secrets = Secrets::open(&spec, extras, home.as_deref())?;
    let words = spec.fill(&arguments, |name| secrets.path(name));
    let words = words.map_err(|error| failure("arguments", error.to_string(), true))?;
    let needs_home = !spec.files.is_empty() || out_file(&spec).is_some();
    if needs_home && home.is_none() {
        let text = "a command with files needs a private directory (any profile but `none`)";
        return Err(failure("sandbox", text.into(), true));
    }
    let home = home.unwrap_or_else(|| ".".into());
    give::files(&spec, &home, &arguments)?;
    if let Some(file) = out_file(&spec) {
        // What another job of this process left is no result of this one.
        let _ = fs::remove_file(home.join(file));
    }
    let mut command = Command::new(&spec.program);
    command.args(&words).current_dir(&home).process_group(0);
    for (name, template) in &spec.env {
        let filled = template.fill(&arguments, |name| secrets.path(name));
        let filled = filled.map_err(|error| failure("arguments", error.to_string(), true))?;
        command.env(name, filled.text);
    }
    command.stdin(match &spec.stdin {
        None => Stdio::null(),
        Some(source) => give::stream(source, &arguments, &home)?.into(),
    });
    let pipes = spec.output.as_ref().filter(|output| output.file.is_none());
    if pipes.is_some() {
        command.stdout(Stdio::piped());
    }
    let child = command
        .spawn()
        .map_err(|error| not_started(&spec, &error))?;
    let limit = pipes.map(|output| output.limit);
    let (status, written) = wait::wait(child, limit).map_err(|error| waited(&error))?;
    drop(secrets);
    judge(&spec, status)?;
    match &spec.output {
        None => Ok(b"null".to_vec()),
        Some(output) => match &output.file {
            None => result(output, written, "standard output"),
            Some(file) => {
                let bytes = read_file(&home.join(file), output.limit);
                let bytes = bytes.map_err(|error| unreadable(file, &error))?;
                result(output, bytes, &format!("`{file}`"))
            }
        },
    }
}

fn out_file(spec: &CommandSpec) -> Option<&str> {
    spec.output.as_ref()?.file.as_deref()
}

/// The arguments by name, with the defaults of those that are absent.
fn bind(spec: &CommandSpec, payload: &[u8]) -> Result<Map<String, Value>, Failure> {
    let wrong = |text: String| failure("arguments", text, true);
    let Payload { args, kwargs } = Payload::read(payload)?;
    let read = |name: &str, raw: &RawValue| {
        let value: Result<Value, _> = serde_json::from_str(raw.get());
        value.map_err(|error| wrong(format!("parameter `{name}`: {error}")))
    };
    let args = args.into_iter().enumerate();
    let args = args.map(|(at, raw)| read(&format!("number {}", at + 1), raw));
    let kwargs = kwargs.into_iter().map(|(name, raw)| {
        let value = read(&name, raw)?;
        Ok((name, value))
    });
    let kwargs = kwargs.collect::<Result<Vec<_>, Failure>>()?;
    let bound = spec.bind(args.collect::<Result<_, _>>()?, kwargs);
    bound.map_err(|error| wrong(error.to_string()))
}

fn not_started(spec: &CommandSpec, error: &io::Error) -> Failure {
    let (code, program) = (error.raw_os_error(), &spec.program);
    // Neither goes away by itself.
    let is_final = [libc::ENOENT, libc::EACCES, libc::ENOEXEC, libc::E2BIG];
    let is_final = code.is_some_and(|code| is_final.contains(&code));
    let way_out = match code {
        Some(libc::E2BIG) => " (give long arguments on standard input or in a file)",
        _ => "",
    };
    let text = format!("`{program}` cannot be started: {error}{way_out}");
    failure("command", text, is_final)
}

fn waited(error: &wait::WaitError) -> Failure {
    match error {
        wait::WaitError::TooLong { limit } => {
            let text = format!(
                "the command wrote more than {limit} bytes to standard output, and was killed (raise `output-limit`, or have it write elsewhere)"
            );
            failure("output-too-large", text, true)
        }
        wait::WaitError::System(error) => failure(
            "command",
            format!("it cannot be waited for: {error}"),
            false,
        ),
    }
}

/// Nothing, if the command succeeded. Does not return if a signal ended it: this process ends the
/// same way, so that the verdict is that of any task.
fn judge(spec: &CommandSpec, status: ExitStatus) -> Result<(), Failure> {
    if let Some(signal) = status.signal() {
        process::flush_output();
        process::die_of(signal);
    }
    let code = u8::try_from(status.code().unwrap_or(255)).unwrap_or(255);
    if spec.success.contains(&code) {
        return Ok(());
    }
    let may_retry = spec
        .retry
        .as_ref()
        .is_none_or(|codes| codes.contains(&code));
    let text = format!("`{}` ended with exit code {code}", spec.program);
    Err(failure("exit", text, !may_retry))
}

fn read_file(path: &std::path::Path, limit: u64) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    // Neither through a link to somewhere else, nor waiting for the writer of a pipe.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = options.read(true).custom_flags(flags).open(path)?;
    let data = file.metadata()?;
    if !data.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(file: &str, error: &io::Error) -> Failure {
    let text = format!("the command left no result in `{file}`: {error}");
    failure("output", text, false)
}

fn result(output: &Output, bytes: Vec<u8>, place: &str) -> Reply {
    let strange = |what: String| failure("output", format!("{place} is not {what}"), false);
    if bytes.len() as u64 > output.limit {
        let limit = output.limit;
        let text = format!("{place} has more than {limit} bytes (raise `output-limit`)");
        return Err(failure("output-too-large", text, true));
    }
    match output.form {
        Form::Bytes => within_limit(bytes),
        Form::Text => {
            let text = String::from_utf8(bytes).map_err(|error| strange(format!("UTF-8: {error}")));
            let json = serde_json::to_vec(&text?);
            within_limit(json.map_err(|error| strange(error.to_string()))?)
        }
        Form::Json => {
            let value: &RawValue = serde_json::from_slice(&bytes)
                .map_err(|error| strange(format!("one JSON value: {error}")))?;
            within_limit(value.get().as_bytes().to_vec())
        }
    }
}
