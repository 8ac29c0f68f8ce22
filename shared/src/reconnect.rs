//! How long those wait who try again to reach a store that is away, or look at it now and then.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::time::millis;

/// Before any spreading, in milliseconds: for ever the last one.
const PAUSES: [u64; 7] = [50, 100, 200, 400, 800, 1600, 3000];

/// The pause after so many failures in a row: at random between a third and the whole of what it
/// grows to, so that all who lost a store at the same moment do not come back at the same moment.
#[must_use]
pub fn pause(failures: usize) -> Duration {
    let most = PAUSES[failures.min(PAUSES.len() - 1)];
    Duration::from_millis(between(most / 3, most))
}

/// About as long: up to a fifth more or less, so that many do not keep step.
#[must_use]
pub fn spread(length: Duration) -> Duration {
    let ms = millis(length);
    Duration::from_millis(between(ms - ms / 5, ms + ms / 5))
}

fn between(least: u64, most: u64) -> u64 {
    // Every state has other keys, so what it makes of nothing is as good as a throw of dice.
    let random = RandomState::new().hash_one(());
    least + random % (most - least + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_spread() {
        let all: Vec<_> = (0..200).map(|_| pause(100)).collect();
        assert!(
            all.iter()
                .all(|one| (1000..=3000).contains(&one.as_millis()))
        );
        assert!(all.iter().any(|one| *one != all[0]), "{:?}", all[0]);
        assert!(pause(0) <= Duration::from_millis(50));
    }
}
