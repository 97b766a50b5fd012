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

/// An exact amount of dollars with at least two digits after the point: `$0.15`, `$0.0000246`.
pub(super) fn dollars(amount: &str) -> String {
    let amount = super::print::plain(amount);
    match amount.split_once('.') {
        None if amount == "-" => amount,
        None => format!("${amount}.00"),
        Some((whole, fraction)) => format!("${whole}.{fraction:0<2}"),
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
        check(&["1", "x"], "-");
    }

    #[test]
    fn amounts_have_at_least_two_digits_and_lose_none() {
        for (amount, shown) in [
            ("0", "$0.00"),
            ("10", "$10.00"),
            ("0.6", "$0.60"),
            ("0.15", "$0.15"),
            ("0.0000246", "$0.0000246"),
            ("-", "-"),
        ] {
            assert_eq!(dollars(amount), shown);
        }
    }
}
