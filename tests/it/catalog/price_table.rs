//! The built-in catalogue against the price table: a row has the table's numbers to the digit, or
//! there is a reason why it is not there.

use std::collections::BTreeSet;
use std::sync::Arc;

use rungate::catalog::{Catalog, Kind, Target};
use rust_decimal::Decimal;

use super::{built_in, provider};

const TABLE: &str = include_str!("../../../fixtures/prices/model-prices.csv");
const COLUMNS: &str = "provider,model,mode,max_input_tokens,max_output_tokens,input,cached_input,\
                       cache_write,cache_write_1h,output,reasoning_output,long_context,vision,source";

/// Chat models of the table that the catalogue does without, and why. A trailing `*` stands for any
/// rest of the name.
const LEFT_OUT: [(&str, &[&str], &str); 13] = [
    (
        "openai",
        &["gpt-audio*", "gpt-4o-audio-*", "gpt-4o-mini-audio-*"],
        "the table has no price of audio",
    ),
    (
        "azure",
        &["gpt-audio*", "gpt-4o-audio-*", "gpt-4o-mini-audio-*"],
        "the table has no price of audio",
    ),
    ("mistral", &["voxtral-small-*"], "the table has no price of audio"),
    ("openai", &["computer-use-preview*"], "only with a tool of the provider"),
    ("azure", &["computer-use-preview"], "only with a tool of the provider"),
    (
        "openai",
        &["gpt-4o-search-*", "gpt-4o-mini-search-*", "gpt-5-search-api*"],
        "each search is charged besides",
    ),
    (
        "openai",
        &["gpt-5.5-cyber", "gpt-5.5-cyber-preview", "gpt-rosalind-*"],
        "no published limits",
    ),
    (
        "azure",
        &["command-r-plus", "mistral-large-*", "model-router"],
        "retired; no published limits; a surcharge and no price",
    ),
    ("mistral", &["mistral-large-4", "mistral-large-4-0"], "no published limits"),
    ("mistral", &["mistral-small", "mistral-tiny"], "names of retired models"),
    ("mistral", &["labs-leanstral-*"], "free for the time being"),
    (
        "deepseek",
        &["deepseek-coder", "deepseek-r1", "deepseek-v3"],
        "no longer on the pricing page",
    ),
    ("groq", &["llama-guard-3-8b"], "no published limits"),
];

/// A row of the table.
struct Row<'a> {
    provider: &'a str,
    model: &'a str,
    mode: &'a str,
    cells: Vec<&'a str>,
}

impl<'a> Row<'a> {
    fn cell(&self, column: &str) -> &'a str {
        self.cells[COLUMNS.split(',').position(|name| name == column).unwrap()]
    }

    /// A price; `None` where the table has none.
    fn price(&self, column: &str) -> Option<Decimal> {
        let cell = self.cell(column);
        (!cell.is_empty()).then(|| Decimal::from_str_exact(cell).unwrap())
    }

    /// A price of the tier for long requests, and its threshold.
    fn long(&self, class: &str) -> Option<(u64, Decimal)> {
        self.cell("long_context").split(';').find_map(|entry| {
            let (name, price) = entry.split_once('=')?;
            let rest = name.strip_prefix(class)?.strip_prefix("_cost_per_token_above_")?;
            // Other service tiers have a suffix; nobody can ask for them.
            let thousands: u64 = rest.strip_suffix("k_tokens")?.parse().unwrap();
            Some((thousands * 1000, Decimal::from_str_exact(price).unwrap()))
        })
    }

    fn matches(&self, pattern: &str) -> bool {
        match pattern.strip_suffix('*') {
            Some(beginning) => self.model.starts_with(beginning),
            None => self.model == pattern,
        }
    }

    fn is_left_out(&self) -> bool {
        let mut named = LEFT_OUT.iter().filter(|(provider, ..)| *provider == self.provider);
        named.any(|(_, patterns, _)| patterns.iter().any(|pattern| self.matches(pattern)))
    }

    fn at(&self) -> &'a str {
        if self.provider == "azure" { "azure_openai" } else { self.provider }
    }

    fn target(&self, catalog: &Catalog) -> Option<Arc<Target>> {
        let targets = &catalog.model(self.model)?.targets;
        targets.iter().find(|target| target.provider.name == self.at()).cloned()
    }
}

fn table() -> Vec<Row<'static>> {
    let mut lines = TABLE.lines();
    assert_eq!(lines.next(), Some(COLUMNS));
    let cells = lines.map(|line| line.split(',').collect::<Vec<_>>());
    let rows: Vec<_> = cells
        .map(|cells| Row { provider: cells[0], model: cells[1], mode: cells[2], cells })
        .collect();
    assert!(rows.iter().all(|row| row.cells.len() == COLUMNS.split(',').count()));
    rows
}

fn check_prices(row: &Row<'_>, target: &Target) {
    let name = row.model;
    let input = row.price("input").unwrap();
    let cached = row.price("cached_input").unwrap_or(input);
    // No price and a price of nothing both mean that writing is not told apart from other input.
    let written = row.price("cache_write").filter(|price| !price.is_zero()).unwrap_or(input);
    let output = row.price("output").unwrap_or_default();
    let classes = |prices: &rungate::domain::price::ClassPrices| {
        [prices.input, prices.cached_input, prices.cache_write, prices.output]
            .map(|price| price.decimal())
    };
    assert_eq!(classes(&target.prices.base), [input, cached, written, output], "{name}");
    let for_an_hour = row.price("cache_write_1h").unwrap_or(written);
    assert_eq!(target.prices.base.long_cache_write.decimal(), for_an_hour, "{name}");
    let long = target.prices.long_context.map(|long| (long.above.count(), classes(&long.prices)));
    let expected = row.long("input").map(|(above, long_input)| {
        let (same, long_output) = row.long("output").unwrap();
        assert_eq!(above, same, "{name}");
        // The multiple is exact for every row, or these would not be equal.
        let times = long_input / input;
        (above, [long_input, cached * times, written * times, long_output])
    });
    assert_eq!(long, expected, "{name}");
}

fn check_limits(row: &Row<'_>, target: &Target) {
    let name = row.model;
    let count = |column| row.cell(column).parse::<u64>().unwrap_or_default();
    assert_eq!(target.context_window.count(), count("max_input_tokens"), "{name}");
    assert_eq!(target.max_output.count(), count("max_output_tokens"), "{name}");
    if target.constants.per_image.is_some() {
        assert_eq!(row.cell("vision"), "True", "{name}");
    }
}

#[test]
fn every_model_of_the_table_has_its_numbers_or_a_reason_to_be_left_out() {
    let catalog = built_in();
    let mut found = BTreeSet::new();
    for row in table() {
        let target = row.target(&catalog);
        let (name, at) = (row.model, row.provider);
        match row.mode {
            "responses" => assert!(target.is_none(), "{name} at {at} takes no chat completions"),
            "chat" if row.is_left_out() => assert!(target.is_none(), "{name} at {at} is there"),
            mode => {
                let target = target.unwrap_or_else(|| panic!("{name} at {at} is missing"));
                assert_eq!(target.kind.name(), mode, "{name}");
                check_prices(&row, &target);
                check_limits(&row, &target);
                found.insert((target.model.clone(), target.provider.name));
            }
        }
    }
    for model in catalog.models() {
        for target in model.targets.iter().filter(|target| !target.example_price) {
            let row = (target.model.clone(), target.provider.name);
            assert!(found.contains(&row), "{row:?} is not in the table");
        }
    }
    assert!(found.len() > 200);
}

#[test]
fn every_reason_is_needed() {
    let rows = table();
    for (at, patterns, reason) in LEFT_OUT {
        for pattern in patterns {
            let mut there = rows.iter().filter(|row| row.provider == at && row.mode == "chat");
            assert!(there.any(|row| row.matches(pattern)), "{pattern} at {at}: {reason}");
        }
    }
}

/// What the catalogue leaves away of the table because it says nothing there.
#[test]
fn no_column_that_the_catalogue_has_no_price_for_says_anything_new() {
    for row in table() {
        let name = row.model;
        assert_eq!(row.cell("reasoning_output"), "", "{name}: reasoning has its own price");
        if let Some(hour) = row.price("cache_write_1h") {
            let twice = row.price("input").unwrap() * Decimal::TWO;
            assert_eq!((row.provider, hour), ("anthropic", twice), "{name}");
        }
    }
}

#[test]
fn models_for_embeddings_have_input_alone() {
    let catalog = built_in();
    let all = catalog.models().flat_map(|model| model.targets.iter());
    let embeddings: Vec<_> = all.filter(|target| target.kind == Kind::Embedding).collect();
    assert_eq!(embeddings.len(), 12);
    for target in embeddings {
        let output = (target.max_output.count(), target.prices.base.output.decimal());
        assert_eq!(output, (0, Decimal::ZERO), "{}", target.model);
        assert!(!target.hidden_reasoning && target.prices.long_context.is_none());
        assert!(catalog.served(provider(target.provider.name), &target.upstream_model).is_some());
    }
}
