//! How long those wait who try again to reach a store that is away.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Before any spreading, in milliseconds: for ever the last one.
const PAUSES: [u64; 7] = [50, 100, 200, 400, 800, 1600, 3000];

/// The pause after so many failures in a row: at random between a third and the whole of what it
/// grows to, so that all who lost a store at the same moment do not come back at the same moment.
#[must_use]
pub fn pause(failures: usize) -> Duration {
    let most = PAUSES[failures.min(PAUSES.len() - 1)];
    // Every state has other keys, so what it makes of nothing is as good as a throw of dice.
    let random = RandomState::new().hash_one(());
    Duration::from_millis(most / 3 + random % (most - most / 3 + 1))
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
