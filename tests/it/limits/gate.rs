//! All limits of a call together.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;
use rungate::domain::limits::Limits;
use rungate::limits::Concurrency;
use rungate::limits::gate::{Entered, Refused, SCOPES, Scope, Told, Whose, enter};
use rungate::limits::pace::Pace;
use rungate::limits::rate::{Kind, RateStanding};

const EVERYBODY: [Whose; SCOPES] = [Whose::Run, Whose::Key, Whose::Organization, Whose::Endpoint];

/// A run, a key, an organization and an endpoint with their limits.
struct World {
    clock: FakeRelativeClock,
    limits: [Limits; SCOPES],
    paces: [Option<Arc<Pace<FakeRelativeClock>>>; SCOPES],
    places: [Arc<Concurrency>; SCOPES],
}

impl World {
    fn new(limits: [Limits; SCOPES]) -> Self {
        let clock = FakeRelativeClock::default();
        let paces = limits.map(|limits| Pace::new(&limits, &clock));
        Self { clock, limits, paces, places: Default::default() }
    }

    fn call(&self, tokens: u64) -> (Told, Result<Entered<FakeRelativeClock>, Refused>) {
        let scope = |nth: usize| Scope {
            whose: EVERYBODY[nth],
            pace: self.paces[nth].as_ref(),
            places: self.limits[nth].max_concurrency.map(|most| (&self.places[nth], most)),
        };
        enter(&[scope(0), scope(1), scope(2), scope(3)], tokens)
    }

    /// Everything that is taken of anything.
    fn stands(&self) -> (Vec<RateStanding>, [u32; SCOPES]) {
        let rates = self.paces.iter().flatten().flat_map(|pace| pace.rates());
        let taken = self.places.each_ref().map(|places| places.taken());
        (rates.map(|rate| rate.standing()).collect(), taken)
    }
}

fn per_minute(requests: u32) -> Limits {
    Limits { requests_per_minute: Some(requests), ..Limits::default() }
}

fn tokens(tokens: u32) -> Limits {
    Limits { tokens_per_minute: Some(tokens), ..Limits::default() }
}

fn at_once(calls: u32) -> Limits {
    Limits { max_concurrency: Some(calls), ..Limits::default() }
}

fn limits() -> impl Strategy<Value = Limits> {
    let some = |most: u32| prop::option::of(1..most);
    (some(6), some(40), some(900), some(5)).prop_map(|(second, minute, tokens, calls)| Limits {
        requests_per_second: second,
        requests_per_minute: minute,
        tokens_per_minute: tokens,
        max_concurrency: calls,
    })
}

fn everybodys_limits() -> impl Strategy<Value = [Limits; SCOPES]> {
    [limits(), limits(), limits(), limits()]
}

proptest! {
    #[test]
    fn whoever_comes_back_when_told_is_let_in(
        limits in everybodys_limits(),
        calls in prop::collection::vec((0..300_u64, 0..5_000_u64, 0..400_u64), 1..40),
    ) {
        let world = World::new(limits);
        for (tokens, millis, used) in calls {
            world.clock.advance(Duration::from_millis(millis));
            let (_, entered) = world.call(tokens);
            let entered = match entered {
                Err(Refused::TooSoon { wait, .. }) => {
                    prop_assert!(!wait.is_zero());
                    world.clock.advance(wait - Duration::from_nanos(1));
                    let early = matches!(world.call(tokens).1, Err(Refused::TooSoon { .. }));
                    prop_assert!(early, "it could have come earlier than it was told");
                    world.clock.advance(Duration::from_nanos(1));
                    world.call(tokens).1
                }
                other => other,
            };
            match entered {
                Ok(mut entered) => entered.note_used(used),
                Err(Refused::TooLarge { limit, .. }) => prop_assert!(u64::from(limit) < tokens),
                Err(refused) => prop_assert!(false, "{refused:?}"),
            }
        }
    }

    #[test]
    fn a_refusal_takes_nothing_of_anything(
        limits in everybodys_limits(),
        calls in prop::collection::vec((0..400_u64, 0..2_000_u64), 1..60),
    ) {
        let world = World::new(limits);
        let mut under_way = Vec::new();
        for (tokens, millis) in calls {
            world.clock.advance(Duration::from_millis(millis));
            let before = world.stands();
            match world.call(tokens).1 {
                Ok(entered) => under_way.push(entered),
                Err(_) => prop_assert_eq!(world.stands(), before),
            }
        }
        under_way.clear();
        prop_assert_eq!(world.stands().1, [0; SCOPES]);
    }
}

#[test]
fn of_several_that_refuse_the_longest_wait_is_told() {
    let slow = Limits { requests_per_second: Some(1), ..per_minute(2) };
    let world = World::new([slow, per_minute(1), per_minute(4), Limits::default()]);
    assert!(world.call(0).1.is_ok());
    let wait = Duration::from_secs(60);
    let told =
        Refused::TooSoon { whose: Whose::Key, kind: Kind::RequestsPerMinute, limit: 1, wait };
    assert_eq!(world.call(0).1.err(), Some(told));
    world.clock.advance(wait);
    assert!(world.call(0).1.is_ok());
}

#[test]
fn pace_is_refused_before_places_and_size_before_both() {
    let everything =
        Limits { max_concurrency: Some(1), tokens_per_minute: Some(10), ..per_minute(1) };
    let world = World::new([at_once(1), everything, Limits::default(), Limits::default()]);
    let _first = world.call(1).1.unwrap();
    assert!(matches!(world.call(11).1, Err(Refused::TooLarge { whose: Whose::Key, limit: 10 })));
    assert!(matches!(world.call(1).1, Err(Refused::TooSoon { whose: Whose::Key, .. })));
    world.clock.advance(Duration::from_secs(60));
    assert!(matches!(world.call(1).1, Err(Refused::TooMany { whose: Whose::Run, limit: 1 })));
}

#[test]
fn the_tightest_limit_is_told() {
    let world = World::new([per_minute(9), per_minute(5), tokens(1000), tokens(300)]);
    let (told, _entered) = world.call(100);
    let stands = |limit, remaining, seconds| RateStanding {
        limit,
        remaining,
        reset: Duration::from_secs(seconds),
    };
    assert_eq!(told.requests, Some(stands(5, 4, 12)));
    assert_eq!(told.tokens, Some(stands(300, 200, 20)));
    let (nothing, _entered) = World::new(Default::default()).call(100);
    assert_eq!(nothing, Told::default());
}

#[test]
fn a_call_is_corrected_to_the_tokens_that_it_used() {
    let world = World::new([Limits::default(), tokens(600), tokens(6000), Limits::default()]);
    let left = || world.stands().0.iter().map(|rate| rate.remaining).collect::<Vec<_>>();
    let mut entered = world.call(500).1.unwrap();
    assert_eq!(left(), [100, 5500]);
    // Two attempts of one call.
    entered.note_used(20);
    entered.note_used(30);
    drop(entered);
    assert_eq!(left(), [550, 5950]);
    let mut broken = world.call(50).1.unwrap();
    broken.note_used(650);
    drop(broken);
    // What a provider made beyond the worst case keeps later calls waiting.
    assert_eq!(left(), [0, 5300]);
    let wait = Duration::from_secs(11);
    assert!(matches!(world.call(10).1, Err(Refused::TooSoon { wait: told, .. }) if told == wait));
    drop(world.call(0).1.unwrap());
}

#[test]
fn many_at_once_are_never_more_than_any_limit_and_leave_the_others_as_they_were() {
    let world = World::new([per_minute(1000), per_minute(60), at_once(40), tokens(30_000)]);
    let entered: usize = thread::scope(|scope| {
        let crowd: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let calls = (0..100).filter_map(|_| world.call(100).1.ok());
                    // They stay until everybody has called.
                    calls.collect::<Vec<_>>()
                })
            })
            .collect();
        let entered: Vec<_> = crowd.into_iter().flat_map(|one| one.join().unwrap()).collect();
        assert_eq!(world.stands().1, [0, 0, u32::try_from(entered.len()).unwrap(), 0]);
        entered.len()
    });
    assert!((1..=40).contains(&entered), "{entered}");
    let left: Vec<u32> = world.stands().0.iter().map(|rate| rate.remaining).collect();
    let entered = u32::try_from(entered).unwrap();
    assert_eq!(left, [1000 - entered, 60 - entered, 30_000]);
}
