//! The built-in catalogue, row by row: priced as the price table says, bounded, unambiguous.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use rungate::catalog::{Catalog, Kind, Target, Unresolved};
use rungate::domain::usage::{Tokens, Usage};
use rungate::providers::{Provider, REGISTRY};
use sha2::{Digest as _, Sha256};

use super::{built_in, provider};

const VECTORS: &str = include_str!("../../../fixtures/prices.tsv");

static ROWS: LazyLock<Vec<Target>> = LazyLock::new(|| {
    let catalog = built_in();
    let all = catalog.models().flat_map(|model| model.targets.iter());
    all.map(|target| target.as_ref().clone()).collect()
});

#[test]
fn every_price_vector_costs_what_it_says_to_the_last_digit() {
    let catalog = built_in();
    let mut priced = BTreeSet::new();
    let vectors = VECTORS.lines().filter(|line| !line.starts_with('#')).skip(1);
    for line in vectors {
        let columns: Vec<&str> = line.split('\t').collect();
        let [model, at, tokens @ .., cost] = columns.as_slice() else { panic!("{line}") };
        let tokens: Vec<Tokens> =
            tokens.iter().map(|count| Tokens::new(count.parse().unwrap())).collect();
        let usage = Usage {
            uncached_input: tokens[0],
            cached_input: tokens[1],
            cache_write: tokens[2],
            output: tokens[3],
            reasoning: Tokens::ZERO,
            ..Usage::default()
        };
        let target = catalog.served(provider(at), model).unwrap();
        assert_eq!(target.prices.cost(&usage).unwrap().to_string(), *cost, "{line}");
        priced.insert((*model, *at));
    }
    for target in ROWS.iter() {
        let row = (target.model.as_str(), target.provider.name);
        assert!(priced.contains(&row), "{row:?} has no price vector");
    }
}

#[test]
fn every_row_is_priced_and_bounded() {
    for target in ROWS.iter() {
        let (name, prices) = (&target.model, &target.prices.base);
        assert!(!prices.input.decimal().is_zero(), "{name}: input is free");
        assert!(prices.cached_input <= prices.input, "{name}: what is cached costs more");
        let makes_tokens = target.kind == Kind::Chat;
        assert_eq!(!prices.output.decimal().is_zero(), makes_tokens, "{name}: price of output");
        assert_eq!(target.max_output > Tokens::ZERO, makes_tokens, "{name}: most output");
        assert!(target.context_window > Tokens::ZERO, "{name}: no window");
        assert!(target.constants.per_message > 0, "{name}: a message is nothing");
        assert!(target.prices.worst_case(target.context_window, target.max_output).is_ok());
    }
}

#[test]
fn every_name_leads_to_its_own_row_and_to_no_other() {
    let catalog = built_in();
    let mut written: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for target in ROWS.iter() {
        let (name, at) = (&target.model, target.provider);
        let only_here = |provider: &Provider| provider.name == at.name;
        for long in
            [format!("{}/{name}", at.name), format!("{}/{}", at.name, target.upstream_model)]
        {
            // Whoever else is configured, a prefix decides.
            for configured in [&only_here as &dyn Fn(&Provider) -> bool, &|_| true] {
                let found = catalog.resolve(&long, configured).unwrap();
                assert_eq!((&found.model, found.provider.name), (name, at.name), "{long}");
            }
            written.entry(long).or_default().insert(name);
        }
        let found = catalog.resolve(name, only_here).unwrap();
        assert_eq!((&found.model, found.provider.name), (name, at.name), "{name}");
        let first = &catalog.model(name).unwrap().targets[0];
        let found = catalog.resolve(name, |_| true).unwrap();
        assert_eq!(found.provider.name, first.provider.name, "{name}");
        written.entry(name.clone()).or_default().insert(name);
        let served = catalog.served(at, &target.upstream_model).unwrap();
        assert_eq!(&served.model, name);
    }
    for (written, models) in written {
        assert_eq!(models.len(), 1, "{written} means {models:?}");
    }
}

#[test]
fn a_name_with_the_prefix_of_another_provider_stays_with_its_own() {
    let catalog = built_in();
    let check = |name: &str, configured: &[&str], expected: Result<&str, Unresolved>| {
        let found = catalog.resolve(name, |provider| configured.contains(&provider.name));
        let found = found.as_ref().map(|target| target.provider.name).map_err(|error| *error);
        assert_eq!(found, expected, "{name} with {configured:?}");
    };
    let missing = |name| Err(Unresolved::NotConfigured(provider(name)));
    let all: Vec<&str> = REGISTRY.iter().map(|provider| provider.name).collect();
    check("openai/gpt-oss-120b", &all, Ok("groq"));
    check("openai/gpt-oss-120b", &["openai"], missing("groq"));
    check("groq/openai/gpt-oss-120b", &all, Ok("groq"));
    check("openai/openai/gpt-oss-120b", &all, Err(Unresolved::Unknown));
    check("gpt-4o", &all, Ok("openai"));
    check("gpt-4o", &["azure_openai"], Ok("azure_openai"));
    check("gpt-4o", &["anthropic"], missing("openai"));
    check("azure_openai/gpt-4o", &all, Ok("azure_openai"));
    check("azure_openai/gpt-4o", &["openai"], missing("azure_openai"));
    check("gpt-35-turbo", &all, Ok("azure_openai"));
    check("openai/gpt-35-turbo", &all, Err(Unresolved::Unknown));
    check("azure/gpt-4o", &all, Err(Unresolved::Unknown));
    check("anthropic/claude-sonnet-5-5", &all, Ok("anthropic"));
}

#[test]
fn long_requests_are_never_cheaper_than_short_ones() {
    for target in ROWS.iter() {
        let Some(long) = target.prices.long_context else { continue };
        let (base, long) = (target.prices.base, long.prices);
        assert!(long.input >= base.input && long.output >= base.output, "{}", target.model);
        assert!(long.cached_input >= base.cached_input, "{}", target.model);
        assert!(long.cache_write >= base.cache_write, "{}", target.model);
    }
}

#[test]
fn prices_that_are_not_published_are_marked_as_examples() {
    for target in ROWS.iter() {
        let varies = matches!(target.provider.name, "chutes" | "openrouter" | "targon");
        assert_eq!(target.example_price, varies, "{}", target.model);
    }
}

#[test]
fn each_provider_has_a_file_and_the_price_version_is_that_of_all_in_their_order() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/catalog/models");
    let mut hash = Sha256::new();
    let mut order = Vec::new();
    for provider in &REGISTRY {
        let file = format!("{}.toml", provider.name);
        let text = fs::read_to_string(folder.join(&file)).unwrap();
        for model in Catalog::parse(&file, &text).unwrap().models() {
            let at: Vec<&str> = model.targets.iter().map(|target| target.provider.name).collect();
            assert_eq!(at, [provider.name], "{} in {file}", model.name);
            order.push((model.name.clone(), provider.name));
        }
        hash.update(text);
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), REGISTRY.len());
    assert_eq!(built_in().version(), &hex::encode(hash.finalize())[..12]);
    let rows = ROWS.iter().map(|target| (target.model.clone(), target.provider.name));
    let places: Vec<usize> =
        rows.map(|row| order.iter().position(|other| *other == row).unwrap()).collect();
    assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), order.len());
}

/// A row, and usage within its limits: input of three classes, and output.
fn any_usage_of_a_row() -> impl Strategy<Value = (usize, [u64; 3], u64, u64)> {
    (0..ROWS.len()).prop_flat_map(|row| {
        let target = &ROWS[row];
        let (window, output) = (target.context_window.count(), target.max_output.count());
        let near = target.prices.long_context.map_or(window, |long| long.above.count());
        let input = prop_oneof![0..=window, near.saturating_sub(2)..=(near + 2).min(window)];
        (input, 0..=output).prop_flat_map(move |(input, output)| {
            let cuts = (0..=input, 0..=input);
            (Just(row), cuts, input..=window, Just(output)).prop_map(
                move |(row, (a, b), bound, output)| {
                    let (low, high) = (a.min(b), a.max(b));
                    (row, [low, high - low, input - high], bound, output)
                },
            )
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_usage_within_its_limits_costs_more_than_the_worst_case_of_any_row(
        (row, [uncached, cached, written], input_bound, output) in any_usage_of_a_row(),
        output_slack in 0..1_000_u64,
    ) {
        let target = &ROWS[row];
        let usage = Usage {
            uncached_input: Tokens::new(uncached),
            cached_input: Tokens::new(cached),
            cache_write: Tokens::new(written),
            output: Tokens::new(output),
            reasoning: Tokens::new(output),
..Usage::default()
};
        let (input, output) = (Tokens::new(input_bound), Tokens::new(output + output_slack));
        let worst = target.prices.worst_case(input, output).unwrap();
        prop_assert!(worst >= target.prices.cost(&usage).unwrap(), "{}", target.model);
    }
}
