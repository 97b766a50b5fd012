//! One limit of so much in a second or a minute, refilled evenly.
//!
//! The generic cell rate algorithm of the `governor` crate, which keeps one number: when everything
//! that was taken is back. That number is kept here, because what was taken may be given back.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference as _};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

/// What a limit counts, and in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests in a second.
    RequestsPerSecond,
    /// Requests in a minute.
    RequestsPerMinute,
    /// Tokens in a minute.
    TokensPerMinute,
}

/// Where a limit stands, as the `x-ratelimit-*` headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStanding {
    /// The most in its second or minute.
    pub limit: u32,
    /// What would be admitted right now.
    pub remaining: u32,
    /// Until all of it is back, if nothing else is taken.
    pub reset: Duration,
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// It fits after this time, if nothing else is taken meanwhile.
    For(Duration),
    /// It is more than the limit.
    ForEver,
}

/// When everything that was taken is back, in nanoseconds after the start; 0 before the first time.
#[derive(Clone, Debug, Default)]
struct Due(Arc<AtomicU64>);

impl StateStore for Due {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut due = self.0.load(Ordering::Acquire);
        loop {
            let (told, next) = decide(NonZeroU64::new(due).map(|due| due.get().into()))?;
            let swapped =
                self.0.compare_exchange_weak(due, next.into(), Ordering::AcqRel, Ordering::Acquire);
            match swapped {
                Ok(_) => return Ok(told),
                Err(other) => due = other,
            }
        }
    }
}

impl Due {
    fn change(&self, change: impl Fn(u64) -> u64) {
        let change = |due| Some(change(due));
        // It always has a new value, so this cannot fail.
        let _before = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
    }
}

/// A limit.
pub struct Rate<C: Clock = DefaultClock> {
    kind: Kind,
    limit: NonZeroU32,
    /// Nanoseconds in which one is refilled.
    interval: u64,
    due: Due,
    start: C::Instant,
    limiter: RateLimiter<NotKeyed, Due, C, NoOpMiddleware<C::Instant>>,
}

impl<C: Clock> Rate<C> {
    /// A limit of which nothing is taken.
    pub fn new(kind: Kind, limit: NonZeroU32, clock: C) -> Self {
        let quota = match kind {
            Kind::RequestsPerSecond => Quota::per_second(limit),
            Kind::RequestsPerMinute | Kind::TokensPerMinute => Quota::per_minute(limit),
        };
        let (due, start) = (Due::default(), clock.now());
        let interval = Nanos::from(quota.replenish_interval()).as_u64().max(1);
        let limiter = RateLimiter::new(quota, due.clone(), clock);
        Self { kind, limit, interval, due, start, limiter }
    }

    /// What it counts.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The most in its second or minute.
    pub const fn limit(&self) -> u32 {
        self.limit.get()
    }

    /// Takes `count` at once.
    ///
    /// # Errors
    /// If that much is not there; then nothing is taken.
    pub fn take(&self, count: u32) -> Result<(), Over> {
        let Some(count) = NonZeroU32::new(count) else { return Ok(()) };
        // The limiter multiplies before it compares.
        if count > self.limit {
            return Err(Over::ForEver);
        }
        match self.limiter.check_n(count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(Over::For(until.wait_time_from(self.limiter.clock().now()))),
            Err(_more_than_the_limit) => Err(Over::ForEver),
        }
    }

    /// Undoes a part of what was taken. There is never more than the limit.
    pub fn give_back(&self, count: u32) {
        let time = self.interval.saturating_mul(count.into());
        self.due.change(|due| due.saturating_sub(time));
    }

    /// Takes `count` that was used already, whether it is there or not: what comes later waits.
    pub fn charge(&self, count: u64) {
        let (now, time) = (self.now(), self.interval.saturating_mul(count));
        self.due.change(|due| due.max(now).saturating_add(time));
    }

    /// Where it stands.
    pub fn standing(&self) -> RateStanding {
        let ahead = self.due.0.load(Ordering::Acquire).saturating_sub(self.now());
        let whole = self.interval.saturating_mul(self.limit().into());
        let remaining = whole.saturating_sub(ahead) / self.interval;
        RateStanding {
            limit: self.limit(),
            remaining: u32::try_from(remaining).unwrap_or(self.limit()),
            reset: Duration::from_nanos(ahead),
        }
    }

    fn now(&self) -> u64 {
        self.limiter.clock().now().duration_since(self.start).as_u64()
    }
}
