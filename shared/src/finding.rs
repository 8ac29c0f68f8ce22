//! What an examination finds: data for `supervisor doctor`.

use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Good to know; nothing has to be done.
    Hint,
    /// A guarantee is missing, or something may go wrong.
    Warning,
    /// Work is not possible, or is lost.
    Error,
}

impl Severity {
    /// The name it is printed under.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Hint => "hint",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: a name that never changes its meaning.
    pub check: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// Why it matters; `None` if all is well.
    pub why: Option<String>,
    /// What to do about it; `None` if nothing has to be done.
    pub way_out: Option<String>,
}

impl Finding {
    /// All is well.
    #[must_use]
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            severity: Severity::Ok,
            found: found.into(),
            why: None,
            way_out: None,
        }
    }

    /// The same, but it matters this much, for this reason.
    #[must_use]
    pub fn because(mut self, severity: Severity, why: impl Into<String>) -> Self {
        self.severity = severity;
        self.why = Some(why.into());
        self
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn way_out(mut self, way_out: impl Into<String>) -> Self {
        self.way_out = Some(way_out.into());
        self
    }
}

/// How long an examination may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Seconds.
    Quick,
    /// As long as it takes to read everything.
    Thorough,
}
