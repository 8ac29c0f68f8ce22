//! Tasks that are commands: what an operator declares, and how arguments become words of a command
//! line. Pure data; nothing here runs anything.

mod template;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::message::PAYLOAD_LIMIT;
pub use template::{FillError, Filled, Piece, Template, TemplateError};

/// What a stream or a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A JSON value.
    Json,
    /// Text in UTF-8; a JSON string in messages and results.
    Text,
    /// Any bytes; in messages and results a JSON string of base64.
    Bytes,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Json, Self::Text, Self::Bytes];

    /// The name it is typed under.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Bytes => "bytes",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a command is given to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// How the argument is written out.
    pub form: Form,
    /// The parameter; `None` for all arguments, as one JSON object.
    pub param: Option<String>,
}

/// Where a command leaves its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// How it is read.
    pub form: Form,
    /// The file in its private directory; `None` for standard output.
    pub file: Option<String>,
    /// Longer ones are a failure, in bytes.
    pub limit: u64,
}

/// A task that is a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSpec {
    /// The program; absolute.
    pub program: String,
    /// The words after it.
    pub words: Vec<Template>,
    /// Variables beside those of all tasks.
    pub env: Vec<(String, Template)>,
    /// What is on its standard input; `None` for nothing.
    pub stdin: Option<Source>,
    /// Files that lie in its private directory when it starts.
    pub files: Vec<(String, Source)>,
    /// `None`: what it prints is kept with the job like any task's, and its result is `null`.
    pub output: Option<Output>,
    /// Exit codes of success.
    pub success: Vec<u8>,
    /// Exit codes after which another attempt makes sense; `None` for all but success.
    pub retry: Option<Vec<u8>>,
    /// Whether an argument may begin a word with a dash.
    pub dashes: bool,
    /// Values of parameters that a message may leave out.
    pub defaults: Map<String, Value>,
}

/// Longest output a command may have: it must fit into a result.
pub const OUTPUT_LIMIT: u64 = PAYLOAD_LIMIT as u64;

/// Why a command cannot be declared so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// A default for nothing.
    #[error("the default of `{param}` is for no placeholder (known: {known})")]
    Default {
        /// Its name.
        param: String,
        /// All parameters.
        known: String,
    },
    /// A list for a place where it can be no words.
    #[error(
        "the default of `{param}` is a list, and `{template}` is more than that placeholder (a list takes a word of its own)"
    )]
    List {
        /// Its name.
        param: String,
        /// The first such place.
        template: String,
    },
    /// A file that lies elsewhere.
    #[error("`{name}` is no name of a file in the private directory (leave out `/`, `.` and `..`)")]
    File {
        /// What was written.
        name: String,
    },
}

/// Why arguments do not fit a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// More by position than there are parameters.
    #[error(
        "{given} arguments are given by position, the command takes {takes} (known: `{known}`)"
    )]
    TooMany {
        /// How many are given.
        given: usize,
        /// How many there can be.
        takes: usize,
        /// All parameters.
        known: String,
    },
    /// No place is called so.
    #[error("parameter `{param}` is unknown to the command (known: `{known}`)")]
    Unknown {
        /// Its name.
        param: String,
        /// All parameters.
        known: String,
    },
    /// Given by position and by name, or by name twice.
    #[error("parameter `{param}` is given twice")]
    Twice {
        /// Its name.
        param: String,
    },
}

impl CommandSpec {
    /// The names of its parameters, in the order in which they are used: that of arguments that are
    /// given by position.
    #[must_use]
    pub fn params(&self) -> Vec<String> {
        let mut params = Vec::new();
        let mut add = |name: &str| {
            if !params.iter().any(|known| known == name) {
                params.push(name.to_owned());
            }
        };
        let templates = self.words.iter().chain(self.env.iter().map(|(_, one)| one));
        for template in templates {
            template.params().for_each(&mut add);
        }
        let sources = self.stdin.iter();
        let sources = sources.chain(self.files.iter().map(|(_, source)| source));
        sources
            .filter_map(|source| source.param.as_deref())
            .for_each(&mut add);
        params
    }

    /// Whether arguments that no placeholder names are of use.
    #[must_use]
    pub fn takes_any(&self) -> bool {
        let mut sources = self
            .stdin
            .iter()
            .chain(self.files.iter().map(|(_, one)| one));
        sources.any(|source| source.param.is_none())
    }

    /// The secrets it is given.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let templates = self.words.iter().chain(self.env.iter().map(|(_, one)| one));
        let mut secrets: Vec<_> = templates
            .flat_map(Template::secrets)
            .map(str::to_owned)
            .collect();
        secrets.sort();
        secrets.dedup();
        secrets
    }

    /// Looks whether its parts fit together.
    ///
    /// # Errors
    /// [`SpecError`] names what does not.
    pub fn check(&self) -> Result<(), SpecError> {
        let params = self.params();
        let is_stray = |param: &&String| !params.contains(param) && !self.takes_any();
        if let Some(param) = self.defaults.keys().find(is_stray) {
            return Err(SpecError::Default {
                param: param.clone(),
                known: params.join(", "),
            });
        }
        if let Some((param, template)) = self.stray_list() {
            let template = template.to_string();
            return Err(SpecError::List { param, template });
        }
        let files = self.files.iter().map(|(name, _)| name);
        let out = self.output.iter().filter_map(|output| output.file.as_ref());
        match files.chain(out).find(|name| !is_file_name(name)) {
            Some(name) => Err(SpecError::File { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// A default that is a list, and a place of it where it can be no words.
    fn stray_list(&self) -> Option<(String, &Template)> {
        let lists = self.defaults.iter().filter(|(_, value)| value.is_array());
        let words = self.words.iter().filter(|word| word.as_param().is_none());
        let narrow = words.chain(self.env.iter().map(|(_, template)| template));
        let mut places = lists.flat_map(|(param, _)| {
            let mut narrow = narrow.clone();
            let place = narrow.find(|template| template.params().any(|one| one == param));
            place.map(|template| (param.clone(), template))
        });
        places.next()
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.contains(['/', '\0'])
        && name != "."
        && name != ".."
}

impl CommandSpec {
    /// Its arguments by name, with the defaults of those that are absent. Some may be missing still.
    ///
    /// # Errors
    /// [`BindError`] names the parameter.
    pub fn bind(
        &self,
        args: Vec<Value>,
        kwargs: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<Map<String, Value>, BindError> {
        let params = self.params();
        let known = || params.join("`, `");
        if args.len() > params.len() {
            return Err(BindError::TooMany {
                given: args.len(),
                takes: params.len(),
                known: known(),
            });
        }
        let positioned = params.iter().cloned().zip(args);
        let mut bound = Map::new();
        for (param, value) in positioned.chain(kwargs) {
            if !self.takes_any() && !params.contains(&param) {
                let known = known();
                return Err(BindError::Unknown { param, known });
            }
            if bound.contains_key(&param) {
                return Err(BindError::Twice { param });
            }
            bound.insert(param, value);
        }
        for (param, value) in &self.defaults {
            bound.entry(param).or_insert_with(|| value.clone());
        }
        Ok(bound)
    }

    /// A parameter without an argument among these.
    #[must_use]
    pub fn missing(&self, bound: &Map<String, Value>) -> Option<String> {
        self.params()
            .into_iter()
            .find(|param| !bound.contains_key(param))
    }

    /// The words after the program: one for each template, whatever the arguments are, but one for
    /// each item of a list that a template is the place of. `secret` gives the path a secret is read
    /// from.
    ///
    /// # Errors
    /// [`FillError`] names the parameter.
    pub fn fill(
        &self,
        arguments: &Map<String, Value>,
        secret: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<String>, FillError> {
        template::fill_words(&self.words, self.dashes, arguments, secret)
    }
}
