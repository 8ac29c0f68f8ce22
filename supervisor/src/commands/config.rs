//! `supervisor config`: what is configured, from where, and what is wrong with it.

use std::path::Path;

use clap::{ArgMatches, Args, Subcommand};
use serde_json::{Value, json};

use super::{CommandError, output};
use crate::config::file::{FileError, ReadError};
use crate::config::{Environment, Setting, Source, problems, settings};
use crate::exit::Exit;

/// Look at the configuration: a file of options, the environment, the command line.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    #[command(after_help = crate::exit::HELP)]
    Check(CheckArgs),
    #[command(after_help = crate::exit::HELP)]
    Show(ShowArgs),
}

/// Examine the configuration file and tell all that is wrong with it, each with its line.
///
/// The exit code is 2 if anything is. Nothing is started, and no store is touched.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Print one JSON object: `file`, `is_right` and `problems`, each with `line column key reason`.
    #[arg(long)]
    json: bool,
}

/// Show every option with its value and where it is from.
///
/// Passwords are left out.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Print a JSON array of objects: `name value source` (`command line`, `environment`, `file` or
    /// `default`), `variable` and `line` where they apply.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    command: &ConfigCommand,
    matches: &ArgMatches,
    environment: Environment,
    named: Option<&Path>,
) -> Result<Exit, CommandError> {
    match command {
        ConfigCommand::Check(args) => check(args, &environment, named),
        ConfigCommand::Show(args) => {
            let environment = environment.with_file(named)?;
            show(args, &settings(matches, &environment)?, &environment)
        }
    }
}

fn check(
    args: &CheckArgs,
    environment: &Environment,
    named: Option<&Path>,
) -> Result<Exit, CommandError> {
    let (file, problems) = match environment.find_file(named) {
        Ok(None) => {
            return Err(CommandError::Input(
                "there is no configuration file (name it with --config, or write `bulkhead.toml`)"
                    .into(),
            ));
        }
        Ok(Some(file)) => (file.path().to_owned(), problems(&file)),
        Err(ReadError::Wrong(error)) => (error.file.to_path_buf(), vec![error]),
        Err(error) => return Err(crate::config::ConfigError::from(error).into()),
    };
    if args.json {
        let objects: Vec<_> = problems.iter().map(object).collect();
        let shown = file.to_string_lossy();
        output::json(&json!({
            "file": shown, "is_right": problems.is_empty(), "problems": objects
        }))?;
    } else if problems.is_empty() {
        output::line(&format!("{} is right", file.display()))?;
    } else {
        for problem in &problems {
            output::line(&super::show::safe(&problem.to_string()))?;
        }
    }
    Ok(match problems.is_empty() {
        true => Exit::Done,
        false => Exit::Usage,
    })
}

fn object(error: &FileError) -> Value {
    let key = (!error.key.is_empty()).then_some(&error.key);
    json!({"line": error.line, "column": error.column, "key": key, "reason": error.reason})
}

fn show(
    args: &ShowArgs,
    settings: &[Setting],
    environment: &Environment,
) -> Result<Exit, CommandError> {
    let file = environment
        .file()
        .map(|file| file.path().display().to_string());
    if args.json {
        output::json(&settings.iter().map(of_setting).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let row = |setting: &Setting| {
        let source = match &setting.source {
            Source::CommandLine => "command line".into(),
            Source::Variable(variable) => format!("environment: {variable}"),
            Source::File(line) => format!("{}:{line}", file.as_deref().unwrap_or_default()),
            Source::Default => "default".into(),
        };
        let value = setting.value.clone().unwrap_or_else(|| "-".into());
        [setting.name.clone(), super::show::safe(&value), source]
    };
    let rows: Vec<_> = settings.iter().map(row).collect();
    output::table("options", ["NAME", "VALUE", "FROM"], &rows)?;
    Ok(Exit::Done)
}

fn of_setting(setting: &Setting) -> Value {
    let (source, variable, line) = match &setting.source {
        Source::CommandLine => ("command line", None, None),
        Source::Variable(variable) => ("environment", Some(variable), None),
        Source::File(line) => ("file", None, Some(line)),
        Source::Default => ("default", None, None),
    };
    json!({
        "name": setting.name, "value": setting.value,
        "source": source, "variable": variable, "line": line,
    })
}
