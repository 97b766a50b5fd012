//! What is bounded within one gateway process: a run's calls at once and a minute, connections, the
//! bytes of bodies, questions of strangers.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

pub mod connections;
pub mod bodies;
pub mod strangers;
pub mod failures;

/// How many calls of one run are under way on this gateway, waiting ones included.
#[derive(Debug, Default)]
pub struct Concurrency {
    taken: AtomicU32,
}

/// One call's place among those under way. It lives in the call, not in its handler.
#[derive(Debug)]
pub struct Permit {
    of: Arc<Concurrency>,
}

impl Concurrency {
    /// Takes a place unless `limit` are taken.
    pub fn try_enter(self: &Arc<Self>, limit: u32) -> Option<Permit> {
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < limit).then(|| taken + 1)
            })
            .ok()
            .map(|_| Permit { of: Arc::clone(self) })
    }

    /// How many places are taken.
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A limit on requests a minute, refilled evenly.
pub struct RequestRate {
    limit: NonZeroU32,
    limiter: RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
}

/// Where a rate limit stands, as the `x-ratelimit-*` headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStanding {
    /// Requests a minute.
    pub limit: u32,
    /// Requests that would be admitted right now.
    pub remaining: u32,
    /// Until another one is admitted beyond those.
    pub reset: Duration,
}

impl RequestRate {
    /// A limiter for this many requests a minute.
    pub fn per_minute(limit: NonZeroU32) -> Self {
        let limiter = RateLimiter::direct(Quota::per_minute(limit)).with_middleware();
        Self { limit, limiter }
    }

    /// Takes one request.
    ///
    /// # Errors
    /// If the limit is reached; the standing says when to come back.
    pub fn take(&self) -> Result<RateStanding, RateStanding> {
        let interval = Duration::from_secs(60) / self.limit.get();
        match self.limiter.check() {
            Ok(state) => Ok(RateStanding {
                limit: self.limit.get(),
                remaining: state.remaining_burst_capacity(),
                reset: interval,
            }),
            Err(not_until) => Err(RateStanding {
                limit: self.limit.get(),
                remaining: 0,
                reset: not_until.wait_time_from(DefaultClock::default().now()),
            }),
        }
    }
}
