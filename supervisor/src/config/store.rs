//! Which store is meant, and how its URL may be given: it may hold a password.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_shared::backend::{self, Missing};

use super::file::{File, FileError};
use super::{
    ConfigError, Environment, FROM_VARIABLE, STORE_FILE_VARIABLE, STORE_VARIABLE, Source,
    TO_VARIABLE, options,
};
use crate::cli::StoreArgs;

/// Which store is meant: the argument, else the environment, else the configuration file, else the
/// default.
pub(crate) fn store_options(
    args: StoreArgs,
    environment: &Environment,
    missing: Missing,
) -> Result<backend::Options, ConfigError> {
    let (url, _) = store_url(args.store, args.store_file, environment)?;
    Ok(backend::Options {
        url,
        namespace: args.namespace.unwrap_or_default(),
        missing,
        durability: args.durability.into(),
        group_access: args.store_group,
    })
}

/// The store's URL, and where it is from.
pub(super) fn store_url(
    typed: Option<String>,
    file: Option<PathBuf>,
    environment: &Environment,
) -> Result<(String, Source), ConfigError> {
    let is_typed = typed.is_some() || file.is_some();
    if is_typed && let Some(url) = url_of(typed, file, STORE_VARIABLE, environment)? {
        return Ok((url, Source::CommandLine));
    }
    if let Some((url, variable)) = url_of_variables(environment)? {
        return Ok((url, Source::Variable(variable.into())));
    }
    let of_file = environment.file().map(url_of_file).transpose()?.flatten();
    let (url, source) = match of_file {
        Some((OfFile::Url(url), line)) => (url, Source::File(line)),
        Some((OfFile::Elsewhere(path), line)) => (url_in_file(path)?, Source::File(line)),
        None => (backend::DEFAULT_URL.into(), Source::Default),
    };
    Ok((url, source))
}

/// The URL that the environment names, and by which variable.
fn url_of_variables(
    environment: &Environment,
) -> Result<Option<(String, &'static str)>, ConfigError> {
    let file = environment.find(OsStr::new(STORE_FILE_VARIABLE));
    let file = file.filter(|path| !path.is_empty());
    Ok(match (environment.text(STORE_VARIABLE)?, file) {
        (Some(_), Some(_)) => return Err(ConfigError::TwoStores),
        (Some(url), None) => Some((url.into(), STORE_VARIABLE)),
        (None, Some(path)) => Some((url_in_file(path.into())?, STORE_FILE_VARIABLE)),
        (None, None) => None,
    })
}

/// What a configuration file says about the store.
pub(super) enum OfFile {
    Url(String),
    /// The file that has it in its first line.
    Elsewhere(PathBuf),
}

/// The store that a configuration file names, and in which line.
pub(super) fn url_of_file(file: &File) -> Result<Option<(OfFile, usize)>, FileError> {
    let [url_key, path_key] = options::STORE;
    let line = |key| file.table.get(key).map_or(0, |item| item.at.line);
    match (file.table.text(url_key)?, file.table.text(path_key)?) {
        (Some(_), Some(_)) => {
            let reason = format!("says what `{url_key}` says as well (leave one of them out)");
            Err(file.table.wrong(path_key, reason))
        }
        (Some(url), None) if has_password(url) && !file.is_private => {
            let reason = "has a password in it, and others can read this file (run `chmod 600` on it, or put the URL into a file of that mode and name that with `store-file`)";
            Err(file.table.wrong(url_key, reason))
        }
        (Some(url), None) => {
            // As everywhere in the file, a relative path begins at its directory.
            let url = match url.strip_prefix("sqlite:") {
                Some(path) if !path.starts_with("//") && path != ":memory:" => {
                    format!("sqlite:{}", file.resolve(Path::new(path)).display())
                }
                _ => url.into(),
            };
            Ok(Some((OfFile::Url(url), line(url_key))))
        }
        (None, Some(path)) => {
            let path = file.resolve(Path::new(path));
            Ok(Some((OfFile::Elsewhere(path), line(path_key))))
        }
        (None, None) => Ok(None),
    }
}

/// The URL that was typed, or that is in a file, or in the environment; in this order.
pub(crate) fn url_of(
    typed: Option<String>,
    file: Option<PathBuf>,
    variable: &'static str,
    environment: &Environment,
) -> Result<Option<String>, ConfigError> {
    Ok(match (typed, file) {
        (Some(url), _) if has_password(&url) => {
            let option = match variable {
                FROM_VARIABLE => "--from",
                TO_VARIABLE => "--to",
                _ => "--store",
            };
            return Err(ConfigError::PasswordInArgument { option, variable });
        }
        (Some(url), _) => Some(url),
        (None, Some(path)) => Some(url_in_file(path)?),
        (None, None) => environment.text(variable)?.map(Into::into),
    })
}

/// What may follow the `?` of a URL and is no secret. All else is taken for one: how a name may be
/// written (`p%61ss`) is the library's to know, and a mistyped one is followed by a password too.
const HARMLESS: [&str; 3] = ["db", "user", "protocol"];

/// Whether a password is written out: `scheme://user:password@...`, `...?pass=password` and the like.
fn has_password(url: &str) -> bool {
    // Whoever parses a URL leaves these out wherever they are.
    let url = url.replace(['\t', '\r', '\n'], "");
    let Some((scheme, rest)) = url.split_once(':') else {
        return false;
    };
    // A path may have any name.
    scheme != "sqlite" && (has_user_with_password(rest) || has_secret_parameter(rest))
}

fn has_user_with_password(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix("//") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    // A password may hold any of the characters that end an authority, if carelessly written.
    let user = [authority, rest]
        .iter()
        .find_map(|part| part.rsplit_once('@'));
    user.is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, pw)| !pw.is_empty()))
}

fn has_secret_parameter(rest: &str) -> bool {
    let (_, query) = rest.split_once('?').unwrap_or_default();
    let mut names = query.split('&').map(|one| one.split('=').next());
    names.any(|name| name.is_some_and(|name| !name.is_empty() && !HARMLESS.contains(&name)))
}

fn url_in_file(path: PathBuf) -> Result<String, ConfigError> {
    match fs::read_to_string(&path) {
        Ok(text) => match text.lines().next().map(str::trim) {
            Some(url) if !url.is_empty() => Ok(url.into()),
            _ => Err(ConfigError::StoreFileEmpty { path }),
        },
        Err(source) => Err(ConfigError::StoreFile { path, source }),
    }
}

/// A URL without its password.
pub(super) fn without_password(url: &str) -> String {
    if !has_password(url) {
        return url.into();
    }
    let (scheme, rest) = url.split_once(':').unwrap_or_default();
    let (slashes, rest) = match rest.strip_prefix("//") {
        Some(rest) => ("//", rest),
        None => ("", rest),
    };
    let (user, place, query) = match (rest.rfind('@'), rest.find('?')) {
        // Which of them is part of the password nobody can tell.
        (Some(at), Some(query)) if query < at => ("...@", "", ""),
        (at, query) => {
            let place = &rest[at.map_or(0, |at| at + 1)..query.unwrap_or(rest.len())];
            (
                at.map_or("", |_| "...@"),
                place,
                query.map_or("", |_| "?..."),
            )
        }
    };
    format!("{scheme}:{slashes}{user}{place}{query}")
}
