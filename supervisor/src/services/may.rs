//! What the tasks of a profile may ask for: data, and the one place that reads it.

use bulkhead_shared::ask::{ALL_MOST, Ask, Denied, JOURNAL_MOST, OPEN_MOST, Reply};

/// What may be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct May {
    /// Show progress; what others report is dropped.
    pub progress: bool,
    /// Durable time and steps: journal, signals, long sleeps.
    pub durable: bool,
    /// Beginnings of the names of locks that may be taken. An empty one is the beginning of all.
    pub locks: Vec<String>,
    /// Asks that wait for their answers at once.
    pub open: u16,
    /// Asks of an attempt, apart from those for its journal.
    pub all: u32,
}

impl Default for May {
    /// All there is: for tasks that are trusted.
    fn default() -> Self {
        Self {
            progress: true,
            durable: true,
            locks: vec![String::new()],
            open: OPEN_MOST,
            all: ALL_MOST,
        }
    }
}

impl May {
    /// What a task that nobody trusts may ask for.
    pub(crate) fn untrusted() -> Self {
        Self {
            locks: Vec::new(),
            ..Self::default()
        }
    }

    /// Reads the words of a profile's `may`.
    ///
    /// # Errors
    /// The first word that says nothing.
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let mut may = Self {
            progress: false,
            durable: false,
            locks: Vec::new(),
            ..Self::default()
        };
        for word in words {
            let call = word.strip_suffix(')').and_then(|call| call.split_once('('));
            match (word.as_str(), call) {
                ("progress", _) => may.progress = true,
                ("durable", _) => may.durable = true,
                ("locks", _) => may.locks.push(String::new()),
                (_, Some(("locks", prefix))) => may.locks.push(prefix.trim().into()),
                _ => {
                    return Err(format!(
                        "`may` knows no `{word}` (use `progress`, `durable`, `locks` or `locks(PREFIX)`)"
                    ));
                }
            }
        }
        Ok(may)
    }

    /// Whether it allows nothing that `other` does not.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let mut locks = self.locks.iter();
        let known = |lock: &String| other.locks.iter().any(|most| lock.starts_with(most));
        self.progress <= other.progress
            && self.durable <= other.durable
            && locks.all(known)
            && self.open <= other.open
            && self.all <= other.all
    }
}

/// What an attempt has asked for so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    /// Without an answer.
    pub open: u16,
    /// In all, but for the journal.
    pub all: u32,
    /// For the journal.
    pub journal: u32,
    /// An entry of its was written.
    pub recorded: bool,
}

/// What becomes of an ask before anybody looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done.
    Allowed,
    /// It is not.
    Denied(Reply),
    /// It came although everything has been denied for long.
    Flood,
}

impl May {
    /// Counts an ask, and says what becomes of it.
    pub(crate) fn judge(&self, ask: &Ask, asked: &mut Asked) -> Verdict {
        // A journal has bounds of its own, and each step is worth two asks.
        let is_journal = matches!(
            ask,
            Ask::Record { .. } | Ask::Recall { .. } | Ask::Take { .. }
        );
        let (count, most) = match is_journal {
            true => (&mut asked.journal, JOURNAL_MOST),
            false => (&mut asked.all, self.all),
        };
        *count = count.saturating_add(1);
        if *count > most.saturating_mul(2) {
            return Verdict::Flood;
        }
        if *count > most {
            let text = format!(
                "the attempt has asked {most} times already (ask less often, or let the profile allow more)"
            );
            return Verdict::Denied(Reply::denied(Denied::TooMany, text));
        }
        if asked.open >= self.open {
            let text = format!(
                "{} asks of the attempt wait for their answers already (await some of them first)",
                self.open
            );
            return Verdict::Denied(Reply::denied(Denied::TooMany, text));
        }
        if let Some(text) = self.forbids(ask) {
            return Verdict::Denied(Reply::denied(Denied::Forbidden, text));
        }
        asked.open += 1;
        Verdict::Allowed
    }

    fn forbids(&self, ask: &Ask) -> Option<String> {
        match ask {
            Ask::Acquire { lock, .. } | Ask::Renew { lock, .. } | Ask::Free { lock, .. } => {
                let is_allowed = self.locks.iter().any(|prefix| lock.starts_with(prefix));
                let shown: String = lock.chars().take(80).collect();
                (!is_allowed).then(|| {
                    format!(
                        "the profile of the task does not allow it the lock `{shown}` (see `may` of its profile)"
                    )
                })
            }
            Ask::Record { .. } | Ask::Recall { .. } | Ask::Take { .. } => (!self.durable).then(|| {
                "the profile of the task does not allow it durable calls (see `may` of its profile)"
                    .into()
            }),
            // Whose call it is decides.
            Ask::Events { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(lock: &str) -> Ask {
        Ask::Free {
            lock: lock.into(),
            fence: 1,
        }
    }

    #[track_caller]
    fn denied(verdict: Verdict, expected: Denied) {
        assert!(
            matches!(&verdict, Verdict::Denied(Reply::Denied { why, .. }) if *why == expected),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_lock_is_allowed_by_the_beginning_of_its_name() {
        let may = May {
            locks: vec!["till/".into()],
            ..May::default()
        };
        let mut asked = Asked::default();
        assert_eq!(may.judge(&free("till/1"), &mut asked), Verdict::Allowed);
        denied(may.judge(&free("door"), &mut asked), Denied::Forbidden);
        assert_eq!((asked.open, asked.all), (1, 2));
        let none = May {
            locks: vec![],
            ..May::default()
        };
        denied(none.judge(&free(""), &mut asked), Denied::Forbidden);
    }

    #[test]
    fn open_asks_and_all_asks_are_bounded_and_a_flood_is_told() {
        let may = May {
            open: 2,
            all: 5,
            ..May::default()
        };
        let mut asked = Asked::default();
        let mut judge = || may.judge(&free("a"), &mut asked);
        assert_eq!((judge(), judge()), (Verdict::Allowed, Verdict::Allowed));
        for _ in 0..8 {
            denied(judge(), Denied::TooMany);
        }
        assert_eq!(judge(), Verdict::Flood);
    }
}
