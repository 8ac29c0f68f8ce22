//! `{width}x{height}`: one word of a command line with places for arguments. A word stays one
//! word, whatever the arguments are.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest word, in bytes: what Linux takes.
const WORD_LIMIT: usize = (128 << 10) - 1;

/// Most words of one list: Linux takes about two million bytes of words in all.
const LIST_LIMIT: usize = 65_536;

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// This text.
    Text(String),
    /// The argument of this parameter.
    Param(String),
    /// The path of a file from which this secret is read.
    Secret(String),
}

/// A word with places for arguments: `{name}`. Braces themselves are written twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(Vec<Piece>);

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A `{` without its `}`.
    #[error("`{text}` has a `{{` without a `}}` (write `{{{{` for a brace)")]
    Open {
        /// The template.
        text: String,
    },
    /// A `}` without its `{`.
    #[error("`{text}` has a `}}` without a `{{` (write `}}}}` for a brace)")]
    Close {
        /// The template.
        text: String,
    },
    /// Something that no parameter can be called.
    #[error(
        "`{{{name}}}` is no placeholder (write a name of letters, digits and `_`, or `{{secret.NAME}}`; a brace is written `{{{{`)"
    )]
    Name {
        /// What is between the braces.
        name: String,
    },
    /// No word can hold it.
    #[error("`{text}` has a NUL in it, which no word of a command can have")]
    Nul {
        /// The template.
        text: String,
    },
}

/// Why an argument cannot take its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FillError {
    /// There is none.
    #[error("parameter `{param}` is missing")]
    Missing {
        /// Its name.
        param: String,
    },
    /// It has no text.
    #[error(
        "parameter `{param}` is {kind}: a word of a command takes a text, a number, `true` or `false` (a list of those where `{{{param}}}` is all of the word, and becomes a word for each)"
    )]
    Kind {
        /// Its name.
        param: String,
        /// What it is.
        kind: &'static str,
    },
    /// It has a NUL in it.
    #[error("parameter `{param}` has a NUL in it, which no word of a command can have")]
    Nul {
        /// Its name.
        param: String,
    },
    /// It could be taken for an option.
    #[error(
        "parameter `{param}` begins with a dash, and the command may take it for an option (if it is to be allowed, write a word \"--\" before it, or `dashes = true`)"
    )]
    Dash {
        /// Its name.
        param: String,
    },
    /// A list with too many items.
    #[error(
        "parameter `{param}` is a list of {count}, and a command takes no more than {LIST_LIMIT} (give long lists on standard input or in a file)"
    )]
    Many {
        /// Its name.
        param: String,
        /// Its length.
        count: usize,
    },
    /// Linux takes no word of this length.
    #[error(
        "a word of the command would have {len} bytes, more than {WORD_LIMIT} (give long arguments on standard input or in a file)"
    )]
    Long {
        /// Its length.
        len: usize,
    },
    /// The task was not given this secret.
    #[error("secret `{name}` was not given")]
    Secret {
        /// Its name.
        name: String,
    },
}

/// A word that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// The word.
    pub text: String,
    /// The parameter that it begins with, if it begins with an argument.
    pub begins_with: Option<String>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`] quotes it, and shows the way out.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let own = || text.to_owned();
        if text.contains('\0') {
            return Err(TemplateError::Nul { text: own() });
        }
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if let Some(inside) = from.strip_prefix('{') {
                let Some((name, after)) = inside.split_once('}') else {
                    return Err(TemplateError::Open { text: own() });
                };
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(place(name)?);
                rest = after;
            } else {
                return Err(TemplateError::Close { text: own() });
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// A text without places, whatever braces it has.
    #[must_use]
    pub fn plain(text: &str) -> Self {
        Self(vec![Piece::Text(text.into())])
    }

    /// Its text, if it has no places.
    #[must_use]
    pub fn as_plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The parameters it has places for.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Param(name) => Some(name.as_str()),
            Piece::Text(_) | Piece::Secret(_) => None,
        })
    }

    /// The secrets it has places for.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Secret(name) => Some(name.as_str()),
            Piece::Text(_) | Piece::Param(_) => None,
        })
    }

    /// The word with these arguments, and with the paths of secrets.
    ///
    /// # Errors
    /// [`FillError`] names the parameter.
    pub fn fill(
        &self,
        arguments: &Map<String, Value>,
        secret: impl Fn(&str) -> Option<String>,
    ) -> Result<Filled, FillError> {
        let mut text = String::new();
        let mut begins_with = None;
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Param(param) => {
                    let value = text_of(param, argument(param, arguments)?)?;
                    if text.is_empty() && !value.is_empty() {
                        begins_with = Some(param.clone());
                    }
                    text.push_str(&value);
                }
                Piece::Secret(name) => {
                    let path = secret(name).ok_or_else(|| FillError::Secret { name: name.clone() });
                    text.push_str(&path?);
                }
            }
        }
        word(text, begins_with)
    }

    /// The parameter that all of it is, which may then be a list.
    #[must_use]
    pub fn as_param(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Param(name)] => Some(name),
            _ => None,
        }
    }

    /// The words with these arguments: one, or as many as a list has that all of it stands for.
    fn fill_all(
        &self,
        arguments: &Map<String, Value>,
        secret: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<Filled>, FillError> {
        let list = self.as_param().and_then(|param| {
            let items = arguments.get(param)?.as_array()?;
            Some((param, items))
        });
        let Some((param, items)) = list else {
            return Ok(vec![self.fill(arguments, secret)?]);
        };
        if items.len() > LIST_LIMIT {
            return Err(FillError::Many {
                param: param.into(),
                count: items.len(),
            });
        }
        let item = |item| word(text_of(param, item)?, Some(param.into()));
        items.iter().map(item).collect()
    }
}

fn word(text: String, begins_with: Option<String>) -> Result<Filled, FillError> {
    match text.len() {
        len if len > WORD_LIMIT => Err(FillError::Long { len }),
        _ => Ok(Filled { text, begins_with }),
    }
}

/// All words of a command, in the order of their templates.
pub(super) fn fill_words(
    templates: &[Template],
    dashes: bool,
    arguments: &Map<String, Value>,
    secret: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, FillError> {
    let mut words = Vec::with_capacity(templates.len());
    let mut may_dash = dashes;
    for template in templates {
        for Filled { text, begins_with } in template.fill_all(arguments, &secret)? {
            if let (Some(param), false, true) = (begins_with, may_dash, text.starts_with('-')) {
                return Err(FillError::Dash { param });
            }
            words.push(text);
        }
        // What comes after it is never taken for an option.
        may_dash |= template.as_plain() == Some("--");
    }
    Ok(words)
}

fn place(name: &str) -> Result<Piece, TemplateError> {
    let is_name = |name: &str| {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.chars().all(is_letter) && name.starts_with(|c: char| !c.is_ascii_digit())
    };
    let is_secret = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match name.strip_prefix("secret.") {
        Some(secret) if !secret.is_empty() && secret.chars().all(is_secret) => {
            Ok(Piece::Secret(secret.into()))
        }
        None if is_name(name) => Ok(Piece::Param(name.into())),
        _ => Err(TemplateError::Name { name: name.into() }),
    }
}

fn argument<'a>(param: &str, arguments: &'a Map<String, Value>) -> Result<&'a Value, FillError> {
    let missing = || FillError::Missing {
        param: param.into(),
    };
    arguments.get(param).ok_or_else(missing)
}

fn text_of(param: &str, value: &Value) -> Result<String, FillError> {
    let own = || param.to_owned();
    let kind = |kind| Err(FillError::Kind { param: own(), kind });
    match value {
        Value::String(text) if text.contains('\0') => Err(FillError::Nul { param: own() }),
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null => kind("`null`, or has it in its list"),
        Value::Array(_) => kind("a list, or has one in its list"),
        Value::Object(_) => kind("an object, or has one in its list"),
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;
    fn try_from(text: String) -> Result<Self, TemplateError> {
        Self::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.to_string()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Piece::Param(name) => write!(f, "{{{name}}}")?,
                Piece::Secret(name) => write!(f, "{{secret.{name}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
