//! What tokens cost.

use rust_decimal::Decimal;

use super::money::{MoneyError, Overflow, Usd, add_exact, parse_exact, shift};
use super::usage::{Tokens, Usage};

/// Most digits after the point of a price.
pub const MAX_PRICE_FRACTION_DIGITS: u32 = 12;
/// Most digits before the point of a price.
pub const MAX_PRICE_INTEGER_DIGITS: u32 = 6;

/// Moving the point by this many digits turns a price per million into one per token.
const PER_MILLION_DIGITS: u32 = 6;

/// US dollars for a million tokens of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsdPerMillionTokens(Decimal);

impl UsdPerMillionTokens {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Reads a price exactly.
    ///
    /// # Errors
    /// If the text is no decimal number, is negative, or has more than 6 integer or 12 fraction
    /// digits, which is what keeps every cost exact.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        Self::of_decimal(parse_exact(text)?)
    }

    /// Reads what one token costs, exactly, as price lists tell it: `"1.5e-07"` is 0.15 a million.
    ///
    /// # Errors
    /// As for [`Self::parse`].
    pub fn parse_per_token(text: &str) -> Result<Self, MoneyError> {
        let price = parse_exact(text)?;
        if price.is_zero() {
            return Ok(Self::ZERO);
        }
        Self::of_decimal(shift(price, PER_MILLION_DIGITS.cast_signed())?)
    }

    fn of_decimal(price: Decimal) -> Result<Self, MoneyError> {
        let price = price.normalize();
        let too_large = price.trunc() >= Decimal::from(10_u64.pow(MAX_PRICE_INTEGER_DIGITS));
        if price.scale() > MAX_PRICE_FRACTION_DIGITS || too_large {
            return Err(MoneyError::TooManyDigits);
        }
        Ok(Self(price))
    }

    /// The price as a decimal.
    pub const fn decimal(self) -> Decimal {
        self.0
    }

    /// What `tokens` cost at this price, exactly.
    ///
    /// # Errors
    /// If the product needs more digits than there are.
    pub fn of(self, tokens: Tokens) -> Result<Usd, Overflow> {
        let mut cost = multiply_exact(self.0, Decimal::from(tokens.count()))?;
        if cost.is_zero() {
            return Ok(Usd::ZERO);
        }
        cost.set_scale(cost.scale() + PER_MILLION_DIGITS).map_err(|_| Overflow)?;
        Usd::from_decimal(cost.normalize()).map_err(|_| Overflow)
    }

    /// How many tokens `amount` buys at this price; `None` if they are free.
    pub fn affords(self, amount: Usd) -> Option<Tokens> {
        if self.0.is_zero() {
            return None;
        }
        let million = Decimal::from(10_u64.pow(PER_MILLION_DIGITS));
        let tokens = amount.decimal().checked_mul(million)?.checked_div(self.0)?.trunc();
        let mut tokens = Tokens::new(u64::try_from(tokens).unwrap_or(u64::MAX));
        // A quotient may be rounded up in its last digit; the exact product decides.
        while tokens > Tokens::ZERO && !self.of(tokens).is_ok_and(|cost| cost <= amount) {
            tokens = tokens.minus_or_zero(Tokens::new(1));
        }
        Some(tokens)
    }
}

/// Multiplies mantissas as integers, so that nothing is rounded.
fn multiply_exact(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    let (a, b) = (a.normalize(), b.normalize());
    let mantissa = a.mantissa().checked_mul(b.mantissa()).ok_or(Overflow)?;
    Decimal::try_from_i128_with_scale(mantissa, a.scale() + b.scale()).map_err(|_| Overflow)
}

/// What of a request may be written to a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caching {
    /// Nothing: writes have to be asked for, and are not.
    None,
    /// Anything, for some minutes.
    #[default]
    Short,
    /// Anything, for an hour.
    Long,
}

/// A price for every class of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassPrices {
    /// Input that no cache took part in.
    pub input: UsdPerMillionTokens,
    /// Input read from a cache.
    pub cached_input: UsdPerMillionTokens,
    /// Input written to a cache.
    pub cache_write: UsdPerMillionTokens,
    /// Input written to a cache to live for an hour.
    pub long_cache_write: UsdPerMillionTokens,
    /// Output, reasoning included.
    pub output: UsdPerMillionTokens,
}

impl ClassPrices {
    /// The dearest price that a token of input can have.
    pub fn dearest_input(&self) -> UsdPerMillionTokens {
        self.input.max(self.cached_input).max(self.cache_write).max(self.long_cache_write)
    }

    /// The prices that can come up with this use of caches.
    fn with_caching(self, caching: Caching) -> Self {
        match caching {
            Caching::None => Self { cache_write: self.input, long_cache_write: self.input, ..self },
            Caching::Short => Self { long_cache_write: self.cache_write, ..self },
            Caching::Long => self,
        }
    }

    fn cost(&self, usage: &Usage) -> Result<Usd, Overflow> {
        let parts = [
            (self.input, usage.uncached_input),
            (self.cached_input, usage.cached_input),
            (self.cache_write, usage.cache_write.minus_or_zero(usage.long_cache_write)),
            (self.long_cache_write, usage.long_cache_write.min(usage.cache_write)),
            (self.output, usage.output),
        ];
        let mut sum = Decimal::ZERO;
        for (price, tokens) in parts {
            sum = add_exact(sum, price.of(tokens)?.decimal())?;
        }
        Usd::from_decimal(sum).map_err(|_| Overflow)
    }

    fn worst_case(&self, input: Tokens, output: Tokens) -> Result<Usd, Overflow> {
        self.dearest_input().of(input)?.plus(self.output.of(output)?)
    }
}

/// The prices of a whole request whose input is longer than a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongContext {
    /// Applies to requests with *more* input tokens than this.
    pub above: Tokens,
    /// What every token of such a request costs.
    pub prices: ClassPrices,
}

/// What a target charges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prices {
    /// The ordinary prices.
    pub base: ClassPrices,
    /// The prices of long requests, where the provider has such a tier.
    pub long_context: Option<LongContext>,
}

impl Prices {
    /// The exact cost of a usage.
    ///
    /// # Errors
    /// If the sum cannot be represented exactly.
    pub fn cost(&self, usage: &Usage) -> Result<Usd, Overflow> {
        match &self.long_context {
            Some(long) if usage.input() > long.above => long.prices.cost(usage),
            _ => self.base.cost(usage),
        }
    }

    /// The same, every token of input at the dearest price that one can have: what a model is
    /// priced at that is not known to grant a discount.
    #[must_use]
    pub fn without_discounts(&self) -> Self {
        let dearest = |prices: ClassPrices| {
            let input = prices.dearest_input();
            let output = prices.output;
            ClassPrices {
                input,
                cached_input: input,
                cache_write: input,
                long_cache_write: input,
                output,
            }
        };
        let long = |long: LongContext| LongContext { prices: dearest(long.prices), ..long };
        Self { base: dearest(self.base), long_context: self.long_context.map(long) }
    }

    /// The prices that can come up with this use of caches, for a worst case.
    pub fn with_caching(self, caching: Caching) -> Self {
        let long_context = self
            .long_context
            .map(|long| LongContext { prices: long.prices.with_caching(caching), ..long });
        Self { base: self.base.with_caching(caching), long_context }
    }

    /// The most that any usage within these bounds can cost.
    ///
    /// Every input token is taken at the dearest price of input. A request that may be long may
    /// also turn out short, so both tiers are priced and the dearer one counts.
    ///
    /// # Errors
    /// If the amount cannot be represented exactly.
    pub fn worst_case(&self, input: Tokens, output: Tokens) -> Result<Usd, Overflow> {
        let base = self.base.worst_case(input, output)?;
        match &self.long_context {
            Some(long) if input > long.above => {
                Ok(base.max(long.prices.worst_case(input, output)?))
            }
            _ => Ok(base),
        }
    }

    /// The most output tokens that `amount` buys beside `input` tokens of input, by the worst
    /// case; `None` if not even the input is affordable.
    pub fn output_affordable(&self, amount: Usd, input: Tokens) -> Option<Tokens> {
        let buys = |prices: &ClassPrices| {
            let spent_on_input = prices.dearest_input().of(input).ok()?;
            if spent_on_input > amount {
                return None;
            }
            let rest = amount.minus_or_zero(spent_on_input);
            Some(prices.output.affords(rest).unwrap_or(Tokens::new(u64::MAX)))
        };
        let base = buys(&self.base)?;
        match &self.long_context {
            Some(long) if input > long.above => Some(base.min(buys(&long.prices)?)),
            _ => Some(base),
        }
    }
}
