//! Tokens, counted in classes that do not overlap.

use std::fmt;

use serde::{Serialize, Serializer};

/// The largest number of tokens that a request may name or a provider may report.
pub const MAX_TOKENS: u64 = 2_147_483_647;

/// A number of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tokens(u64);

impl Tokens {
    /// No tokens.
    pub const ZERO: Self = Self(0);

    /// That many tokens; more than fit the ledger are as many as fit it.
    pub const fn new(count: u64) -> Self {
        const CEILING: u64 = i64::MAX as u64;
        Self(if count > CEILING { CEILING } else { count })
    }

    /// The number.
    pub const fn count(self) -> u64 {
        self.0
    }

    /// The number as the ledger stores it.
    pub const fn signed(self) -> i64 {
        self.0.cast_signed()
    }

    /// The sum; past the ledger's range it stays at the range's end.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self::new(self.0.saturating_add(other.0))
    }

    /// The product; past the ledger's range it stays at the range's end.
    #[must_use]
    pub const fn times(self, factor: u64) -> Self {
        Self::new(self.0.saturating_mul(factor))
    }

    /// The difference, or none where `other` is larger.
    #[must_use]
    pub const fn minus_or_zero(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Tokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// What one upstream attempt used, in disjoint classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input that was neither read from nor written to a cache.
    pub uncached_input: Tokens,
    /// Input that was read from a cache.
    pub cached_input: Tokens,
    /// Input that was written to a cache.
    pub cache_write: Tokens,
    /// The part of it that was written to live for an hour. The ledger keeps what it cost.
    pub long_cache_write: Tokens,
    /// Output, reasoning included.
    pub output: Tokens,
    /// The part of the output that was reasoning.
    pub reasoning: Tokens,
}

impl Usage {
    /// All input, whatever its class.
    pub const fn input(&self) -> Tokens {
        self.uncached_input.plus(self.cached_input).plus(self.cache_write)
    }

    /// All tokens, as a token budget counts them.
    pub const fn total(&self) -> Tokens {
        self.input().plus(self.output)
    }
}
