//! What the tasks of a profile may ask for: data, and the one place that reads it.

use std::fmt;

use bulkhead_shared::ask::{ALL_MOST, Ask, Denied, JOURNAL_MOST, OPEN_MOST, Reply};
use bulkhead_shared::name::{LockName, QueueName, TaskName};

/// What may be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct May {
    /// Show progress; what others report is dropped.
    pub progress: bool,
    /// Durable time and steps: journal, signals, long sleeps.
    pub durable: bool,
    /// Beginnings of the names of locks that may be taken. An empty one is the beginning of all.
    pub locks: Vec<String>,
    /// Messages that may be submitted.
    pub submit: Vec<Target>,
    /// Learn how jobs of the own flow have ended.
    pub read_results: bool,
    /// Asks that wait for their answers at once.
    pub open: u16,
    /// Asks of an attempt, apart from those for its journal.
    pub all: u32,
}

/// Messages of a queue for a task, or of all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Target {
    queue: Option<QueueName>,
    task: Option<TaskName>,
}

impl Target {
    fn parse(inner: &str) -> Option<Self> {
        let (queue, task) = inner.split_once(',')?;
        let (queue, task) = (queue.trim(), task.trim());
        let queue = match queue {
            "*" => None,
            name => Some(QueueName::new(name).ok()?),
        };
        let task = match task {
            "*" => None,
            name => Some(TaskName::new(name).ok()?),
        };
        Some(Self { queue, task })
    }

    fn allows(&self, queue: &QueueName, task: &TaskName) -> bool {
        self.queue.as_ref().is_none_or(|own| own == queue)
            && self.task.as_ref().is_none_or(|own| own == task)
    }

    fn is_within(&self, other: &Self) -> bool {
        (other.queue.is_none() || self.queue == other.queue)
            && (other.task.is_none() || self.task == other.task)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.queue.as_ref().map_or("*", QueueName::as_str);
        let task = self.task.as_ref().map_or("*", TaskName::as_str);
        write!(f, "submit({queue}, {task})")
    }
}

impl Default for May {
    /// All there is: for tasks that are trusted.
    fn default() -> Self {
        Self {
            progress: true,
            durable: true,
            locks: vec![String::new()],
            submit: vec![Target::default()],
            read_results: true,
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
            submit: Vec::new(),
            read_results: false,
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
            ..Self::untrusted()
        };
        for word in words {
            let call = word.strip_suffix(')').and_then(|call| call.split_once('('));
            match (word.as_str(), call) {
                ("progress", _) => may.progress = true,
                ("durable", _) => may.durable = true,
                ("locks", _) => may.locks.push(String::new()),
                ("submit", _) => may.submit.push(Target::default()),
                ("read-results", _) => may.read_results = true,
                (_, Some(("locks", prefix))) => may.locks.push(prefix.trim().into()),
                (_, Some(("submit", target))) => match Target::parse(target) {
                    Some(target) => may.submit.push(target),
                    None => {
                        return Err(format!(
                            "`{word}` names no messages (use `submit(QUEUE, TASK)`, with `*` for any queue or task)"
                        ));
                    }
                },
                _ => {
                    return Err(format!(
                        "`may` knows no `{word}` (use `progress`, `durable`, `locks`, `locks(PREFIX)`, `submit`, `submit(QUEUE, TASK)` or `read-results`)"
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
            && self
                .submit
                .iter()
                .all(|own| other.submit.iter().any(|most| own.is_within(most)))
            && self.read_results <= other.read_results
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
    /// Counts an ask, and says what becomes of it in a task of `profile`.
    pub(crate) fn judge(&self, profile: &str, ask: &Ask, asked: &mut Asked) -> Verdict {
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
        if let Some(text) = self.forbids(profile, ask) {
            return Verdict::Denied(Reply::denied(Denied::Forbidden, text));
        }
        asked.open += 1;
        Verdict::Allowed
    }

    fn forbids(&self, profile: &str, ask: &Ask) -> Option<String> {
        match ask {
            Ask::Acquire { lock, .. } | Ask::Renew { lock, .. } | Ask::Free { lock, .. } => {
                self.forbids_lock(profile, lock)
            }
            Ask::Record { .. } | Ask::Recall { .. } | Ask::Take { .. } => {
                (!self.durable).then(|| no(profile, "durable calls", "durable"))
            }
            // Whose call it is decides.
            Ask::Events { .. } => None,
            // What it submits is looked at by those who can read it.
            Ask::Submit { .. } => (self.submit.is_empty())
                .then(|| no(profile, "to submit messages", "submit(QUEUE, TASK)")),
            Ask::Result { .. } => (!self.read_results)
                .then(|| no(profile, "the results of other jobs", "read-results")),
        }
    }

    fn forbids_lock(&self, profile: &str, lock: &str) -> Option<String> {
        let is_allowed = self.locks.iter().any(|prefix| lock.starts_with(prefix));
        (!is_allowed).then(|| {
            let shown: String = lock.chars().take(80).collect();
            no(profile, &format!("the lock `{shown}`"), "locks(PREFIX)")
        })
    }

    /// Why a message cannot be submitted, if it cannot.
    pub(super) fn forbids_message(
        &self,
        profile: &str,
        (queue, task): (&QueueName, &TaskName),
        lock: Option<&LockName>,
    ) -> Option<String> {
        if !self.submit.iter().any(|target| target.allows(queue, task)) {
            let what = format!("to submit a message for task `{task}` to queue `{queue}`");
            return Some(no(profile, &what, &format!("submit({queue}, {task})")));
        }
        // Its job would hold what the task itself may not.
        lock.and_then(|lock| self.forbids_lock(profile, lock.as_str()))
    }
}

fn no(profile: &str, what: &str, word: &str) -> String {
    format!(
        "the profile `{profile}` of the task does not allow it {what} (add `{word}` to `may` of a profile in the configuration file that the task is given)"
    )
}

#[cfg(test)]
mod words {
    use super::*;

    fn may(words: &[&str]) -> May {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        May::parse(&words).unwrap()
    }

    fn allows(may: &May, queue: &str, task: &str) -> bool {
        let (queue, task) = (QueueName::new(queue).unwrap(), TaskName::new(task).unwrap());
        may.forbids_message("p", (&queue, &task), None).is_none()
    }

    #[test]
    fn messages_are_allowed_by_queue_and_task() {
        let one = may(&["submit(mail, send)", "submit( *,add )"]);
        assert!(allows(&one, "mail", "send") && allows(&one, "any", "add"));
        assert!(!allows(&one, "mail", "drop") && !allows(&one, "default", "send"));
        assert!(allows(&may(&["submit(mail,*)"]), "mail", "drop"));
        assert!(allows(&may(&["submit"]), "mail", "drop"));
        assert!(!allows(&may(&["locks", "read-results"]), "mail", "send"));
        assert!(allows(&May::default(), "mail", "send"));
        assert!(!allows(&May::untrusted(), "mail", "send"));
        assert!(May::default().read_results && !May::untrusted().read_results);
    }

    #[test]
    fn the_lock_of_a_message_is_one_that_the_task_may_take() {
        let may = may(&["submit", "locks(till/)"]);
        let (queue, task) = (QueueName::default(), TaskName::new("add").unwrap());
        let forbids = |lock: &str| {
            let lock = LockName::new(lock).unwrap();
            may.forbids_message("p", (&queue, &task), Some(&lock))
        };
        assert_eq!(forbids("till/1"), None);
        assert!(forbids("door").unwrap().contains("`door`"));
    }

    #[test]
    fn a_profile_is_looser_if_it_may_submit_or_read_more() {
        let within = |a: &[&str], b: &[&str]| may(a).is_within(&may(b));
        assert!(within(&["submit(mail, send)"], &["submit(mail, *)"]));
        assert!(within(
            &["submit(mail, send)"],
            &["submit(*, send)", "submit(a, b)"]
        ));
        assert!(within(&["submit(*, *)"], &["submit"]));
        assert!(within(&[], &["submit", "read-results"]));
        assert!(!within(&["submit(mail, *)"], &["submit(mail, send)"]));
        assert!(!within(
            &["submit"],
            &["submit(mail, *)", "submit(*, send)"]
        ));
        assert!(!within(&["submit(mail, send)"], &["submit(mail, drop)"]));
        assert!(!within(&["read-results"], &["submit"]));
        assert!(May::untrusted().is_within(&May::default()));
        assert!(!May::default().is_within(&May::untrusted()));
    }

    #[test]
    fn a_word_that_names_no_messages_is_refused() {
        for word in [
            "submit()",
            "submit(mail)",
            "submit(a, b, c)",
            "submit(a b, c)",
            "submit(,)",
        ] {
            let error = May::parse(&[word.to_owned()]).unwrap_err();
            assert!(
                error.contains(word) && error.contains("submit(QUEUE, TASK)"),
                "{error}"
            );
        }
        assert_eq!(
            Target::parse("mail,*").unwrap().to_string(),
            "submit(mail, *)"
        );
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
        assert_eq!(
            may.judge("p", &free("till/1"), &mut asked),
            Verdict::Allowed
        );
        denied(may.judge("p", &free("door"), &mut asked), Denied::Forbidden);
        assert_eq!((asked.open, asked.all), (1, 2));
        let none = May {
            locks: vec![],
            ..May::default()
        };
        denied(none.judge("p", &free(""), &mut asked), Denied::Forbidden);
    }

    #[test]
    fn open_asks_and_all_asks_are_bounded_and_a_flood_is_told() {
        let may = May {
            open: 2,
            all: 5,
            ..May::default()
        };
        let mut asked = Asked::default();
        let mut judge = || may.judge("p", &free("a"), &mut asked);
        assert_eq!((judge(), judge()), (Verdict::Allowed, Verdict::Allowed));
        for _ in 0..8 {
            denied(judge(), Denied::TooMany);
        }
        assert_eq!(judge(), Verdict::Flood);
    }
}
