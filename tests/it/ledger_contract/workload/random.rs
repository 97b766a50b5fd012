//! Numbers from a seed.

use rungate::domain::id::RunId;
use rungate::domain::key::TokenHash;

/// SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end`, without it; 0 if there is nothing below it.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// The same for amounts.
    pub(crate) fn below_wide(&mut self, end: i128) -> i128 {
        let wide = (i128::from(self.next() >> 1) << 64) | i128::from(self.next());
        wide % end.max(1)
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    pub(crate) fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    /// The position of some item, if there is one.
    pub(crate) fn choose<T>(&mut self, items: &[T]) -> Option<usize> {
        (!items.is_empty()).then(|| self.index(items.len()))
    }

    /// A token that nobody has, on any ledger and in any run of the test.
    pub(crate) fn token(&mut self) -> TokenHash {
        TokenHash::of(&format!("{}-{}", RunId::random(), self.next()))
    }
}

/// The seed to use: `LEDGER_SEED` to see a failure again, else a new one.
pub(crate) fn seed_from_env() -> u64 {
    let fresh = || RunId::random().uuid().as_u64_pair().1;
    from_env("LEDGER_SEED").unwrap_or_else(fresh)
}

/// How long a workload to run: `LEDGER_OPERATIONS`, else the given number.
pub(crate) fn operations_from_env(otherwise: usize) -> usize {
    from_env("LEDGER_OPERATIONS").unwrap_or(otherwise)
}

fn from_env<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}
