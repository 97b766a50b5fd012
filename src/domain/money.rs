//! Exact US dollars. No float comes near them and nothing is ever rounded.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Serialize, Serializer};

/// Most digits before the point of an amount that is accepted from outside.
pub const MAX_INTEGER_DIGITS: u32 = 10;
/// Most digits after the point of an amount that is accepted from outside.
pub const MAX_FRACTION_DIGITS: u32 = 18;

/// An amount of US dollars, never negative.
///
/// Amounts that were given keep the scale they were given in (`1.00`); amounts that were computed
/// carry no trailing zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(Decimal);

/// Why a text is no amount of dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a decimal number at all.
    #[error("is not a decimal number such as \"0.25\"")]
    Malformed,
    /// Below zero.
    #[error("must not be negative")]
    Negative,
    /// More digits than are stored exactly.
    #[error(
        "may have at most {MAX_INTEGER_DIGITS} integer and {MAX_FRACTION_DIGITS} fraction digits"
    )]
    TooManyDigits,
}

/// The exact result needs more digits than there are. It refuses; it never becomes zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the exact amount is too large to represent")]
pub struct Overflow;

impl Usd {
    /// No dollars.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Reads decimal text exactly: `"0.25"`, `"1"`, also `"1e-05"` as some JSON writers have it.
    ///
    /// # Errors
    /// If the text is no decimal number, is negative, or has more than [`MAX_INTEGER_DIGITS`] or
    /// [`MAX_FRACTION_DIGITS`].
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let amount = parse_exact(text)?;
        if amount.scale() > MAX_FRACTION_DIGITS && amount.normalize().scale() > MAX_FRACTION_DIGITS
        {
            return Err(MoneyError::TooManyDigits);
        }
        if amount.trunc() >= Decimal::from(10_u64.pow(MAX_INTEGER_DIGITS)) {
            return Err(MoneyError::TooManyDigits);
        }
        Ok(Self(amount))
    }

    /// Takes an amount from storage or from exact arithmetic.
    ///
    /// # Errors
    /// If it is negative.
    pub fn from_decimal(amount: Decimal) -> Result<Self, MoneyError> {
        if amount.is_sign_negative() && !amount.is_zero() {
            return Err(MoneyError::Negative);
        }
        Ok(Self(amount))
    }

    /// The amount as a decimal, for storage.
    pub const fn decimal(self) -> Decimal {
        self.0
    }

    /// Whether this is exactly nothing.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// The exact sum.
    ///
    /// # Errors
    /// If the sum cannot be represented exactly.
    pub fn plus(self, other: Self) -> Result<Self, Overflow> {
        add_exact(self.0, other.0).map(Self)
    }

    /// The exact difference, or nothing where `other` is larger.
    pub fn minus_or_zero(self, other: Self) -> Self {
        let rest = self.0.saturating_sub(other.0);
        if rest.is_sign_negative() { Self::ZERO } else { Self(rest.normalize()) }
    }

    /// The same amount without trailing zeros.
    pub fn normalized(self) -> Self {
        Self(self.0.normalize())
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Adds without the silent rounding that `Decimal` falls back to when digits run out.
///
/// # Errors
/// If the exact sum needs more than 28 digits.
pub fn add_exact(a: Decimal, b: Decimal) -> Result<Decimal, Overflow> {
    let sum = a.checked_add(b).ok_or(Overflow)?;
    // A rounded sum shows in its scale: it is below the finer of the two while that one's last
    // digit is not zero.
    let finest = a.normalize().scale().max(b.normalize().scale());
    if sum.scale() < finest {
        return Err(Overflow);
    }
    Ok(sum.normalize())
}

/// Reads a decimal number of plain or scientific notation, exactly.
pub(crate) fn parse_exact(text: &str) -> Result<Decimal, MoneyError> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => {
            (digits, exponent.parse::<i32>().map_err(|_| MoneyError::Malformed)?)
        }
        None => (text, 0),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
    if !plain || !digits.bytes().any(|b| b.is_ascii_digit()) {
        return Err(MoneyError::Malformed);
    }
    let number = Decimal::from_str_exact(digits).map_err(|error| match error {
        rust_decimal::Error::Underflow
        | rust_decimal::Error::ExceedsMaximumPossibleValue
        | rust_decimal::Error::ScaleExceedsMaximumPrecision(_) => MoneyError::TooManyDigits,
        _ => MoneyError::Malformed,
    })?;
    if number.is_sign_negative() && !number.is_zero() {
        return Err(MoneyError::Negative);
    }
    let number = number.abs();
    if exponent == 0 || number.is_zero() {
        return Ok(number);
    }
    shift(number, exponent)
}

/// Multiplies by a power of ten by moving the point.
pub(super) fn shift(number: Decimal, exponent: i32) -> Result<Decimal, MoneyError> {
    let mut number = number.normalize();
    let scale = i64::from(number.scale()) - i64::from(exponent);
    if let Ok(scale) = u32::try_from(scale) {
        number.set_scale(scale).map_err(|_| MoneyError::TooManyDigits)?;
        return Ok(number);
    }
    let zeros = u32::try_from(-scale).map_err(|_| MoneyError::TooManyDigits)?;
    number.set_scale(0).map_err(|_| MoneyError::TooManyDigits)?;
    let factor = 10_i64.checked_pow(zeros).ok_or(MoneyError::TooManyDigits)?;
    number.checked_mul(Decimal::from(factor)).ok_or(MoneyError::TooManyDigits)
}
