//! Numbers for the kinds of jobs that a process may serve one after the other.

use std::collections::HashMap;

use bulkhead_shared::TaskName;

/// Most that are told apart at once: a message may ask for any `memory`, so there are as many kinds
/// as somebody likes.
const MOST: usize = 4096;

/// The number of each kind: a task, and the memory that its jobs may have.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    numbers: HashMap<(TaskName, Option<u64>), u32>,
    /// Goes on also when all are forgotten: a process that lives is of no other kind than it was.
    next: u32,
}

impl Kinds {
    pub(super) fn number(&mut self, task: &TaskName, memory: Option<u64>) -> u32 {
        let kind = (task.clone(), memory);
        if let Some(&number) = self.numbers.get(&kind) {
            return number;
        }
        if self.numbers.len() >= MOST {
            // Their processes are replaced once.
            self.numbers.clear();
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.numbers.insert(kind, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_kinds_there_are_few_are_kept_and_none_has_the_number_of_another() {
        let mut kinds = Kinds::default();
        let task = TaskName::new("add").unwrap();
        let first = kinds.number(&task, None);
        assert_eq!(kinds.number(&task, None), first);
        let mut last = first;
        for memory in 0..10 * MOST as u64 {
            let number = kinds.number(&task, Some(memory));
            assert!(number > last);
            assert_eq!(kinds.number(&task, Some(memory)), number);
            last = number;
        }
        assert!(kinds.numbers.len() <= MOST);
        assert!(kinds.number(&task, None) > last);
    }
}
