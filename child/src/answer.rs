//! From what a task returned to the bytes or the failure that is reported.
//!
//! Which of the three roads a return type takes is chosen by its traits, not by how it is
//! written, so aliases such as `io::Result` work. The trick is method lookup by reference
//! depth: <https://github.com/dtolnay/case-studies/blob/master/autoref-specialization/README.md>.
#![forbid(unsafe_code)]

use std::fmt::Display;

use bulkhead_shared::frame::Failure;
use bulkhead_shared::message::PAYLOAD_LIMIT;
use serde::Serialize;

/// The result as JSON, or the failure.
#[doc(hidden)]
pub type Reply = Result<Vec<u8>, Failure>;

/// Stands for a return value while its road is looked up.
#[doc(hidden)]
#[derive(Debug)]
pub struct Probe<'a, T>(pub &'a T);

/// First choice: `Result<T, E>` with an error that has a chain of sources.
#[doc(hidden)]
pub trait ViaError {
    fn road(&self) -> Chain {
        Chain
    }
}
impl<T, E: Into<anyhow::Error>> ViaError for &&Probe<'_, Result<T, E>> {}

/// Second choice: `Result<T, E>` with an error that is only a text.
#[doc(hidden)]
pub trait ViaDisplay {
    fn road(&self) -> Text {
        Text
    }
}
impl<T, E: Display> ViaDisplay for &Probe<'_, Result<T, E>> {}

/// Everything else is a value.
#[doc(hidden)]
pub trait ViaSerialize {
    fn road(&self) -> Plain {
        Plain
    }
}
impl<T> ViaSerialize for Probe<'_, T> {}

#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Chain;

#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Text;

#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Chain {
    /// # Errors
    /// The task's.
    pub fn reply<T: Serialize, E: Into<anyhow::Error>>(self, value: Result<T, E>) -> Reply {
        let value = value.map_err(|error| {
            let error = error.into();
            let text = format!("{error:#}");
            let chain = format!("{error:?}");
            // A single error without a backtrace says nothing twice.
            let traceback = (chain != text).then_some(chain);
            failed(text, traceback)
        })?;
        to_bytes(&value)
    }
}

impl Text {
    /// # Errors
    /// The task's.
    pub fn reply<T: Serialize, E: Display>(self, value: Result<T, E>) -> Reply {
        to_bytes(&value.map_err(|error| failed(error.to_string(), None))?)
    }
}

impl Plain {
    /// # Errors
    /// A value that has no JSON.
    pub fn reply<T: Serialize>(self, value: T) -> Reply {
        to_bytes(&value)
    }
}

fn failed(text: String, traceback: Option<String>) -> Failure {
    Failure {
        name: "error".into(),
        text,
        traceback,
        is_final: false,
    }
}

fn to_bytes(value: &impl Serialize) -> Reply {
    let bytes = serde_json::to_vec(value).map_err(|error| Failure {
        name: "result".into(),
        text: format!("result cannot be written as JSON: {error} (maps need text keys)"),
        traceback: None,
        is_final: false,
    })?;
    within_limit(bytes)
}

/// A result, if it is not too large to be one.
pub(crate) fn within_limit(bytes: Vec<u8>) -> Reply {
    if bytes.len() > PAYLOAD_LIMIT {
        return Err(Failure {
            name: "result-too-large".into(),
            text: format!(
                "result has {} bytes, more than {PAYLOAD_LIMIT} (store the data elsewhere and return its path or key)",
                bytes.len()
            ),
            traceback: None,
            is_final: true,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Given;
    use crate::{Context, tasks};
    use anyhow::Context as _;

    fn call(task: crate::Task) -> Reply {
        let definition = task.definition();
        let given = Given::bind(definition, b"{}").unwrap();
        definition.call.now(&Context::detached("test"), given)
    }

    #[crate::task]
    fn nothing() {}
    #[crate::task]
    fn text() -> Result<u8, String> {
        Err("only a text".into())
    }
    #[crate::task]
    fn chain() -> anyhow::Result<()> {
        std::fs::read("/nowhere/at/all")
            .map(drop)
            .context("reading")
    }
    #[crate::task]
    fn alias() -> std::io::Result<u8> {
        Ok(7)
    }
    #[crate::task]
    fn keyless() -> std::collections::HashMap<Vec<u8>, u8> {
        [(vec![1], 1)].into()
    }
    #[crate::task]
    fn large() -> String {
        "x".repeat(PAYLOAD_LIMIT)
    }

    #[test]
    fn values_and_results_take_their_roads_by_their_types() {
        assert_eq!(call(tasks![nothing][0]).unwrap(), b"null");
        assert_eq!(call(tasks![alias][0]).unwrap(), b"7");
        let failure = call(tasks![text][0]).unwrap_err();
        assert_eq!((&*failure.name, &*failure.text), ("error", "only a text"));
        assert_eq!(failure.traceback, None);
        let failure = call(tasks![chain][0]).unwrap_err();
        assert!(failure.text.starts_with("reading: No such file"));
        assert!(failure.traceback.unwrap().contains("Caused by"));
    }

    #[test]
    fn a_result_without_json_is_a_failure() {
        assert_eq!(call(tasks![keyless][0]).unwrap_err().name, "result");
    }

    #[test]
    fn a_result_over_the_limit_is_final_and_shows_a_way_out() {
        let failure = call(tasks![large][0]).unwrap_err();
        assert_eq!(failure.name, "result-too-large");
        assert!(failure.is_final && failure.text.contains("elsewhere"));
    }
}
