//! What is reserved for a call holds whichever tier serves it.

use proptest::prelude::*;
use rungate::catalog::Catalog;
use rungate::domain::money::Usd;
use rungate::domain::price::Caching;
use rungate::domain::tier::{AskedPrices, ServedTier, ServiceTier};
use rungate::domain::usage::{Tokens, Usage};

use super::MODELS;
use crate::domain::{any_prices, any_tokens, any_usage, any_usd};

proptest! {
    #[test]
    fn no_usage_costs_more_than_the_worst_case_in_the_asked_tier_or_in_the_default_one(
        (asked, default) in (any_prices(), any_prices()),
        usage in any_usage(),
        (input_slack, output_slack) in (any_tokens(), any_tokens()),
    ) {
        let (input, output) = (usage.input().plus(input_slack), usage.output.plus(output_slack));
        let worst = AskedPrices::of_tier(asked, default).worst_case(input, output).unwrap();
        let each = [asked, default].map(|prices| prices.worst_case(input, output).unwrap());
        prop_assert_eq!(worst, each[0].max(each[1]), "and not more than the dearer of both");
        for prices in [asked, default] {
            prop_assert!(worst >= prices.cost(&usage).unwrap());
        }
    }

    #[test]
    fn what_an_amount_affords_fits_in_either_tier_and_no_more_would(
        (asked, default) in (any_prices(), any_prices()),
        amount in any_usd(),
        input in any_tokens(),
    ) {
        let prices = AskedPrices::of_tier(asked, default);
        let fits = |output| prices.worst_case(input, output).is_ok_and(|cost| cost <= amount);
        match prices.output_affordable(amount, input) {
            None => prop_assert!(!fits(Tokens::ZERO)),
            Some(most) => {
                let next = most.plus(Tokens::new(1));
                prop_assert!(fits(most) && (next == most || !fits(next)), "{most}");
            }
        }
    }

    /// With what a catalogue says, over all models, tiers and uses of caches.
    #[test]
    fn a_reservation_covers_every_tier_that_may_serve_the_call(
        (fresh, cached) in (0..=400_000_u64, 0..400_000_u64),
        (written, output) in (0..9_u64, 0..=128_000_u64),
    ) {
        let catalog = Catalog::parse("models.toml", MODELS).unwrap();
        let usage = Usage {
            uncached_input: Tokens::new(fresh),
            cached_input: Tokens::new(cached),
            cache_write: Tokens::new(written),
            long_cache_write: Tokens::new(written / 2),
            output: Tokens::new(output),
            reasoning: Tokens::ZERO,
        };
        for target in catalog.models().flat_map(|model| &model.targets) {
            for asked in ServiceTier::ALL {
                let prices = target.prices_asked(asked).with_caching(Caching::Long);
                let reserved = prices.worst_case(usage.input(), usage.output).unwrap();
                for served in [asked, ServiceTier::Default] {
                    let Some(prices) = target.prices_in(served) else { continue };
                    let charged = prices.cost(&usage).unwrap();
                    prop_assert!(reserved >= charged, "{} {served:?}", target.model);
                }
            }
        }
    }
}

#[test]
fn who_asks_for_no_other_tier_reserves_what_the_default_one_costs() {
    let catalog = Catalog::parse("models.toml", MODELS).unwrap();
    let (input, output) = (Tokens::new(1_000_000), Tokens::new(1_000_000));
    for (model, asked, worst) in [
        ("tiered", ServiceTier::Default, "11.25"),
        ("tiered", ServiceTier::Flex, "11.25"),
        ("tiered", ServiceTier::Priority, "22.5"),
        ("one-tier", ServiceTier::Flex, "9"),
        ("one-tier", ServiceTier::Priority, "19"),
        ("plain", ServiceTier::Priority, "4.5"),
    ] {
        let target = &catalog.model(model).unwrap().targets[0];
        let reserved = target.prices_asked(asked).worst_case(input, output).unwrap();
        assert_eq!(reserved, Usd::parse(worst).unwrap(), "{model} {asked:?}");
    }
}

#[test]
fn providers_words_are_read_as_tiers() {
    let known = |tier| Some(ServedTier::Known(tier));
    for (word, tier) in [
        ("default", known(ServiceTier::Default)),
        ("flex", known(ServiceTier::Flex)),
        ("priority", known(ServiceTier::Priority)),
        ("fast", known(ServiceTier::Priority)),
        ("auto", None),
        ("", None),
        ("scale", Some(ServedTier::Other("scale".to_owned()))),
        ("Flex", Some(ServedTier::Other("Flex".to_owned()))),
        ("a\u{0}b", Some(ServedTier::Other("ab".to_owned()))),
    ] {
        assert_eq!(ServedTier::read(word), tier, "{word}");
    }
    let Some(ServedTier::Other(kept)) = ServedTier::read(&"é".repeat(99)) else { panic!() };
    assert_eq!(kept, "é".repeat(32));
}
