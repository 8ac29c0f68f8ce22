//! What surrounds a command: variables, and the configuration file that they or it name.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{File, ReadError};
use super::{ConfigError, problems};

/// The file that is read if none is named.
const USUAL_FILE: &str = "bulkhead.toml";

/// The variable that names the configuration file.
const CONFIG_VARIABLE: &str = "BULKHEAD_CONFIG";

/// What is given to a command from outside its arguments, read once: the environment and the
/// configuration file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    pub(super) variables: Vec<(OsString, OsString)>,
    /// The file, once it has been asked for.
    pub(super) file: Option<Arc<File>>,
}

impl Environment {
    /// That of this process, without a file.
    pub(crate) fn read() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            file: None,
        }
    }

    /// The same with the configuration file: the one that is named, or the usual one if there is
    /// one.
    pub(crate) fn with_file(self, named: Option<&Path>) -> Result<Self, ConfigError> {
        let file = self.find_file(named)?.map(Arc::new);
        if let Some(file) = &file {
            let mut wrong = problems(file).into_iter();
            if let Some(first) = wrong.next() {
                let more = wrong.count();
                return Err(ConfigError::File { first, more });
            }
        }
        Ok(Self { file, ..self })
    }

    /// Reads the configuration file, and does not look at what it says.
    pub(crate) fn find_file(&self, named: Option<&Path>) -> Result<Option<File>, ReadError> {
        let of_variable = self.find(OsStr::new(CONFIG_VARIABLE)).map(Path::new);
        let of_variable = of_variable.filter(|path| !path.as_os_str().is_empty());
        match named.or(of_variable) {
            Some(path) => File::read(path, true).map(Some),
            None if Path::new(USUAL_FILE).exists() => {
                File::read(Path::new(USUAL_FILE), false).map(Some)
            }
            None => Ok(None),
        }
    }

    /// The configuration file, if there is one.
    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_deref()
    }

    pub(super) fn find(&self, name: &OsStr) -> Option<&OsStr> {
        let found = self.variables.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_os_str())
    }

    /// The fault to inject, for tests.
    pub(crate) fn fault(&self) -> Result<Option<&str>, ConfigError> {
        self.text(bulkhead_shared::fault::VARIABLE)
    }

    /// The file that turns the clock, for tests.
    pub(crate) fn test_clock(&self) -> Option<PathBuf> {
        let file = self.find(OsStr::new(bulkhead_shared::turned::VARIABLE))?;
        (!file.is_empty()).then(|| file.into())
    }

    /// A variable's value as text; an empty one counts as not set.
    pub(super) fn text(&self, variable: &'static str) -> Result<Option<&str>, ConfigError> {
        let value = self.find(OsStr::new(variable)).filter(|v| !v.is_empty());
        let text = value.map(|v| v.to_str().ok_or(ConfigError::NotText { variable }));
        text.transpose()
    }
}
