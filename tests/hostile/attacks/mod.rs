//! Attacks by name, each on one thing. What came of it is `gained` or `refused`; whatever ends the
//! task before it can say so has held it.

mod asking;
mod consume;
mod enter;
mod files;
mod kernel;
mod leaving;
mod network;
mod others;

use std::path::PathBuf;

use bulkhead_child::anyhow::{self, Context as _};
use bulkhead_child::{Context, task};
use nix::errno::Errno;
use serde_json::{Value, json};

use crate::sys;

/// What was gained, or why nothing was.
pub(crate) type Came = Result<String, String>;

/// Whom an attack is on, as the test says it.
pub(crate) struct Victims(Value);

impl Victims {
    fn number(&self, name: &str) -> i32 {
        let number = self.0[name].as_i64().unwrap_or(0);
        i32::try_from(number).unwrap_or(0)
    }

    fn port(&self, name: &str) -> u16 {
        u16::try_from(self.number(name)).unwrap_or(0)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.text(name).into()
    }

    fn text(&self, name: &str) -> String {
        self.0[name].as_str().unwrap_or_default().into()
    }

    fn supervisor(&self) -> i32 {
        self.number("supervisor")
    }

    fn sibling(&self) -> i32 {
        self.number("sibling")
    }
}

type Attack = fn(&Context, &Victims) -> Came;

const LISTS: [&[(&str, Attack)]; 8] = [
    asking::ALL,
    others::ALL,
    network::ALL,
    files::ALL,
    consume::ALL,
    kernel::ALL,
    leaving::ALL,
    enter::ALL,
];

fn make(ctx: &Context, name: &str, victims: Value) -> anyhow::Result<Came> {
    let mut all = LISTS.into_iter().flatten();
    let found = all.find(|(known, _)| *known == name);
    let (_, make) = found.with_context(|| format!("there is no attack {name}"))?;
    Ok(make(ctx, &Victims(victims)))
}

/// Makes the attack of that name.
#[task]
pub(crate) fn attack(ctx: &Context, name: String, victims: Value) -> anyhow::Result<Value> {
    Ok(match make(ctx, &name, victims)? {
        Ok(gained) => json!({ "gained": gained }),
        Err(refused) => json!({ "refused": refused }),
    })
}

/// Makes the attack of that name, and fails if it is refused.
#[task]
pub(crate) fn attempt(ctx: &Context, name: String, victims: Value) -> anyhow::Result<String> {
    make(ctx, &name, victims)?.map_err(|refused| anyhow::anyhow!(refused))
}

/// The answer to an attempt at something.
fn came<T>(tried: Result<T, impl Into<std::io::Error>>) -> Came {
    match tried {
        Ok(_) => Ok("done".into()),
        Err(error) => Err(error.into().to_string()),
    }
}

/// The answer of a system call that was given nonsense: any error but a refusal means that the
/// kernel would have listened.
fn reached(number: i64, arguments: [usize; 6]) -> Came {
    match sys::raw(number, arguments) {
        Ok(_) => Ok("done".into()),
        Err(errno @ (Errno::EPERM | Errno::EACCES | Errno::ENOSYS)) => Err(errno.to_string()),
        Err(errno) => Ok(format!("reached: {errno}")),
    }
}
