//! All attacks, and what each comes to: by root's supervisor, by an ordinary user's.

mod rows;

pub(crate) use rows::ALL;

use crate::stage::Who;
use Expected::{Held, Host, Open, Refused};

/// What an attack came to.
#[derive(Debug)]
#[expect(dead_code, reason = "a failed test shows what came")]
pub(crate) enum Came {
    Gained(String),
    Refused(String),
    Held(String),
}

/// What it is expected to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// It succeeds.
    Open,
    /// It is refused.
    Refused,
    /// The task is ended, or what it did comes to nothing.
    Held,
    /// That is up to the kernel and its settings.
    Host,
}

impl Expected {
    pub(crate) const fn allows(self, came: &Came) -> bool {
        matches!(
            (self, came),
            (Host, _)
                | (Open, Came::Gained(_))
                | (Refused, Came::Refused(_))
                | (Held, Came::Held(_) | Came::Refused(_))
        )
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Open => "gained",
            Refused => "refused",
            Held => "held",
            Host => "host",
        }
    }
}

/// An attack.
#[derive(Debug)]
pub(crate) struct Attack {
    /// Its name in `tests/hostile/attacks`.
    pub name: &'static str,
    pub tries: &'static str,
    none: [Expected; 2],
    process: [Expected; 2],
    strict: [Expected; 2],
}

impl Attack {
    pub(crate) fn expected(&self, profile: &str, who: Who) -> Expected {
        let [root, user] = match profile {
            "none" => self.none,
            "process" => self.process,
            _ => self.strict,
        };
        match who {
            Who::Root => root,
            Who::User => user,
        }
    }
}
