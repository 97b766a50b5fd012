//! Whether a failed attempt is made again, and when. Pure: what is left of the time and the dice
//! come in as arguments.

use std::time::Duration;

use http::StatusCode;

/// The longest first pause; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that the provider did not ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// How often and for how long a failed attempt is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Most retries of one call.
    pub most: u32,
    /// How long after the first attempt began the last one may begin.
    pub within: Duration,
}

/// Why an attempt got no answer, as far as a retry cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Nothing was sent.
    Unreachable,
    /// The provider answered with this status, and perhaps said after how many seconds to come
    /// back.
    Status(StatusCode, Option<u32>),
}

impl Miss {
    /// Whether the same request may be answered at another time, and cost nothing this time.
    ///
    /// 504 and 524 are not among them: behind them somebody may have worked.
    pub fn is_passing(self) -> bool {
        match self {
            Self::Unreachable => true,
            Self::Status(status, _) => matches!(status.as_u16(), 429 | 502 | 503 | 529),
        }
    }

    /// What the provider answered with, if it did.
    pub(super) fn status(self) -> Option<u16> {
        match self {
            Self::Unreachable => None,
            Self::Status(status, _) => Some(status.as_u16()),
        }
    }

    /// What the provider asked to wait for.
    fn asked(self) -> Option<Duration> {
        match self {
            Self::Unreachable => None,
            Self::Status(_, seconds) => seconds.map(|seconds| Duration::from_secs(seconds.into())),
        }
    }
}

impl Retries {
    /// The pause before the next attempt of a call that was retried `made` times; `None` if there
    /// is to be none. `left` is what is left of the time, and any number makes good dice.
    ///
    /// Somewhere between nothing and a ceiling that doubles each time, so that calls that failed
    /// together do not come back together; on top of what the provider asked for, if it did.
    pub fn next(&self, made: u32, miss: Miss, left: Duration, dice: u64) -> Option<Duration> {
        if made >= self.most || !miss.is_passing() || left.is_zero() {
            return None;
        }
        let asked = miss.asked().unwrap_or_default();
        let spare = left.checked_sub(asked)?;
        let doubled = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(made).unwrap_or(u32::MAX));
        let ceiling = doubled.min(LONGEST_PAUSE).min(spare);
        // A share of the ceiling, in 2^64ths of it.
        let nanos = (ceiling.as_nanos() * u128::from(dice)) >> u64::BITS;
        Some(asked + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

/// Something to choose a pause by. Without it every pause is the longest.
pub(super) fn dice() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEN: Duration = Duration::from_secs(10);
    const TWICE: Retries = Retries { most: 2, within: TEN };

    fn status(status: u16, seconds: Option<u32>) -> Miss {
        Miss::Status(StatusCode::from_u16(status).unwrap(), seconds)
    }

    fn longest(made: u32, miss: Miss, left: Duration) -> Option<u128> {
        // Rounded down, so one nanosecond below the ceiling.
        TWICE.next(made, miss, left, u64::MAX).map(|pause| (pause.as_nanos() + 1) / 1_000_000)
    }

    #[test]
    fn only_what_passes_and_cost_nothing_is_retried() {
        for (miss, again) in [
            (Miss::Unreachable, true),
            (status(429, None), true),
            (status(502, None), true),
            (status(503, None), true),
            (status(529, None), true),
            (status(302, None), false),
            (status(400, None), false),
            (status(401, None), false),
            (status(404, None), false),
            (status(408, None), false),
            (status(422, None), false),
            (status(500, None), false),
            (status(504, None), false),
            (status(524, None), false),
            (status(400, Some(0)), false),
        ] {
            assert_eq!(TWICE.next(0, miss, TEN, 0).is_some(), again, "{miss:?}");
        }
    }

    #[test]
    fn retries_are_bounded_in_number_and_time() {
        let busy = status(503, None);
        assert!(TWICE.next(1, busy, TEN, 0).is_some());
        assert_eq!(TWICE.next(2, busy, TEN, 0), None);
        assert_eq!(Retries { most: 0, within: TEN }.next(0, busy, TEN, 0), None);
        assert_eq!(TWICE.next(0, busy, Duration::ZERO, 0), None);
        assert_eq!(longest(0, busy, Duration::from_millis(9)), Some(9));
    }

    #[test]
    fn the_ceiling_doubles_and_the_dice_choose_below_it() {
        let often = Retries { most: 99, within: TEN };
        let ceilings = [250, 500, 1000, 2000, 4000, 4000];
        for (made, ceiling) in (0..).zip(ceilings) {
            let pause = often.next(made, Miss::Unreachable, TEN, u64::MAX).unwrap();
            assert_eq!((pause.as_nanos() + 1) / 1_000_000, ceiling, "{made}");
            let half = often.next(made, Miss::Unreachable, TEN, 1 << 63).unwrap();
            assert_eq!(half.as_millis(), ceiling / 2, "{made}");
            assert_eq!(often.next(made, Miss::Unreachable, TEN, 0), Some(Duration::ZERO));
        }
        assert!(often.next(98, Miss::Unreachable, TEN, u64::MAX).is_some());
    }

    #[test]
    fn what_the_provider_asks_for_is_waited_for_or_not_at_all() {
        assert_eq!(longest(0, status(429, Some(3)), TEN), Some(3250));
        assert_eq!(longest(0, status(429, Some(10)), TEN), Some(10_000));
        assert_eq!(longest(0, status(429, Some(11)), TEN), None);
        assert_eq!(longest(0, status(429, Some(u32::MAX)), TEN), None);
        assert_eq!(longest(0, status(429, Some(0)), TEN), Some(250));
    }

    proptest! {
        #[test]
        fn no_pause_is_shorter_than_asked_or_longer_than_what_is_left(
            made: u32, asked: Option<u8>, left in 0_u64..20_000, dice: u64,
        ) {
            let left = Duration::from_millis(left);
            let miss = status(503, asked.map(u32::from));
            let often = Retries { most: u32::MAX, within: TEN };
            if let Some(pause) = often.next(made, miss, left, dice) {
                prop_assert!(pause <= left);
                prop_assert!(pause >= Duration::from_secs(asked.unwrap_or(0).into()));
            }
        }
    }
}
