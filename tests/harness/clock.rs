//! Clocks that move only when told.

use std::sync::Mutex;
use std::time::Duration;

use bulkhead_shared::Timestamp;
use bulkhead_shared::sqlite::Clock;

/// A wall clock and a boot clock in the hands of a test.
#[derive(Debug)]
pub struct TestClock(Mutex<Hands>);

#[derive(Debug, Clone, Copy)]
struct Hands {
    wall: Timestamp,
    since_boot: Duration,
    boot_id: [u8; 16],
    latest: Timestamp,
}

impl TestClock {
    /// The time at which all tests begin.
    pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    /// A clock at [`TestClock::START`].
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new(Hands {
            wall: Self::START,
            since_boot: Duration::from_secs(1000),
            boot_id: [1; 16],
            latest: Self::START,
        }))
    }

    fn hands<T>(&self, act: impl FnOnce(&mut Hands) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.hands(|hands| {
            hands.wall = hands.wall.plus(time);
            hands.since_boot += time;
        });
    }

    /// Sets the wall clock alone.
    pub fn set_wall(&self, wall: Timestamp) {
        self.hands(|hands| hands.wall = wall);
    }

    /// The latest time that the wall clock has shown, and the time since boot: what a server's
    /// clock is, as long as nobody sets that one back.
    #[must_use]
    pub fn forward(&self) -> (Timestamp, Duration) {
        self.hands(|hands| {
            hands.latest = hands.latest.max(hands.wall);
            (hands.latest, hands.since_boot)
        })
    }

    /// Starts the machine anew: the boot clock begins again, the wall clock goes on.
    pub fn reboot(&self) {
        self.hands(|hands| {
            hands.since_boot = Duration::from_secs(1);
            hands.boot_id[0] += 1;
        });
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        self.hands(|hands| hands.wall)
    }
    fn since_boot(&self) -> Duration {
        self.hands(|hands| hands.since_boot)
    }
    fn boot_id(&self) -> [u8; 16] {
        self.hands(|hands| hands.boot_id)
    }
}
