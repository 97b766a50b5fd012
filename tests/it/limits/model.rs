//! One limit, held against a bucket that is as simple as it can be.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;
use rungate::domain::limits::Limits;
use rungate::limits::rate::{Kind, Over, Rate, RateStanding};

const SECOND: u64 = 1_000_000_000;

/// What happens to a limit.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Take(u32),
    GiveBack(u32),
    Charge(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..20 * SECOND).prop_map(Step::Pass),
        (0..150_u32).prop_map(Step::Take),
        Just(Step::Take(1)),
        (0..50_u32).prop_map(Step::GiveBack),
        (0..150_u64).prop_map(Step::Charge),
    ];
    prop::collection::vec(step, 1..80)
}

/// Nanoseconds until it is full, and what one takes of them.
struct Bucket {
    missing: u64,
    interval: u64,
    limit: u32,
}

impl Bucket {
    fn take(&mut self, count: u32) -> Result<(), Over> {
        let (after, whole) = (self.missing + self.of(count), self.of(self.limit));
        if count > self.limit {
            return Err(Over::ForEver);
        }
        if count > 0 && after > whole {
            return Err(Over::For(Duration::from_nanos(after - whole)));
        }
        self.missing = after;
        Ok(())
    }

    fn of(&self, count: u32) -> u64 {
        u64::from(count) * self.interval
    }

    fn standing(&self) -> RateStanding {
        let left = self.of(self.limit).saturating_sub(self.missing) / self.interval;
        RateStanding {
            limit: self.limit,
            remaining: u32::try_from(left).unwrap(),
            reset: Duration::from_nanos(self.missing),
        }
    }
}

proptest! {
    #[test]
    fn a_rate_is_a_bucket_that_fills_evenly(
        limit in 1..120_u32,
        kind in prop_oneof![
            Just(Kind::RequestsPerSecond),
            Just(Kind::RequestsPerMinute),
            Just(Kind::TokensPerMinute),
        ],
        steps in steps(),
    ) {
        let clock = FakeRelativeClock::default();
        let rate = Rate::new(kind, NonZeroU32::new(limit).unwrap(), clock.clone());
        let window = if kind == Kind::RequestsPerSecond { SECOND } else { 60 * SECOND };
        let mut bucket = Bucket { missing: 0, interval: window / u64::from(limit), limit };
        for step in steps {
            match step {
                Step::Pass(nanos) => {
                    clock.advance(Duration::from_nanos(nanos));
                    bucket.missing = bucket.missing.saturating_sub(nanos);
                }
                Step::Take(count) => prop_assert_eq!(rate.take(count), bucket.take(count)),
                Step::GiveBack(count) => {
                    rate.give_back(count);
                    bucket.missing = bucket.missing.saturating_sub(bucket.of(count));
                }
                Step::Charge(count) => {
                    rate.charge(count);
                    bucket.missing += bucket.of(u32::try_from(count).unwrap());
                }
            }
            prop_assert_eq!(rate.standing(), bucket.standing());
        }
    }

    #[test]
    fn the_shares_of_all_gateways_are_at_most_the_whole(
        limit in 1..1000_u32,
        gateways in 1..50_u32,
    ) {
        let whole = Limits {
            requests_per_second: Some(limit),
            requests_per_minute: Some(limit),
            tokens_per_minute: None,
            max_concurrency: Some(limit),
        };
        let part = whole.share(NonZeroU32::new(gateways).unwrap());
        let share = part.requests_per_minute.unwrap();
        prop_assert!(share * gateways <= limit || share == 1);
        prop_assert!(share >= 1 && (share + 1) * gateways > limit);
        prop_assert_eq!(part.requests_per_second, Some(share));
        prop_assert_eq!((part.tokens_per_minute, part.max_concurrency), (None, Some(share)));
    }
}

#[test]
fn many_at_once_take_no_more_than_there_is() {
    let clock = FakeRelativeClock::default();
    let rate = Rate::new(Kind::RequestsPerMinute, NonZeroU32::new(500).unwrap(), clock);
    let taken = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    if rate.take(1).is_ok() {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(taken.into_inner(), 500);
    assert_eq!(rate.standing().remaining, 0);
}
