//! How often an address may name a run or a token that nobody knows. Each time the ledger is asked,
//! so it is bounded; whoever is known is not counted.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::connections::household;

/// How many addresses are remembered; those beyond share one count.
const MAX_ADDRESSES: usize = 16_384;

/// What all addresses have asked in vain.
///
/// The generic cell rate algorithm, as in the crate that paces the runs' requests, which has no way
/// to give back what was taken: only questions that were asked in vain count.
#[derive(Debug)]
pub struct Strangers {
    interval: Duration,
    burst: Duration,
    due: Mutex<HashMap<IpAddr, Instant>>,
}

impl Strangers {
    /// At most `burst` questions at once, and one more at each `interval`.
    pub fn new(burst: u32, interval: Duration) -> Self {
        Self { interval, burst: interval * burst, due: Mutex::default() }
    }

    /// Whether `address` may ask a question.
    ///
    /// # Errors
    /// If it has asked too many in vain: how long until the next.
    pub fn check(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let until = self.due.lock().get(&household(address)).copied().unwrap_or(now).max(now);
        let ahead = (until + self.interval).duration_since(now);
        if ahead > self.burst { Err(ahead - self.burst) } else { Ok(()) }
    }

    /// Takes a question of `address`.
    ///
    /// # Errors
    /// If it has asked too many in vain: how long until the next.
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<Question<'_>, Duration> {
        let mut due = self.due.lock();
        let mut address = household(address);
        if due.len() >= MAX_ADDRESSES && !due.contains_key(&address) {
            due.retain(|_, until| *until > now);
            if due.len() >= MAX_ADDRESSES {
                address = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        let until = due.get(&address).copied().unwrap_or(now).max(now);
        let next = until + self.interval;
        let ahead = next.duration_since(now);
        if ahead > self.burst {
            return Err(ahead - self.burst);
        }
        due.insert(address, next);
        Ok(Question { of: self, address })
    }

    /// Forgets addresses that have not asked in vain for a while.
    pub fn forget(&self, now: Instant) {
        self.due.lock().retain(|_, until| *until > now);
    }

    /// How many addresses are remembered.
    pub fn remembered(&self) -> usize {
        self.due.lock().len()
    }
}

/// A question that counts, unless it turns out that somebody is known.
#[derive(Debug)]
pub struct Question<'a> {
    of: &'a Strangers,
    address: IpAddr,
}

impl Question<'_> {
    /// It was no stranger.
    pub fn give_back(self) {
        let mut due = self.of.due.lock();
        if let Some(until) = due.get_mut(&self.address) {
            *until = until.checked_sub(self.of.interval).unwrap_or(*until);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn only_questions_in_vain_count_and_only_for_their_address() {
        let strangers = Strangers::new(2, SECOND);
        let now = Instant::now();
        for _ in 0..100 {
            strangers.take(address(1), now).unwrap().give_back();
        }
        strangers.take(address(1), now).unwrap();
        strangers.take(address(1), now).unwrap();
        assert_eq!(strangers.take(address(1), now).unwrap_err(), SECOND);
        assert!(strangers.take(address(2), now).is_ok());
        assert!(strangers.take(address(1), now + SECOND).is_ok());
        assert!(strangers.take(address(1), now + SECOND).is_err());
    }

    #[test]
    fn a_flood_of_addresses_is_forgotten_and_bounded() {
        let strangers = Strangers::new(2, SECOND);
        let now = Instant::now();
        for number in 0..2 * u32::try_from(MAX_ADDRESSES).unwrap() {
            let _asked = strangers.take(std::net::Ipv4Addr::from(number).into(), now);
        }
        assert!(strangers.remembered() <= MAX_ADDRESSES + 1);
        strangers.forget(now + 10 * SECOND);
        assert_eq!(strangers.remembered(), 0);
    }
}
