//! What a child binary does with its arguments. People seldom start one; supervisors do.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::registry::{Registry, Task};
use crate::runtime::Origin;
use crate::{runtime, zygote};

/// The exit code for wrong usage and a wrong list of tasks.
const EXIT_USAGE: u8 = 2;

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Describe,
    Help,
    /// Of this program, or of another that speaks for itself.
    Zygote {
        program: Option<PathBuf>,
    },
    Task {
        jobs: u32,
    },
    Unknown,
}

impl Command {
    fn parse(arguments: &[OsString]) -> Self {
        let words: Vec<_> = arguments
            .iter()
            .map(|word| word.to_str().unwrap_or(""))
            .collect();
        match words.as_slice() {
            ["--describe"] => Self::Describe,
            ["--help" | "-h"] => Self::Help,
            ["__zygote"] => Self::Zygote { program: None },
            ["__zygote", _] => Self::Zygote {
                program: arguments.get(1).map(PathBuf::from),
            },
            ["__task", jobs] => jobs
                .parse()
                .map_or(Self::Unknown, |jobs| Self::Task { jobs }),
            _ => Self::Unknown,
        }
    }
}

/// Serves `tasks`: call it first thing in `main`, and return what it returns.
///
/// A supervisor starts the binary with arguments of its own. For people there are `--help` and
/// `--describe`, which prints the tasks and their defaults as JSON.
///
/// ```no_run
/// use bulkhead_child::{task, tasks};
///
/// #[task]
/// fn greet(name: String) -> String {
///     format!("hello {name}")
/// }
///
/// fn main() -> std::process::ExitCode {
///     bulkhead_child::run(tasks![greet])
/// }
/// ```
///
/// The exit code is 2 for wrong usage, for an empty list and for a name that is used twice.
#[must_use = "the exit code belongs to `main`"]
pub fn run(tasks: Vec<Task>) -> ExitCode {
    match Registry::new(tasks) {
        Ok(registry) => serve(&registry),
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Serves no tasks but those that a configuration file declares as commands. As [`run`].
#[must_use = "the exit code belongs to `main`"]
pub fn launch() -> ExitCode {
    serve(&Registry::without_tasks())
}

fn serve(registry: &Registry) -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match Command::parse(&arguments) {
        Command::Describe => printed(describe(registry)),
        Command::Help => printed(help(registry, &mut io::stdout().lock())),
        Command::Zygote { program } => zygote::main(registry, program.as_deref()),
        Command::Task { jobs } => {
            runtime::prepare();
            let code = runtime::serve(registry, jobs, Origin::Executed);
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
        Command::Unknown => {
            let _ = help(registry, &mut io::stderr().lock());
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn printed(result: io::Result<()>) -> ExitCode {
    if result.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn describe(registry: &Registry) -> io::Result<()> {
    let specs: Vec<_> = registry.specs().collect();
    let json = serde_json::to_string(&specs)?;
    writeln!(io::stdout().lock(), "{json}")
}

fn help(registry: &Registry, out: &mut impl Write) -> io::Result<()> {
    let program = std::env::current_exe().unwrap_or_else(|_| "PATH".into());
    let program = program.display();
    writeln!(
        out,
        "This is a Bulkhead child: it holds tasks that a supervisor runs. Start one:\n\n    \
         supervisor --child {program}\n\n\
         Options:\n    --describe  Print the tasks and their defaults as JSON\n    \
         --help      Print this text\n\nTasks:"
    )?;
    for spec in registry.specs() {
        writeln!(out, "    {}({})", spec.name, spec.params.join(", "))?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Command {
        Command::parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn only_exact_words_start_anything() {
        assert_eq!(parse(&["__task", "3"]), Command::Task { jobs: 3 });
        assert_eq!(parse(&["--describe"]), Command::Describe);
        for words in [&[][..], &["__task"], &["__task", "-1"], &["add", "1"]] {
            assert_eq!(parse(words), Command::Unknown, "{words:?}");
        }
    }
}
