//! The rates that calls of one run, key or organization fall under together.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::{Clock, DefaultClock};
use parking_lot::RwLock;

use crate::domain::limits::Limits;

use super::rate::{Kind, Rate};

/// Rates, of which there is at least one.
pub struct Pace<C: Clock = DefaultClock> {
    rates: Vec<Rate<C>>,
}

impl<C: Clock + Clone> Pace<C> {
    /// The rates among these limits, of which nothing is taken; `None` if there are none.
    pub fn new(limits: &Limits, clock: &C) -> Option<Arc<Self>> {
        let rates: Vec<_> = [
            (Kind::RequestsPerSecond, limits.requests_per_second),
            (Kind::RequestsPerMinute, limits.requests_per_minute),
            (Kind::TokensPerMinute, limits.tokens_per_minute),
        ]
        .into_iter()
        .filter_map(|(kind, limit)| Some((kind, NonZeroU32::new(limit?)?)))
        .map(|(kind, limit)| Rate::new(kind, limit, clock.clone()))
        .collect();
        (!rates.is_empty()).then(|| Arc::new(Self { rates }))
    }
}

impl<C: Clock> Pace<C> {
    /// Its rates.
    pub fn rates(&self) -> &[Rate<C>] {
        &self.rates
    }

    /// Its rate of tokens, if there is one.
    pub fn tokens(&self) -> Option<&Rate<C>> {
        self.rates.iter().find(|rate| rate.kind() == Kind::TokensPerMinute)
    }
}

/// Limits that may change while calls are under way.
pub struct Paced {
    held: RwLock<Held>,
}

/// The limits at a moment.
#[derive(Clone)]
pub struct Held {
    /// What they are.
    pub limits: Limits,
    /// How much of the rates is taken.
    pub pace: Option<Arc<Pace>>,
}

impl Paced {
    /// Limits of which nothing is taken.
    pub fn new(limits: Limits) -> Self {
        Self { held: RwLock::new(Held::new(limits)) }
    }

    /// The limits as they are now.
    pub fn now(&self) -> Held {
        self.held.read().clone()
    }

    /// Takes in what the limits are from now on. If they are others, nothing of them is taken.
    pub fn set(&self, limits: Limits) {
        let mut held = self.held.write();
        if held.limits != limits {
            *held = Held::new(limits);
        }
    }
}

impl Held {
    fn new(limits: Limits) -> Self {
        Self { limits, pace: Pace::new(&limits, &DefaultClock::default()) }
    }
}
