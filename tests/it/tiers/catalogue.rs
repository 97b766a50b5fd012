//! Prices of other tiers in a catalogue's file.

use rungate::catalog::Catalog;
use rungate::domain::tier::ServiceTier;
use rungate::domain::usage::{Tokens, Usage};

use super::MODELS;

/// What they cost; the file's head says how it was made.
const VECTORS: &str = include_str!("../../../fixtures/tiers/vectors.tsv");

/// A row that may have tiers, before they come.
const ROW: &str = r#"
[[models]]
name = "m"
provider = "openai"
context_window = 1000
max_output_tokens = 100
tokenizer = "bytes"
input = "2"
output = "8"
bound = { per_request = 1, per_message = 2, per_tool = 3 }
"#;

const LONG: &str = "[models.long_context]\nabove = 500\ninput = \"4\"\noutput = \"12\"\n";
const FLEX: &str = "[models.tiers.flex]\ninput = \"1\"\noutput = \"4\"\n";

#[test]
fn every_tier_costs_what_its_vectors_say_to_the_last_digit() {
    let catalog = Catalog::parse("models.toml", MODELS).unwrap();
    let vectors = VECTORS.lines().filter(|line| !line.starts_with('#')).skip(1);
    let mut priced = 0;
    for line in vectors {
        let columns: Vec<&str> = line.split('\t').collect();
        let [model, tier, tokens @ .., cost] = columns.as_slice() else { panic!("{line}") };
        let tokens: Vec<Tokens> =
            tokens.iter().map(|count| Tokens::new(count.parse().unwrap())).collect();
        let usage = Usage {
            uncached_input: tokens[0],
            cached_input: tokens[1],
            cache_write: tokens[2],
            long_cache_write: tokens[3],
            output: tokens[4],
            reasoning: Tokens::ZERO,
        };
        let target = &catalog.model(model).unwrap().targets[0];
        let prices = target.prices_in(ServiceTier::parse(tier).unwrap()).unwrap();
        assert_eq!(prices.cost(&usage).unwrap().to_string(), *cost, "{line}");
        priced += 1;
    }
    assert_eq!(priced, 108, "each tier of each model has twelve");
}

#[test]
fn a_model_has_prices_only_of_the_tiers_that_its_row_names() {
    let catalog = Catalog::parse("models.toml", MODELS).unwrap();
    for (model, flex, priority) in [
        ("tiered", true, true),
        ("digits", true, true),
        ("one-tier", false, true),
        ("plain", false, false),
    ] {
        let target = &catalog.model(model).unwrap().targets[0];
        let has = |tier| target.prices_in(tier).is_some();
        let has = ServiceTier::ALL.map(has);
        assert_eq!(has, [true, flex, priority], "{model}");
    }
    let built_in = Catalog::built_in().unwrap();
    let targets = built_in.models().flat_map(|model| &model.targets);
    assert!(targets.into_iter().all(|target| target.tiers.is_empty()), "they name their source");
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let error = Catalog::parse("m.toml", text).err();
    assert_eq!(error.map(|error| error.to_string()).as_deref(), Some(message), "{text}");
}

#[test]
fn prices_of_a_tier_are_read_as_strictly_as_the_row_s() {
    assert!(Catalog::parse("m.toml", &format!("{ROW}{FLEX}")).is_ok());
    let flex = |from: &str, to: &str| format!("{ROW}{}", FLEX.replacen(from, to, 1));
    let at = |line: u32, rest: &str| format!("m.toml:{line}: model \"m\": {rest}");
    let price = "a price in USD per million tokens, such as \"0.25\"";
    refused(
        &flex("input = \"1\"\n", ""),
        &at(11, &format!("`tiers.flex.input` is missing: {price}")),
    );
    refused(
        &flex("output = \"4\"\n", ""),
        &at(11, &format!("`tiers.flex.output` is missing: {price}")),
    );
    let unquoted = "`tiers.flex.input` is a price and must be quoted to be exact: \
                    tiers.flex.input = \"1\"";
    refused(&flex("\"1\"", "1"), &at(12, unquoted));
    let malformed = "`tiers.flex.input` = \"cheap\" is not a decimal number such as \"0.25\"";
    refused(&flex("\"1\"", "\"cheap\""), &at(12, malformed));
    let negative = "`tiers.flex.output` = \"-4\" must not be negative";
    refused(&flex("\"4\"", "\"-4\""), &at(13, negative));
    let fine = "`tiers.flex.input` = \"0.0000000000001\" may have at most 6 integer and 12 \
                fraction digits";
    refused(&flex("\"1\"", "\"0.0000000000001\""), &at(12, fine));
    let unknown = "unknown key `tiers.batch`; known are flex, priority";
    refused(&flex("flex", "batch"), &at(11, unknown));
    let unknown = "unknown key `tiers.flex.above`; known are input, cached_input, cache_write, \
                   cache_write_1h, output, long_context";
    refused(&flex("output", "above"), &at(13, unknown));
    refused(&format!("{ROW}tiers = 1\n"), &at(11, "`tiers` must be a table, not integer"));
}

#[test]
fn a_tier_says_what_long_requests_cost_if_the_row_does() {
    let missing = "m.toml:15: model \"m\": `tiers.flex.long_context` is missing: the row has other \
                   prices for long requests";
    refused(&format!("{ROW}{LONG}{FLEX}"), missing);
    let long = LONG.replace("long_context", "tiers.flex.long_context");
    let whole = format!("{ROW}{LONG}{FLEX}{long}");
    assert!(Catalog::parse("m.toml", &whole).is_ok());
    let typed = "m.toml:19: model \"m\": `tiers.flex.long_context.above` must be a whole number, \
                 not string";
    let quoted = long.replace("500", "\"500\"");
    refused(&format!("{ROW}{LONG}{FLEX}{quoted}"), typed);
}

#[test]
fn who_takes_no_tier_and_who_has_no_output_has_no_prices_of_one() {
    let elsewhere = ROW.replace("openai", "groq");
    let says = "m.toml:11: model \"m\": `tiers`: `groq` is asked for no service tier, so nobody is \
                charged at their prices";
    refused(&format!("{elsewhere}{FLEX}"), says);
    let embedding = ROW
        .replace("max_output_tokens = 100\n", "kind = \"embedding\"\n")
        .replace("output = \"8\"\n", "");
    let says = "m.toml:10: model \"m\": `tiers` is not for embeddings: they have no output tokens";
    refused(&format!("{embedding}{FLEX}"), says);
}

#[test]
fn one_upstream_model_has_one_set_of_prices_in_each_tier() {
    let other = ROW.replace("name = \"m\"", "name = \"n\"\nupstream_model = \"m\"");
    let says = "m.toml:15: model \"n\": `m` at `openai` has other prices on line 2";
    refused(&format!("{ROW}{FLEX}{other}"), says);
    assert!(Catalog::parse("m.toml", &format!("{ROW}{FLEX}{other}{FLEX}")).is_ok());
}
