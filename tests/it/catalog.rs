//! The catalogue: every price exact, every name unambiguous, every bad file refused by name.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod built_in;
mod price_table;
mod vocabularies;

use rungate::catalog::{Catalog, Kind, Unresolved};
use rungate::domain::usage::Tokens;
use rungate::providers::{self, Provider};

const V3: &str = "deepseek-ai/DeepSeek-V3-0324";

/// One good row with everything that a row may have, to be spoilt in one place.
const GOOD: &str = r#"
[[models]]
name = "acme/one"
provider = "openai"
upstream_model = "one-v1"
context_window = 1_000
max_output_tokens = 100
tokenizer = "o200k"
hidden_reasoning = true
example_price = true
input = "2"
cached_input = "0.2"
cache_write = "2.5"
output = "8"
bound = { per_request = 1, per_message = 2, per_tool = 3, per_image = 4 }
[models.long_context]
above = 500
input = "4"
output = "12"
"#;

fn built_in() -> Catalog {
    Catalog::built_in().unwrap()
}

fn provider(name: &str) -> &'static Provider {
    providers::find(name).unwrap()
}

#[test]
fn an_unprefixed_name_takes_the_first_configured_target_in_catalogue_order() {
    let catalog = built_in();
    let check = |name: &str, configured: &[&str], expected: Result<&str, Unresolved>| {
        let found = catalog.resolve(name, |provider| configured.contains(&provider.name));
        let found = found.as_ref().map(|target| target.provider.name).map_err(|error| *error);
        assert_eq!(found, expected, "{name} with {configured:?}");
    };
    let all = ["targon", "openrouter", "openai", "chutes", "deepseek"];
    let missing = |name| Err(Unresolved::NotConfigured(provider(name)));
    check(V3, &all, Ok("chutes"));
    check(V3, &["targon", "openrouter"], Ok("openrouter"));
    check(V3, &["targon"], Ok("targon"));
    check(V3, &["openai"], missing("chutes"));
    check(&format!("targon/{V3}"), &all, Ok("targon"));
    check(&format!("targon/{V3}"), &["chutes"], missing("targon"));
    check("openrouter/deepseek/deepseek-chat-v3-0324", &all, Ok("openrouter"));
    check("openrouter/deepseek/deepseek-chat-v3-0324", &[], missing("openrouter"));
    check("deepseek/deepseek-chat", &all, Ok("deepseek"));
    check("gpt-4o-mini", &[], missing("openai"));
    for unknown in [
        "",
        "/",
        "openai/",
        "/gpt-4o",
        "GPT-4o",
        "gpt-4o ",
        "nobody/gpt-4o",
        "chutes/gpt-4o",
        "openai/openai/gpt-4o",
        "deepseek/deepseek-chat-v3-0324",
    ] {
        check(unknown, &all, Err(Unresolved::Unknown));
    }
}

#[test]
fn an_answer_is_priced_by_the_model_that_it_names_at_that_provider() {
    let catalog = built_in();
    let check = |at: &str, answered: &str, expected: Option<&str>| {
        let found = catalog.served(provider(at), answered);
        assert_eq!(found.map(|target| target.model.as_str()), expected, "{answered} at {at}");
    };
    check("openai", "gpt-4o-2024-05-13", Some("gpt-4o-2024-05-13"));
    check("openrouter", "deepseek/deepseek-chat-v3-0324", Some(V3));
    check("openrouter", V3, Some(V3));
    check("chutes", "deepseek/deepseek-chat-v3-0324", None);
    check("openai", "gpt-4o-2099-01-01", None);
    check("groq", "gpt-4o", None);
}

#[test]
fn the_upstream_id_wins_over_the_catalogue_name_when_an_answer_is_priced() {
    let other = GOOD.replace("acme/one", "one-v1").replace("\"one-v1\"\nc", "\"two\"\nc");
    let other = other.replace("input = \"2\"", "input = \"3\"");
    let catalog = Catalog::parse("m", &format!("{GOOD}{other}")).unwrap();
    assert_eq!(catalog.served(provider("openai"), "one-v1").unwrap().model, "acme/one");
    assert_eq!(catalog.resolve("openai/one-v1", |_| true).unwrap().model, "one-v1");
}

#[test]
fn a_row_is_read_as_it_stands() {
    let catalog = Catalog::parse("m", GOOD).unwrap();
    let target = catalog.resolve("acme/one", |_| true).unwrap();
    let long = target.prices.long_context.unwrap();
    let prices = [target.prices.base, long.prices]
        .map(|it| [it.input, it.cached_input, it.cache_write, it.output])
        .map(|it| it.map(|price| price.decimal().to_string()));
    assert_eq!(prices, [["2", "0.2", "2.5", "8"], ["4", "4", "4", "12"]]);
    assert_eq!(long.above, Tokens::new(500));
    assert_eq!((target.context_window.count(), target.max_output.count()), (1000, 100));
    assert_eq!(target.upstream_model, "one-v1");
    assert!(target.hidden_reasoning && target.example_price);
    assert_eq!(target.constants.per_image, Some(4));
    let sparse = without(&["upstream_model", "cached_input", "cache_write", "per_image"]);
    let catalog = Catalog::parse("m", &sparse).unwrap();
    let target = catalog.resolve("acme/one", |_| true).unwrap();
    assert_eq!(target.upstream_model, "acme/one");
    assert_eq!(target.prices.base.cached_input, target.prices.base.input);
    assert_eq!(target.prices.base.cache_write, target.prices.base.input);
}

fn without(keys: &[&str]) -> String {
    let text = GOOD.replace(", per_image = 4", "");
    let stays = |line: &&str| !keys.iter().any(|key| line.starts_with(&format!("{key} =")));
    text.lines().filter(stays).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_price_version_changes_with_the_file_and_only_with_it() {
    let one = Catalog::parse("a", GOOD).unwrap();
    assert_eq!(one.version(), Catalog::parse("b", GOOD).unwrap().version());
    let dearer = GOOD.replace("\"8\"", "\"9\"");
    assert_ne!(one.version(), Catalog::parse("a", &dearer).unwrap().version());
    assert_eq!(one.version().len(), 12);
    assert!(one.version().bytes().all(|byte| byte.is_ascii_hexdigit()));
}

/// Spoils the good row in one place and expects exactly this message.
fn check(from: &str, to: &str, message: &str) {
    assert!(GOOD.contains(from), "{from}");
    refused(&GOOD.replacen(from, to, 1), message);
}

fn refused(text: &str, message: &str) {
    let error = Catalog::parse("m.toml", text).err();
    assert_eq!(error.map(|error| error.to_string()).as_deref(), Some(message), "{text}");
}

#[test]
fn a_missing_field_is_named_with_the_row_that_lacks_it() {
    let row = "m.toml:2: model \"acme/one\": ";
    let tier = "m.toml:16: model \"acme/one\": ";
    let price = "a price in USD per million tokens, such as \"0.25\"";
    let missing = |at: &str, key: &str, what: &str| format!("{at}`{key}` is missing: {what}");
    check("\nname = \"acme/one\"", "", "m.toml:2: `name` is missing: what clients call the model");
    check("provider = \"openai\"", "", &missing(row, "provider", "who serves the model"));
    let what = missing(row, "context_window", "the most input tokens");
    check("context_window = 1_000", "", &what);
    let what = missing(row, "max_output_tokens", "the most output tokens");
    check("max_output_tokens = 100", "", &what);
    check("tokenizer = \"o200k\"", "", &missing(row, "tokenizer", "how tokens are counted"));
    check("input = \"2\"", "", &missing(row, "input", price));
    check("output = \"8\"", "", &missing(row, "output", price));
    check("input = \"4\"", "", &missing(tier, "long_context.input", price));
    check("output = \"12\"", "", &missing(tier, "long_context.output", price));
    let what = "dearer are requests with more input tokens";
    check("above = 500", "", &missing(tier, "long_context.above", what));
    let bound = "bound = { per_request = 1, per_message = 2, per_tool = 3, per_image = 4 }";
    let what = "what the provider adds around the text, in tokens";
    check(bound, "", &missing(row, "bound", what));
    let (at, what) = ("m.toml:15: model \"acme/one\": ", "an upper bound in tokens");
    check("per_request = 1, ", "", &missing(at, "bound.per_request", what));
    check("per_message = 2, ", "", &missing(at, "bound.per_message", what));
    check("per_tool = 3, ", "", &missing(at, "bound.per_tool", what));
}

#[test]
fn a_price_that_could_be_inexact_is_refused() {
    let at = |line: u32, rest: &str| format!("m.toml:{line}: model \"acme/one\": {rest}");
    let quote = "is a price and must be quoted to be exact:";
    check("\"2\"", "2.5", &at(11, &format!("`input` {quote} input = \"2.5\"")));
    check("\"2\"", "2", &at(11, &format!("`input` {quote} input = \"2\"")));
    check("\"0.2\"", "1e-3", &at(12, &format!("`cached_input` {quote} cached_input = \"1e-3\"")));
    check("\"2\"", "true", &at(11, "`input` must be a quoted price, not boolean"));
    check("\"8\"", "\"-8\"", &at(14, "`output` = \"-8\" must not be negative"));
    let malformed = "is not a decimal number such as \"0.25\"";
    for text in ["", "free", "1,5", "0x10", "NaN", "inf", " 1", "1 "] {
        let to = format!("\"{text}\"");
        check("\"2.5\"", &to, &at(13, &format!("`cache_write` = \"{text}\" {malformed}")));
    }
    let digits = "may have at most 6 integer and 12 fraction digits";
    for text in ["0.0000000000001", "1000000", "1e-13", "1e6", "0.1234567890123"] {
        check("\"8\"", &format!("\"{text}\""), &at(14, &format!("`output` = \"{text}\" {digits}")));
    }
    check("\"12\"", "\"-1\"", &at(19, "`long_context.output` = \"-1\" must not be negative"));
}

#[test]
fn a_value_of_the_wrong_kind_is_refused() {
    let at = |line: u32, rest: &str| format!("m.toml:{line}: model \"acme/one\": {rest}");
    let all =
        "openai, anthropic, mistral, azure_openai, groq, deepseek, chutes, openrouter, targon";
    let unknown = format!("`provider` = \"closedai\" is unknown; known are {all}");
    check("\"openai\"", "\"closedai\"", &at(4, &unknown));
    let unknown = "`tokenizer` = \"p50k\" is unknown; known are o200k, cl100k, bytes, anthropic";
    check("\"o200k\"", "\"p50k\"", &at(8, unknown));
    let range = "must be from 1 to 2147483647, not";
    check("1_000", "0", &at(6, &format!("`context_window` {range} 0")));
    check("1_000", "-1", &at(6, &format!("`context_window` {range} -1")));
    check("1_000", "2147483648", &at(6, &format!("`context_window` {range} 2147483648")));
    let huge = "99999999999999999999999";
    check("100\n", &format!("{huge}\n"), &at(7, &format!("`max_output_tokens` {range} {huge}")));
    check("1_000", "1e3", &at(6, "`context_window` must be a whole number, not float"));
    check("1_000", "\"1000\"", &at(6, "`context_window` must be a whole number, not string"));
    let range = "`bound.per_tool` must be from 0 to 4294967295, not -3";
    check("per_tool = 3", "per_tool = -3", &at(15, range));
    check("= true", "= 1", &at(9, "`hidden_reasoning` must be true or false, not integer"));
    check("\"acme/one\"", "1", "m.toml:3: `name` must be a string, not integer");
    let name = "must be 1 to 200 printable ASCII characters without spaces";
    check("\"acme/one\"", "\"\"", &format!("m.toml:3: `name` {name}"));
    check("\"acme/one\"", "\"a b\"", &format!("m.toml:3: `name` {name}"));
    check("\"one-v1\"", "\"\\n\"", &at(5, &format!("`upstream_model` {name}")));
    let table = "`long_context` must be a table, not integer";
    let tier = "[models.long_context]\nabove = 500\ninput = \"4\"\noutput = \"12\"\n";
    check(tier, "long_context = 3", &at(16, table));
    let bound = "{ per_request = 1, per_message = 2, per_tool = 3, per_image = 4 }";
    check(bound, "7", &at(15, "`bound` must be a table, not integer"));
    let rows = "`models` must be rows that begin with [[models]], not";
    refused("\nmodels = 1", &format!("m.toml:2: {rows} integer"));
    refused("models = [\n 1]", &format!("m.toml:2: {rows} integer"));
}

/// The good row as one for embeddings.
fn embedding() -> String {
    let row = without(&["max_output_tokens", "hidden_reasoning", "output", "above"]);
    let (row, _) = row.split_once("[models.long_context]").unwrap();
    row.replace("upstream_model", "kind = \"embedding\"\nupstream_model")
}

#[test]
fn a_row_for_embeddings_has_no_output() {
    let catalog = Catalog::parse("m", &embedding()).unwrap();
    let target = catalog.resolve("acme/one", |_| true).unwrap();
    assert_eq!((target.kind, target.max_output), (Kind::Embedding, Tokens::ZERO));
    assert!(target.prices.base.output.decimal().is_zero());
    let chat = Catalog::parse("m", GOOD).unwrap().resolve("acme/one", |_| true).unwrap();
    assert_eq!(chat.kind, Kind::Chat);
    let written = GOOD.replace("upstream_model", "kind = \"chat\"\nupstream_model");
    assert_eq!(Catalog::parse("m", &written).unwrap().model("acme/one").unwrap().targets.len(), 1);
    for (key, line) in [
        ("max_output_tokens", "max_output_tokens = 1"),
        ("hidden_reasoning", "hidden_reasoning = false"),
        ("output", "output = \"0\""),
        ("long_context", "long_context = { above = 1, input = \"9\", output = \"9\" }"),
    ] {
        let row = embedding().replace("input = \"2\"", &format!("input = \"2\"\n{line}"));
        let at = "m.toml:11: model \"acme/one\":";
        let says = "is not for embeddings: they have no output tokens";
        refused(&row, &format!("{at} `{key}` {says}"));
    }
    let unknown = "`kind` = \"image\" is unknown; known are chat, embedding";
    let row = embedding().replace("\"embedding\"", "\"image\"");
    refused(&row, &format!("m.toml:5: model \"acme/one\": {unknown}"));
}

#[test]
fn a_file_that_is_not_a_catalogue_is_refused() {
    refused("", "m.toml:1: the file has no [[models]] row");
    refused("\nmodels = []", "m.toml:2: the file has no [[models]] row");
    refused("[defaults]", "m.toml:1: unknown key `defaults`; known are models");
    let toml = "m.toml:11: model \"acme/one\": the file is not valid TOML:";
    let unquoted = "string values must be quoted, expected literal string";
    check("input = \"2\"", "input = $2", &format!("{toml} {unquoted}"));
    let toml = "m.toml:14: model \"acme/one\": the file is not valid TOML:";
    check("output = \"8\"", "input = \"8\"", &format!("{toml} duplicate key"));
}

#[test]
fn a_key_that_nobody_reads_is_refused() {
    let row = "name, provider, upstream_model, kind, context_window, max_output_tokens, tokenizer, \
               tokenizer_file, hidden_reasoning, thinking, example_price, input, cached_input, cache_write, \
               cache_write_1h, output, long_context, tiers, bound";
    let message = format!("unknown key `outptu`; known are {row}");
    let at = |line: u32, rest: &str| format!("m.toml:{line}: model \"acme/one\": {rest}");
    check("output = \"8\"", "outptu = \"8\"", &at(14, &message));
    let tier = "unknown key `long_context.below`; known are above, input, cached_input, \
                cache_write, cache_write_1h, output";
    check("above = 500", "below = 500", &at(17, tier));
    let bound = "unknown key `bound.per_word`; known are per_request, per_message, per_tool, \
                 per_image";
    check("per_tool = 3", "per_word = 3", &at(15, bound));
}

#[test]
fn a_name_that_could_mean_two_rows_is_refused() {
    let two = |spoil: &dyn Fn(&str) -> String| format!("{GOOD}{}", spoil(GOOD));
    refused(
        &two(&str::to_owned),
        "m.toml:21: model \"acme/one\": the provider `openai` already has this model on line 2",
    );
    let elsewhere = two(&|row| row.replace("\"openai\"", "\"groq\""));
    assert_eq!(
        Catalog::parse("m", &elsewhere).unwrap().model("acme/one").unwrap().targets.len(),
        2
    );
    let alias = |row: &str| row.replace("acme/one", "another");
    assert!(Catalog::parse("m", &two(&alias)).is_ok());
    refused(
        &two(&|row| alias(row).replace("\"8\"", "\"9\"")),
        "m.toml:21: model \"another\": `one-v1` at `openai` has other prices on line 2",
    );
    for prefixed in ["openai/acme/one", "openai/one-v1"] {
        let ambiguous = "the name is ambiguous: it also means the row of `openai` on line 2";
        refused(
            &two(&|row| row.replace("acme/one", prefixed).replace("\"one-v1\"", "\"x\"")),
            &format!("m.toml:21: model \"{prefixed}\": {ambiguous}"),
        );
    }
    assert!(Catalog::parse("m", &GOOD.replace("acme/one", "openai/one-v1")).is_ok());
}
