//! Numbers as people read them. Amounts of money stay exact.

use rust_decimal::Decimal;
use serde_json::Value;

use crate::domain::money::add_exact;

/// The exact sum of a member of many objects, an amount of dollars. `-` if it has more digits than
/// can be told exactly, or if one of them is no amount.
pub(super) fn sum_usd(objects: &[Value], member: &str) -> String {
    let amounts = objects.iter().map(|object| {
        let text = object.get(member).and_then(Value::as_str)?;
        Decimal::from_str_exact(text).ok()
    });
    let sum =
        amounts.into_iter().try_fold(Decimal::ZERO, |sum, amount| add_exact(sum, amount?).ok());
    sum.map_or_else(|| "-".to_owned(), |sum| sum.normalize().to_string())
}

/// The sum of a member of many objects, a whole number.
pub(super) fn sum(objects: &[Value], member: &str) -> u64 {
    objects.iter().map(|object| whole(object, member)).fold(0, u64::saturating_add)
}

/// A whole number of an object; 0 if it has none.
pub(super) fn whole(object: &Value, member: &str) -> u64 {
    object.get(member).and_then(Value::as_u64).unwrap_or(0)
}

/// An exact amount of dollars with at least two digits after the point: `$0.15`, `-$0.0000246`.
pub(super) fn dollars(amount: &str) -> String {
    let amount = super::print::plain(amount);
    let (sign, digits) = match amount.strip_prefix('-') {
        Some("") => return amount,
        Some(digits) => ("-", digits),
        None => ("", amount.as_str()),
    };
    match digits.split_once('.') {
        None => format!("{sign}${digits}.00"),
        Some((whole, fraction)) => format!("{sign}${whole}.{fraction:0<2}"),
    }
}

/// An exact amount of dollars with its sign: `+$25.00`, `-$0.00027`.
pub(super) fn signed(amount: &str) -> String {
    let shown = dollars(amount);
    if shown.starts_with('-') { shown } else { format!("+{shown}") }
}

/// About how many: `340K`, `1.2M`.
pub(super) fn about(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000, "K"), (1_000_000, "M"), (1_000_000_000, "B")];
    if count < 1_000 {
        return count.to_string();
    }
    for (unit, letter) in UNITS {
        let tenths = u128::from(count).saturating_mul(10).saturating_add(u128::from(unit) / 2)
            / u128::from(unit);
        // What would be 1000 of one unit is 1 of the next.
        if tenths < 10_000 || letter == "B" {
            let (whole, tenth) = (tenths / 10, tenths % 10);
            return if whole >= 100 || tenth == 0 {
                format!("{whole}{letter}")
            } else {
                format!("{whole}.{tenth}{letter}")
            };
        }
    }
    count.to_string()
}

/// A context window: `128k`, `1M`. Thousands of 1,000 or of 1,024 tokens, whichever it is made of.
pub(super) fn window(tokens: u64) -> String {
    const MEBI: u64 = 1 << 20;
    match tokens {
        0..1_000 => tokens.to_string(),
        _ if tokens.is_multiple_of(MEBI) => format!("{}M", tokens / MEBI),
        1_000_000.. => {
            let hundredths = tokens.saturating_add(5_000) / 10_000;
            let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
            format!("{}M", text.trim_end_matches('0').trim_end_matches('.'))
        }
        _ if tokens.is_multiple_of(1_000) => format!("{}k", tokens / 1_000),
        _ if tokens.is_multiple_of(1_024) => format!("{}k", tokens / 1_024),
        _ => format!("{}k", tokens.saturating_add(500) / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_or_not_told() {
        let check = |amounts: &[&str], sum: &str| {
            let objects: Vec<Value> =
                amounts.iter().map(|amount| serde_json::json!({ "usd": amount })).collect();
            assert_eq!(sum_usd(&objects, "usd"), sum, "{amounts:?}");
        };
        check(&[], "0");
        check(&["0.1", "0.2"], "0.3");
        check(&["0.50", "0.5"], "1");
        check(&["0.000000000000000001", "1000000000"], "1000000000.000000000000000001");
        check(&["0.0000000000000000000000000001", "1000000000"], "-");
        check(&["25", "-0.00027"], "24.99973");
        check(&["-3", "1.0"], "-2");
        check(&["1", "x"], "-");
    }

    #[test]
    fn figures_are_short() {
        for (count, shown) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1K"),
            (1_250, "1.3K"),
            (12_345, "12.3K"),
            (340_000, "340K"),
            (999_499, "999K"),
            (999_950, "1M"),
            (1_240_000, "1.2M"),
            (1_500_000_000, "1.5B"),
            (2_000_000_000_000, "2000B"),
        ] {
            assert_eq!(about(count), shown);
        }
        for (tokens, shown) in [
            (512, "512"),
            (8_192, "8k"),
            (16_385, "16k"),
            (128_000, "128k"),
            (131_072, "128k"),
            (200_000, "200k"),
            (272_000, "272k"),
            (1_000_000, "1M"),
            (1_048_576, "1M"),
            (1_047_576, "1.05M"),
            (1_050_000, "1.05M"),
            (1_100_000, "1.1M"),
            (2_097_152, "2M"),
        ] {
            assert_eq!(window(tokens), shown);
        }
    }

    #[test]
    fn amounts_have_at_least_two_digits_and_lose_none() {
        for (amount, shown) in [
            ("0", "$0.00"),
            ("10", "$10.00"),
            ("0.6", "$0.60"),
            ("0.15", "$0.15"),
            ("0.0000246", "$0.0000246"),
            ("-0.25", "-$0.25"),
            ("-", "-"),
        ] {
            assert_eq!(dollars(amount), shown);
        }
        for (amount, shown) in
            [("25", "+$25.00"), ("-0.00027", "-$0.00027"), ("-3", "-$3.00"), ("-", "-")]
        {
            assert_eq!(signed(amount), shown);
        }
    }
}
