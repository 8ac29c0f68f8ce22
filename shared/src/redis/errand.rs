//! Errands as scripts take them. Those for the queue of the move are done in it; one for another
//! queue is kept with the queue of the move as a letter, delivered at once, and by anybody's upkeep
//! if that fails. A letter may be delivered twice: whatever it asks for is done once.

use crate::broker::Submission;
use crate::flow::{Errand, GroupRecord, Opening};
use crate::message::PAYLOAD_LIMIT;
use crate::name::QueueName;

use super::answer::{bytes, list, number};
use super::call::Call;
use super::record::{fresh, name, nonsense};
use super::script::{DELIVER, DELIVERED, UNDELIVERED};
use super::store::Store;
use super::submit::named;
use super::trouble::Trouble;
use crate::broker::BrokerError;
use crate::fault;
use redis::Value;

/// Letters delivered by one call of a script: none of them is long.
const AT_ONCE: usize = 256;

/// Bytes of letters delivered by one call of a script, about.
const BYTES_AT_ONCE: usize = 4 << 20;

/// Letters that have waited for less are on their way with whoever wrote them, in milliseconds.
const FRESH: u64 = 1000;

/// Errands of one queue, as arguments.
#[derive(Debug, Default)]
pub(super) struct Packed {
    pub(super) count: usize,
    pub(super) words: Vec<Vec<u8>>,
    /// Those that are kept for other queues.
    pub(super) letters: Vec<Letter>,
}

/// Errands for another queue.
#[derive(Debug)]
pub(super) struct Letter {
    id: String,
    from: QueueName,
    to: QueueName,
    packed: Packed,
}

impl Packed {
    /// Packs errands for a move of the queue `home`; `id` names that move.
    pub(super) fn new(home: &QueueName, errands: &[Errand], id: &str) -> Self {
        let mut packed = Self::default();
        for (place, errand) in errands.iter().enumerate() {
            packed.add(home, errand, &format!("{id}.{place}"));
        }
        packed
    }

    fn add(&mut self, home: &QueueName, errand: &Errand, id: &str) {
        self.count += 1;
        let to = target(errand);
        if to != home {
            let mut packed = Self::default();
            packed.add(to, errand, id);
            let letter = Letter {
                id: id.into(),
                from: home.clone(),
                to: to.clone(),
                packed,
            };
            self.word("O").word(id).word(letter.written());
            self.letters.push(letter);
            return;
        }
        match errand {
            Errand::Submit { queue, message } => {
                let submission = Submission { message, queue };
                let (record, long) = fresh(String::new(), &submission, 0);
                self.word("S")
                    .word(named(&submission))
                    .word(record)
                    .word(long);
            }
            Errand::Count(count) => {
                self.word("C")
                    .word(name(count.member.group))
                    .word(format!("{:08x}", count.member.index))
                    .word(if count.end.is_failed { "1" } else { "0" })
                    .word(name(count.end.uuid))
                    .word(&count.end.body)
                    .word(PAYLOAD_LIMIT.to_string());
            }
            Errand::Open(opening) => self.open(home, opening, id),
        }
    }

    fn open(&mut self, home: &QueueName, opening: &Opening, id: &str) {
        let members = Self::new(home, &opening.members, id);
        self.word("G")
            .word(name(opening.uuid))
            .word(written(&opening.record))
            .word(opening.record.members.len().to_string())
            .word(members.count.to_string());
        self.words.extend(members.words);
        self.letters.extend(members.letters);
    }

    fn word(&mut self, word: impl AsRef<[u8]>) -> &mut Self {
        self.words.push(word.as_ref().to_vec());
        self
    }

    /// Adds how many they are, and all of them, to a call.
    pub(super) fn give(&self, call: &mut Call) {
        call.number(u64::try_from(self.count).unwrap_or(u64::MAX));
        for word in &self.words {
            call.arg(word);
        }
    }

    fn len(&self) -> usize {
        self.words.iter().map(Vec::len).sum()
    }
}

impl Letter {
    /// As it is kept: the queue it is for, how many errands, and their words, each after its length.
    fn written(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.packed.len() + 64);
        let mut put = |word: &[u8]| {
            let len = u32::try_from(word.len()).expect("no message is that long");
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(word);
        };
        put(self.to.as_str().as_bytes());
        put(self.packed.count.to_string().as_bytes());
        self.packed.words.iter().for_each(|word| put(word));
        out
    }

    fn read(id: String, from: &QueueName, kept: &[u8]) -> Option<Self> {
        let mut rest = kept;
        let mut next = || {
            let (len, after) = rest.split_first_chunk::<4>()?;
            let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
            let (word, after) = after.split_at_checked(len)?;
            rest = after;
            Some(word)
        };
        let to = QueueName::new(std::str::from_utf8(next()?).ok()?).ok()?;
        let count = std::str::from_utf8(next()?).ok()?.parse().ok()?;
        let words = std::iter::from_fn(next).map(<[u8]>::to_vec).collect();
        Some(Self {
            id,
            from: from.clone(),
            to,
            packed: Packed {
                count,
                words,
                // What they are for other queues is kept with this one when they are delivered.
                letters: Vec::new(),
            },
        })
    }
}

const fn target(errand: &Errand) -> &QueueName {
    match errand {
        Errand::Submit { queue, .. } => queue,
        Errand::Count(count) => &count.member.home,
        Errand::Open(opening) => &opening.home,
    }
}

fn written(record: &GroupRecord) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record holds only text, numbers and checked JSON")
}

impl Store {
    /// Delivers letters that a move has just written, and those that they bring. What fails is left
    /// to upkeep. Says whether a group has become complete.
    pub(super) fn deliver_now(&self, mut letters: Vec<Letter>) -> bool {
        let mut has_completed = false;
        if !letters.is_empty() {
            fault::point("letters");
        }
        while !letters.is_empty() {
            match self.deliver_letters(&letters) {
                Ok(completed) => has_completed |= completed,
                Err(error) => {
                    let error = self.say(&error);
                    tracing::debug!(%error, "what follows in other queues is left to upkeep");
                    return has_completed;
                }
            }
            let inner = letters.into_iter().flat_map(|one| one.packed.letters);
            letters = inner.collect();
        }
        has_completed
    }

    fn deliver_letters(&self, letters: &[Letter]) -> Result<bool, Trouble> {
        let mut calls: Vec<Call> = Vec::new();
        let queues: Vec<&QueueName> = letters.iter().map(|letter| &letter.to).collect();
        let mut untold = self.lines.untold(queues.into_iter());
        untold.sort_unstable();
        untold.dedup();
        // First: a job lies in no queue that nobody can find.
        let told = usize::from(!untold.is_empty());
        calls.extend(self.tell_of(&untold));
        for some in by_target(letters) {
            let mut call = self.script(&DELIVER, &some[0].to);
            let count: usize = some.iter().map(|letter| letter.packed.count).sum();
            call.number(u64::try_from(count).unwrap_or(u64::MAX));
            for word in some.iter().flat_map(|letter| &letter.packed.words) {
                call.arg(word);
            }
            calls.push(call);
        }
        let answers = self.lines.attempt(&calls)?;
        self.lines.have_told(&untold);
        let mut has_completed = false;
        for (answer, call) in answers.into_iter().zip(&calls).skip(told) {
            has_completed |= self.note_completion(call.tag(), &list(answer)?)?;
        }
        fault::point("delivered");
        // Forgotten only now: a letter whose delivery failed is still there.
        let mut gone: Vec<Call> = Vec::new();
        let mut froms: Vec<&QueueName> = letters.iter().map(|letter| &letter.from).collect();
        froms.sort_unstable();
        froms.dedup();
        for from in froms {
            let mut call = self.script(&DELIVERED, from);
            for letter in letters.iter().filter(|letter| letter.from == *from) {
                call.arg(&letter.id);
            }
            gone.push(call);
        }
        self.lines.attempt(&gone)?;
        Ok(has_completed)
    }

    /// The second part of a script's answer: whether a group of its queue is complete.
    pub(super) fn note_completion(&self, tag: &str, answer: &[Value]) -> Result<bool, Trouble> {
        let is_complete = number(answer.last().ok_or_else(nonsense)?)? == 1;
        if is_complete {
            self.remember_complete(tag);
        }
        Ok(is_complete)
    }

    /// Delivers letters that have waited for a while.
    pub(super) fn deliver_old(&self, limit: usize) -> Result<usize, BrokerError> {
        let queues = self.next_queues(&self.rounds.letters)?;
        self.deliver_from(&queues, limit, FRESH)
    }

    /// Delivers what was kept with the queues that these letters are from, if it was kept: of moves
    /// that may have found nothing to do.
    pub(super) fn deliver_kept(&self, letters: &[Letter]) -> Result<(), BrokerError> {
        let mut queues: Vec<_> = letters.iter().map(|letter| letter.from.clone()).collect();
        queues.sort();
        queues.dedup();
        match self.deliver_from(&queues, letters.len(), 0) {
            // Upkeep does it.
            Ok(_) | Err(BrokerError::Away { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn deliver_from(
        &self,
        queues: &[QueueName],
        limit: usize,
        age: u64,
    ) -> Result<usize, BrokerError> {
        let answers = self.on_each(queues, &UNDELIVERED, |call| {
            call.number(u64::try_from(limit).unwrap_or(u64::MAX))
                .number(age);
        })?;
        let mut letters = Vec::new();
        for (from, answer) in queues.iter().zip(answers) {
            letters.extend(kept(answer, from).map_err(|trouble| self.say(&trouble))?);
        }
        letters.truncate(limit);
        let count = letters.len();
        if count > 0 {
            self.deliver_letters(&letters)
                .map_err(|trouble| self.say(&trouble))?;
        }
        Ok(count)
    }
}

/// Letters of a queue; one that makes no sense is a later version's, and is left alone.
fn kept(answer: Value, from: &QueueName) -> Result<Vec<Letter>, Trouble> {
    let mut items = list(answer)?.into_iter();
    let mut letters = Vec::new();
    while let (Some(id), Some(entry)) = (items.next(), items.next()) {
        let id = String::from_utf8(bytes(id)?).map_err(|_| nonsense())?;
        letters.extend(Letter::read(id, from, &bytes(entry)?));
    }
    Ok(letters)
}

/// Letters in parts of one target each that are not too large.
fn by_target(letters: &[Letter]) -> Vec<Vec<&Letter>> {
    let mut parts: Vec<(Vec<&Letter>, usize)> = Vec::new();
    for letter in letters {
        let len = letter.packed.len();
        let open = parts.iter_mut().rev().find(|(part, bytes)| {
            part[0].to == letter.to && part.len() < AT_ONCE && *bytes + len <= BYTES_AT_ONCE
        });
        match open {
            Some((part, bytes)) => {
                part.push(letter);
                *bytes += len;
            }
            None => parts.push((vec![letter], len)),
        }
    }
    parts.into_iter().map(|(part, _)| part).collect()
}
