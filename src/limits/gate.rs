//! All limits that a call falls under, taken together or not at all.

use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};

use super::pace::Pace;
use super::rate::{Kind, Over, Rate, RateStanding};
use super::{Concurrency, Permit};

/// How many scopes a call may fall under.
pub const SCOPES: usize = 4;

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The run's.
    Run,
    /// The key's.
    Key,
    /// The organization's.
    Organization,
    /// Of one endpoint, for each run or key.
    Endpoint,
}

/// The limits of one scope.
pub struct Scope<'a, C: Clock = DefaultClock> {
    /// Whose they are.
    pub whose: Whose,
    /// Its rates, if it has any.
    pub pace: Option<&'a Arc<Pace<C>>>,
    /// Its calls under way and the most of them, if there is a most.
    pub places: Option<(&'a Arc<Concurrency>, u32)>,
}

/// The tightest limits, as they stand after a call was let in or refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Of those on requests, the one that has the fewest left.
    pub requests: Option<RateStanding>,
    /// Of those on tokens.
    pub tokens: Option<RateStanding>,
}

/// Why a call was not let in. Nothing of any limit is taken then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It comes too soon: of all rates that say so, the one with the longest wait.
    TooSoon {
        /// Whose rate it is.
        whose: Whose,
        /// What it counts.
        kind: Kind,
        /// The most in its second or minute.
        limit: u32,
        /// Until the call fits every rate, if no other call is let in meanwhile.
        wait: Duration,
    },
    /// It can take more tokens than may be used in a whole minute.
    TooLarge {
        /// Whose limit it is.
        whose: Whose,
        /// Tokens a minute.
        limit: u32,
    },
    /// Too many are under way.
    TooMany {
        /// Whose limit it is.
        whose: Whose,
        /// The most at once.
        limit: u32,
    },
}

/// What a call that was let in has taken. Its places are free when this is dropped, and of its
/// tokens those are given back that it did not use.
pub struct Entered<C: Clock = DefaultClock> {
    _places: [Option<Permit>; SCOPES],
    /// Boxed, because few calls fall under a limit of tokens.
    tokens: Option<Box<TokensTaken<C>>>,
}

struct TokensTaken<C: Clock> {
    of: [Option<Arc<Pace<C>>>; SCOPES],
    taken: u32,
    used: u64,
}

impl<C: Clock> Scope<'_, C> {
    /// Whether it limits tokens.
    pub fn limits_tokens(&self) -> bool {
        self.pace.is_some_and(|pace| pace.tokens().is_some())
    }
}

/// Takes a call's place, its request and its tokens of every scope.
///
/// # Errors
/// If one of them is missing: rates before places, of the rates the one with the longest wait.
pub fn enter<C: Clock>(
    scopes: &[Scope<'_, C>; SCOPES],
    tokens: u64,
) -> (Told, Result<Entered<C>, Refused>) {
    let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
    let entered = take_rates(scopes, tokens)
        .and_then(|()| take_places(scopes).inspect_err(|_| give_back(scopes, tokens, |_| true)));
    let entered = entered.map(|places| {
        let limited = tokens > 0 && scopes.iter().any(Scope::limits_tokens);
        let tokens = limited.then(|| Box::new(TokensTaken::of(scopes, tokens)));
        Entered { _places: places, tokens }
    });
    (told(scopes), entered)
}

impl<C: Clock> Entered<C> {
    /// Tells of tokens that an attempt used.
    pub fn note_used(&mut self, tokens: u64) {
        if let Some(taken) = &mut self.tokens {
            taken.used = taken.used.saturating_add(tokens);
        }
    }
}

impl<C: Clock> TokensTaken<C> {
    fn of(scopes: &[Scope<'_, C>; SCOPES], taken: u32) -> Self {
        let limiting = |scope: &Scope<'_, C>| scope.pace.filter(|_| scope.limits_tokens()).cloned();
        Self { of: scopes.each_ref().map(limiting), taken, used: 0 }
    }
}

/// However a call ends, what it took is corrected to what it used.
impl<C: Clock> Drop for TokensTaken<C> {
    fn drop(&mut self) {
        for rate in self.of.iter().flatten().filter_map(|pace| pace.tokens()) {
            match u32::try_from(self.used) {
                Ok(used) if used <= self.taken => rate.give_back(self.taken - used),
                _ => rate.charge(self.used - u64::from(self.taken)),
            }
        }
    }
}

fn rates<'a, C: Clock>(
    scopes: &'a [Scope<'_, C>; SCOPES],
) -> impl Iterator<Item = (Whose, &'a Rate<C>)> {
    scopes.iter().flat_map(|scope| {
        let rates = scope.pace.into_iter().flat_map(|pace| pace.rates());
        rates.map(|rate| (scope.whose, rate))
    })
}

const fn count(kind: Kind, tokens: u32) -> u32 {
    match kind {
        Kind::RequestsPerSecond | Kind::RequestsPerMinute => 1,
        Kind::TokensPerMinute => tokens,
    }
}

/// Every rate is asked, even after one has refused: what is told is true only if it holds for all.
fn take_rates<C: Clock>(scopes: &[Scope<'_, C>; SCOPES], tokens: u32) -> Result<(), Refused> {
    let (mut refused, mut took) = (None, 0_u32);
    for (nth, (whose, rate)) in rates(scopes).enumerate() {
        match rate.take(count(rate.kind(), tokens)) {
            Ok(()) => took |= bit(nth),
            Err(over) => refused = Some(worse(refused, refusal(whose, rate, over))),
        }
    }
    let Some(refused) = refused else { return Ok(()) };
    give_back(scopes, tokens, |nth| took & bit(nth) != 0);
    Err(refused)
}

/// At most twelve rates are numbered.
const fn bit(nth: usize) -> u32 {
    1 << (nth % 32)
}

fn give_back<C: Clock>(scopes: &[Scope<'_, C>; SCOPES], tokens: u32, took: impl Fn(usize) -> bool) {
    for (_, (_, rate)) in rates(scopes).enumerate().filter(|(nth, _)| took(*nth)) {
        rate.give_back(count(rate.kind(), tokens));
    }
}

fn refusal<C: Clock>(whose: Whose, rate: &Rate<C>, over: Over) -> Refused {
    let (kind, limit) = (rate.kind(), rate.limit());
    match over {
        Over::For(wait) => Refused::TooSoon { whose, kind, limit, wait },
        Over::ForEver => Refused::TooLarge { whose, limit },
    }
}

/// Of two refusals the one that lasts longer.
fn worse(before: Option<Refused>, now: Refused) -> Refused {
    let lasts = |refused: &Refused| match refused {
        Refused::TooMany { .. } => Duration::ZERO,
        Refused::TooSoon { wait, .. } => *wait,
        Refused::TooLarge { .. } => Duration::MAX,
    };
    before.filter(|before| lasts(before) >= lasts(&now)).unwrap_or(now)
}

fn take_places<C: Clock>(
    scopes: &[Scope<'_, C>; SCOPES],
) -> Result<[Option<Permit>; SCOPES], Refused> {
    let mut taken = [const { None }; SCOPES];
    for (place, scope) in taken.iter_mut().zip(scopes) {
        let Some((concurrency, limit)) = scope.places else { continue };
        let permit = concurrency.try_enter(limit);
        *place = Some(permit.ok_or(Refused::TooMany { whose: scope.whose, limit })?);
    }
    Ok(taken)
}

fn told<C: Clock>(scopes: &[Scope<'_, C>; SCOPES]) -> Told {
    let mut told = Told::default();
    for (_, rate) in rates(scopes) {
        let tightest = match rate.kind() {
            Kind::RequestsPerSecond | Kind::RequestsPerMinute => &mut told.requests,
            Kind::TokensPerMinute => &mut told.tokens,
        };
        let now = rate.standing();
        let is_tighter =
            |than: &RateStanding| (now.remaining, than.reset) < (than.remaining, now.reset);
        if tightest.as_ref().is_none_or(is_tighter) {
            *tightest = Some(now);
        }
    }
    told
}
