//! How often a login may fail, by whatever it is counted by: an address, a name.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How many are remembered; those beyond share one count.
const MAX_REMEMBERED: usize = 16_384;

/// What has failed of late: at most `burst` at once, and one more at each interval. A try is taken
/// before it is made, so that many at once do not slip through, and given back if it succeeds.
#[derive(Debug)]
pub struct Failures {
    interval: Duration,
    burst: Duration,
    hasher: RandomState,
    due: Mutex<HashMap<u64, Instant>>,
}

/// A try that counts unless it is given back.
#[derive(Debug)]
pub struct Try<'a> {
    of: &'a Failures,
    key: u64,
}

impl Failures {
    /// At most `burst` failures at once, and one more at each `interval`.
    pub fn new(burst: u32, interval: Duration) -> Self {
        let hasher = RandomState::new();
        Self { interval, burst: interval * burst, hasher, due: Mutex::default() }
    }

    /// Whether there is a try left.
    ///
    /// # Errors
    /// If too many have failed: how long until the next.
    pub fn check(&self, whose: impl Hash, now: Instant) -> Result<(), Duration> {
        let key = self.hasher.hash_one(whose);
        let until = self.due.lock().get(&key).copied().unwrap_or(now).max(now);
        let ahead = (until + self.interval).duration_since(now);
        if ahead > self.burst { Err(ahead - self.burst) } else { Ok(()) }
    }

    /// Takes a try.
    ///
    /// # Errors
    /// If too many have failed: how long until the next.
    pub fn take(&self, whose: impl Hash, now: Instant) -> Result<Try<'_>, Duration> {
        let mut key = self.hasher.hash_one(whose);
        let mut due = self.due.lock();
        if due.len() >= MAX_REMEMBERED && !due.contains_key(&key) {
            due.retain(|_, until| *until > now);
            if due.len() >= MAX_REMEMBERED {
                key = 0;
            }
        }
        let next = due.get(&key).copied().unwrap_or(now).max(now) + self.interval;
        let ahead = next.duration_since(now);
        if ahead > self.burst {
            return Err(ahead - self.burst);
        }
        due.insert(key, next);
        Ok(Try { of: self, key })
    }
}

impl Try<'_> {
    /// It did not fail.
    pub fn give_back(self) {
        if let Some(until) = self.of.due.lock().get_mut(&self.key) {
            *until = until.checked_sub(self.of.interval).unwrap_or(*until);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_what_fails_counts_and_only_where_it_failed() {
        let failures = Failures::new(2, SECOND);
        let now = Instant::now();
        for _ in 0..100 {
            failures.take("anna", now).unwrap().give_back();
        }
        let _first = failures.take("anna", now).unwrap();
        let _second = failures.take("anna", now).unwrap();
        assert_eq!(failures.take("anna", now).unwrap_err(), SECOND);
        assert_eq!(failures.check("anna", now), Err(SECOND));
        assert_eq!(failures.check("berta", now), Ok(()));
        assert!(failures.take("berta", now).is_ok());
        assert!(failures.take("anna", now + SECOND).is_ok());
        assert!(failures.take("anna", now + SECOND).is_err());
    }

    #[test]
    fn a_flood_of_names_is_bounded() {
        let failures = Failures::new(2, SECOND);
        let now = Instant::now();
        for number in 0..2 * MAX_REMEMBERED {
            let _failed = failures.take(number, now);
        }
        assert!(failures.due.lock().len() <= MAX_REMEMBERED + 1);
    }
}
