//! A trigger as it is written, sent and stored.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::{Cron, Trigger, TriggerError};
use crate::message::Arguments;

/// The most firings that are made up for.
pub(super) const MOST_MISSED: u32 = 1000;

/// The longest jitter.
const LONGEST_JITTER: Duration = Duration::from_secs(86_400);

/// Who runs a firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum On {
    /// One supervisor, whichever is free first.
    #[default]
    One,
    /// Each that lives and serves the task, for itself.
    Each,
}

/// What becomes of firings that nobody saw in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Misfire {
    /// Nothing.
    Skip,
    /// The last of them is made up for.
    #[default]
    One,
    /// The last so many of them are.
    All(u32),
}

/// What becomes of a firing while the job of the one before has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Overlap {
    /// Both run.
    #[default]
    Allow,
    /// It is left out.
    Skip,
    /// It waits until that has ended; a later one takes its place.
    QueueOne,
}

/// A trigger with all that goes with it, unchecked: exactly one of `cron`, `every_ms`, `at` and
/// `at_start` is given.
///
/// ```
/// use bulkhead_shared::trigger::TriggerSpec;
/// let spec = TriggerSpec {
///     cron: Some("0 3 * * mon-fri".into()),
///     tz: Some("Europe/Berlin".into()),
///     ..TriggerSpec::default()
/// };
/// let words = spec.check().unwrap().trigger.to_string();
/// assert!(words.starts_with("at 03:00, on Monday, Tuesday"), "{words}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TriggerSpec {
    /// Five or six fields, or a nickname.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The zone of `cron`, or of an `at` without an offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// An interval, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// A date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// When a supervisor starts.
    #[serde(default, skip_serializing_if = "is_false")]
    pub at_start: bool,
    /// Who runs it.
    #[serde(default)]
    pub on: On,
    /// What becomes of missed firings.
    #[serde(default)]
    pub misfire: Misfire,
    /// What becomes of firings that would overlap.
    #[serde(default)]
    pub overlap: Overlap,
    /// Each firing's job waits up to this long, in milliseconds; how long follows from the firing.
    #[serde(default)]
    pub jitter_ms: u64,
    /// What the task is called with.
    #[serde(default)]
    pub arguments: Arguments,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl TriggerSpec {
    /// Checks everything.
    ///
    /// # Errors
    /// The first [`TriggerError`], with its way out.
    pub fn check(&self) -> Result<Plan, TriggerError> {
        let trigger = self.trigger()?;
        if trigger == Trigger::Start && self.on == On::One {
            return Err(TriggerError::StartOnOne);
        }
        if let Misfire::All(most) = self.misfire
            && !(1..=MOST_MISSED).contains(&most)
        {
            let limit = MOST_MISSED;
            return Err(TriggerError::Misfire { most, limit });
        }
        let jitter = Duration::from_millis(self.jitter_ms);
        if jitter > LONGEST_JITTER {
            return Err(TriggerError::Jitter { ms: self.jitter_ms });
        }
        Ok(Plan {
            trigger,
            on: self.on,
            misfire: self.misfire,
            overlap: self.overlap,
            jitter,
        })
    }

    fn trigger(&self) -> Result<Trigger, TriggerError> {
        let tz = self.tz.as_deref();
        let trigger = match (&self.cron, self.every_ms, &self.at, self.at_start) {
            (Some(cron), None, None, false) => return Cron::new(cron, tz).map(Trigger::Cron),
            (None, None, Some(at), false) => return Trigger::at(at, tz),
            (None, Some(ms), None, false) => Trigger::every(ms)?,
            (None, None, None, true) => Trigger::Start,
            _ => return Err(self.wrong_kinds()),
        };
        match (tz, self.at_start) {
            (None, _) => Ok(trigger),
            (Some(_), true) => Err(TriggerError::StrayZone { with: "`at start`" }),
            (Some(_), false) => Err(TriggerError::StrayZone { with: "`every`" }),
        }
    }

    fn wrong_kinds(&self) -> TriggerError {
        let kinds = [
            ("cron", self.cron.is_some()),
            ("every", self.every_ms.is_some()),
            ("at", self.at.is_some()),
            ("at start", self.at_start),
        ];
        let given = kinds.iter().filter(|(_, is_given)| *is_given);
        let given: Vec<_> = given.map(|(name, _)| format!("`{name}`")).collect();
        let found = if given.is_empty() {
            "none".into()
        } else {
            given.join(" and ")
        };
        TriggerError::Kinds { found }
    }
}
