//! The rules of money and runs: properties here, tables in `domain/tables.rs`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod tables;
mod normal;

use proptest::prelude::*;
use rungate::domain::bound::{BoundConstants, InputShape, input_bound};
use rungate::domain::budget::{Balance, Fit, Unit};
use rungate::domain::money::{MoneyError, Overflow, Usd};
use rungate::domain::policy::{Step, Wanted};
use rungate::domain::price::{ClassPrices, LongContext, Prices, UsdPerMillionTokens};
use rungate::domain::run::OnCap;
use rungate::domain::tier::AskedPrices;
use rungate::domain::usage::{MAX_TOKENS, Tokens, Usage};
use rust_decimal::Decimal;

/// The finest amount there is: 18 digits after the point.
const ATOM: Decimal = Decimal::from_parts(1, 0, 0, false, 18);
const ATOMS_PER_USD: i128 = 1_000_000_000_000_000_000;
const MAX_INTEGER: u64 = 9_999_999_999;

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

fn price(text: &str) -> UsdPerMillionTokens {
    UsdPerMillionTokens::parse(text).unwrap()
}

/// An amount as a whole number of 10^-18 dollars, computed without `Decimal`'s arithmetic.
fn atoms(amount: Decimal) -> i128 {
    amount.mantissa() * 10_i128.pow(18 - amount.scale())
}

fn any_usd_text() -> impl Strategy<Value = String> {
    (0..=MAX_INTEGER, "(\\.[0-9]{1,18})?")
        .prop_map(|(whole, fraction)| format!("{whole}{fraction}"))
}

/// Any amount, small ones as often as large ones.
pub(crate) fn any_usd() -> impl Strategy<Value = Usd> {
    let small = "0\\.[0-9]{1,18}".prop_map(|text| usd(&text));
    prop_oneof![small, any_usd_text().prop_map(|text| usd(&text)), Just(Usd::ZERO)]
}

/// Any price of at most 6 and 12 digits.
fn any_price() -> impl Strategy<Value = UsdPerMillionTokens> {
    let text = prop_oneof![
        "[0-9]{1,6}\\.[0-9]{1,12}",
        "[0-9]{1,2}(\\.[0-9]{1,3})?",
        "0\\.0{0,10}[0-9]{1,2}",
        Just("0".to_owned()),
        Just("999999.999999999999".to_owned()),
    ];
    text.prop_map(|text| price(&text))
}

fn any_class_prices() -> impl Strategy<Value = ClassPrices> {
    (any_price(), any_price(), any_price(), any_price(), any_price()).prop_map(
        |(input, cached_input, cache_write, long_cache_write, output)| ClassPrices {
            input,
            cached_input,
            cache_write,
            long_cache_write,
            output,
        },
    )
}

pub(crate) fn any_tokens() -> impl Strategy<Value = Tokens> {
    let near = 271_990_u64..272_010;
    prop_oneof![0..100_u64, near, 0..=MAX_TOKENS, Just(MAX_TOKENS)].prop_map(Tokens::new)
}

pub(crate) fn any_prices() -> impl Strategy<Value = Prices> {
    let tier = (any_tokens(), any_class_prices())
        .prop_map(|(above, prices)| LongContext { above, prices });
    (any_class_prices(), prop::option::of(tier))
        .prop_map(|(base, long_context)| Prices { base, long_context })
}

/// Prices whose long tier is nowhere cheaper, as every provider has them.
fn any_ordinary_prices() -> impl Strategy<Value = Prices> {
    any_prices().prop_map(|mut it| {
        if let Some(long) = &mut it.long_context {
            long.prices.input = long.prices.input.max(it.base.dearest_input());
            long.prices.cached_input = long.prices.input.max(long.prices.cached_input);
            long.prices.cache_write = long.prices.input.max(long.prices.cache_write);
            long.prices.output = long.prices.output.max(it.base.output);
        }
        it
    })
}

pub(crate) fn any_usage() -> impl Strategy<Value = Usage> {
    (any_tokens(), any_tokens(), any_tokens(), any_tokens(), any_tokens()).prop_map(
        |(uncached_input, cached_input, cache_write, long, output)| Usage {
            uncached_input,
            cached_input,
            cache_write,
            long_cache_write: long.min(cache_write),
            output,
            reasoning: Tokens::ZERO,
        },
    )
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    let numbers = (any_tokens(), any_tokens(), 1..=16_u32, any_tokens(), any::<bool>());
    let prices = (any_prices(), prop::option::of(any_prices()));
    let prices = prices.prop_map(|(asked, default)| match default {
        None => AskedPrices::from(asked),
        Some(default) => AskedPrices::of_tier(asked, default),
    });
    // So much by value would not fit the stack of a test.
    let prices = prices.boxed();
    (prices, numbers).prop_map(|(prices, (input, output, choices, least_output, clamp))| {
        let on_cap = if clamp { OnCap::Clamp } else { OnCap::Refuse };
        Wanted { prices, input, output, choices, least_output, on_cap }
    })
}

proptest! {
    #[test]
    fn an_amount_is_read_and_written_without_losing_a_digit(text in any_usd_text()) {
        let amount = Usd::parse(&text).unwrap();
        prop_assert_eq!(amount.to_string(), text.clone());
        prop_assert_eq!(serde_json::to_string(&amount).unwrap(), format!("\"{text}\""));
    }

    #[test]
    fn an_amount_with_more_digits_than_are_stored_is_refused(
        fraction in "[0-9]{18}[1-9]",
        integer in "[1-9][0-9]{10,20}",
    ) {
        prop_assert_eq!(Usd::parse(&format!("0.{fraction}")), Err(MoneyError::TooManyDigits));
        prop_assert_eq!(Usd::parse(&integer), Err(MoneyError::TooManyDigits));
    }

    #[test]
    fn sums_and_differences_are_exact(a in any_usd(), b in any_usd()) {
        let (left, right) = (atoms(a.decimal()), atoms(b.decimal()));
        prop_assert_eq!(atoms(a.plus(b).unwrap().decimal()), left + right);
        prop_assert_eq!(atoms(a.minus_or_zero(b).decimal()), (left - right).max(0));
    }

    #[test]
    fn a_cost_is_the_exact_sum_of_its_classes(prices in any_class_prices(), usage in any_usage()) {
        let cost = Prices { base: prices, long_context: None }.cost(&usage).unwrap();
        let per_token = |price: UsdPerMillionTokens| atoms(price.decimal()) / 1_000_000;
        let part = |price, tokens: Tokens| per_token(price) * i128::from(tokens.count());
        let sum = part(prices.input, usage.uncached_input)
            + part(prices.cached_input, usage.cached_input)
            + part(prices.cache_write, usage.cache_write.minus_or_zero(usage.long_cache_write))
            + part(prices.long_cache_write, usage.long_cache_write)
            + part(prices.output, usage.output);
        prop_assert_eq!(atoms(cost.decimal()), sum);
        prop_assert_eq!(cost.decimal().scale(), cost.decimal().normalize().scale());
    }

    #[test]
    fn more_tokens_of_any_class_never_cost_less(
        prices in any_ordinary_prices(),
        less in any_usage(),
        more in any_tokens(),
    ) {
        let cost = prices.cost(&less).unwrap();
        let grown = [
            Usage { uncached_input: less.uncached_input.plus(more), ..less },
            Usage { cached_input: less.cached_input.plus(more), ..less },
            Usage { cache_write: less.cache_write.plus(more), ..less },
            Usage { output: less.output.plus(more), ..less },
        ];
        for usage in grown {
            prop_assert!(prices.cost(&usage).unwrap() >= cost);
        }
    }

    #[test]
    fn no_usage_within_the_bounds_costs_more_than_the_worst_case(
        prices in any_prices(),
        usage in any_usage(),
        input_slack in any_tokens(),
        output_slack in any_tokens(),
    ) {
        let (input, output) = (usage.input().plus(input_slack), usage.output.plus(output_slack));
        prop_assert!(prices.worst_case(input, output).unwrap() >= prices.cost(&usage).unwrap());
    }

    #[test]
    fn what_an_amount_affords_is_the_most_that_fits(
        prices in any_prices(),
        amount in any_usd(),
        input in any_tokens(),
    ) {
        let fits = |output| prices.worst_case(input, output).is_ok_and(|cost| cost <= amount);
        match prices.output_affordable(amount, input) {
            None => prop_assert!(!fits(Tokens::ZERO)),
            Some(most) => {
                let next = most.plus(Tokens::new(1));
                prop_assert!(fits(most), "{most} does not fit");
                prop_assert!(next == most || !fits(next), "{next} fits as well");
            }
        }
    }

    #[test]
    fn an_overflow_refuses_and_never_becomes_zero(
        price in any_price(),
        count in (MAX_TOKENS + 1)..=u64::MAX,
    ) {
        let exact = atoms(price.decimal()) / 1_000_000 * i128::from(Tokens::new(count).count());
        match price.of(Tokens::new(count)) {
            Ok(cost) => prop_assert_eq!(atoms(cost.decimal()), exact),
            Err(Overflow) => prop_assert!(exact > i128::from(MAX_INTEGER) * ATOMS_PER_USD),
        }
    }

    #[test]
    fn a_limit_is_reached_exactly_never_passed(
        limit in any_usd(), spent in any_usd(), reserved in any_usd(), amount in any_usd(),
    ) {
        let (limit, spent) = (limit.decimal(), spent.decimal());
        let reserved = reserved.decimal();
        let balance = Balance { limit, spent, reserved };
        let fits = spent + reserved + amount.decimal() <= limit;
        prop_assert_eq!(balance.fit(amount.decimal()) == Fit::Fits, fits);
        prop_assert_eq!(balance.fit(amount.decimal()) == Fit::Exceeds,
            spent + amount.decimal() > limit);
        if spent + reserved <= limit {
            prop_assert_eq!(balance.fit(balance.available()), Fit::Fits);
            prop_assert_ne!(balance.fit(balance.available() + ATOM), Fit::Fits);
            prop_assert_eq!(balance.fit(balance.unspent() + ATOM), Fit::Exceeds);
        }
    }

    #[test]
    fn a_clamped_call_fits_and_could_not_be_larger(
        wanted in any_wanted(),
        limit in any_usd(),
        reserved in prop_oneof![Just(Usd::ZERO), any_usd()],
        tokens in any::<bool>(),
        patient in any::<bool>(),
    ) {
        let unit = if tokens { Unit::Tokens } else { Unit::Usd };
        let whole = |it: Usd| if tokens { it.decimal().trunc() } else { it.decimal() };
        let balance =
            Balance { limit: whole(limit), spent: Decimal::ZERO, reserved: whole(reserved) };
        let fit = |output| {
            wanted.amounts(output).map_or(Fit::Exceeds, |it| balance.fit(it.in_unit(unit)))
        };
        match wanted.after_refusal(unit, &balance, patient) {
            Step::Clamp(output) => {
                prop_assert_eq!(fit(output), Fit::Fits);
                prop_assert_ne!(fit(output.plus(Tokens::new(1))), Fit::Fits);
                prop_assert!(output >= wanted.smallest_output() && output < wanted.output);
                prop_assert_eq!(wanted.on_cap, OnCap::Clamp);
            }
            Step::Retry => prop_assert_eq!(fit(wanted.output), Fit::Fits),
            Step::Wait => prop_assert!(patient && !balance.reserved.is_zero()),
            Step::RefuseReserved => prop_assert_eq!(fit(wanted.smallest_output()), Fit::Waits),
            Step::RefuseSpent => prop_assert_eq!(fit(wanted.smallest_output()), Fit::Exceeds),
        }
    }

    #[test]
    fn no_request_counts_as_more_input_than_the_context_window(
        text in any_tokens(), window in any_tokens(), messages: u32, tools: u32, images: u32,
        per_image: Option<u32>,
    ) {
        let most = u32::MAX;
        let constants =
            BoundConstants { per_request: most, per_message: most, per_tool: most, per_image };
        let bound = |images| {
            input_bound(text, InputShape { messages, tools, images }, &constants, window)
        };
        prop_assert!(bound(images) <= window && bound(images) >= text.min(window));
        prop_assert!(bound(images) >= bound(0));
        if images > 0 && per_image.is_none() {
            prop_assert_eq!(bound(images), window);
        }
    }
}
