//! A catalogue from LiteLLM's price map: every row is there to the digit, or there is a reason.

use std::sync::Arc;

use rungate::catalog::import::{Imported, import};
use rungate::catalog::price_map::{self, LeftOut};
use rungate::catalog::{Catalog, Target};
use rungate::domain::tier::OtherTiers;
use serde_json::{Value, json};

/// Rows of the real map; `fixtures/price_map/README.md` names the source.
const MAP: &str = include_str!("../../../fixtures/price_map/litellm.json");

fn imported(map: &str) -> Imported {
    let built_in = Catalog::built_in().unwrap();
    import(price_map::read(map).unwrap(), &built_in, |_, _| true).unwrap()
}

fn target(catalog: &Catalog, provider: &str, model: &str) -> Arc<Target> {
    let name = format!("{provider}/{model}");
    catalog.resolve(&name, |_| true).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A row that can be used, with other members on top.
fn row(members: Value) -> String {
    let mut row = json!({
        "litellm_provider": "openai", "mode": "chat", "max_input_tokens": 1000,
        "max_output_tokens": 100, "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6,
    });
    for (name, value) in members.as_object().unwrap() {
        row[name] = value.clone();
    }
    json!({"new-model": row}).to_string()
}

#[track_caller]
fn check_left_out(members: Value, why: &str) {
    let imported = imported(&row(members.clone()));
    let told: Vec<String> = imported.left_out.iter().map(|(_, why)| why.to_string()).collect();
    assert_eq!((imported.taken, told.as_slice()), (0, &[why.to_owned()][..]), "{members}");
}

#[test]
fn real_rows_come_in_with_the_prices_and_constants_of_the_built_in_ones() {
    let built_in = Catalog::built_in().unwrap();
    let catalog = Catalog::parse("imported", &imported(MAP).text).unwrap();
    for (provider, model) in [
        ("openai", "gpt-4o-mini"),
        ("openai", "gpt-5.4"),
        ("openai", "text-embedding-3-small"),
        ("anthropic", "claude-sonnet-4-5"),
        ("anthropic", "claude-haiku-4-5"),
        ("anthropic", "claude-haiku-5-5"),
        ("azure_openai", "gpt-4o"),
        ("mistral", "mistral-large-latest"),
        ("mistral", "codestral-embed"),
        ("groq", "openai/gpt-oss-120b"),
        ("deepseek", "deepseek-chat"),
    ] {
        let (ours, theirs) =
            (target(&built_in, provider, model), target(&catalog, provider, model));
        // The built-in catalogue has no prices of other service tiers.
        let theirs = Target { tiers: OtherTiers::default(), ..Target::clone(&theirs) };
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "{provider}/{model}");
    }
}

#[test]
fn real_rows_that_cannot_be_priced_or_bounded_are_left_out_with_the_reason() {
    let imported = imported(MAP);
    let left_out: Vec<String> =
        imported.left_out.iter().map(|(key, why)| format!("{key}: {why}")).collect();
    insta::assert_snapshot!(left_out.join("\n"), @r"
    sample_spec: the provider one of https://docs.litellm.ai/docs/providers is not known here
    gpt-4o-search-preview: each of its searches is charged besides
    ft:gpt-4o-2024-08-06: it stands for models of a customer, which have names of their own
    gpt-realtime: the mode realtime is not served
    gpt-5.5-cyber: no bound: `max_input_tokens` is missing or no number of tokens
    gpt-audio: `input_cost_per_audio_token` is a price of a class that is not known here
    azure/eu/gpt-4o: it is the price of a region, not the name of a model
    mistral/labs-leanstral-1-5: no price: `input_cost_per_token` is 0
    deepseek-chat: another row of the map names the model together with its provider
    dashscope/qwen-flash: the provider dashscope is not known here
    openai/container: no price: `input_cost_per_token` is missing
    ");
    assert_eq!(imported.taken + imported.left_out.len(), 22);
}

#[test]
fn what_the_import_writes_is_read_again_as_the_same_catalogue() {
    let imported = imported(MAP);
    let catalog = Catalog::parse("imported", &imported.text).unwrap();
    assert_eq!(catalog.models().flat_map(|model| &model.targets).count(), imported.taken);
    let again = import(price_map::read(MAP).unwrap(), &catalog, |_, _| true).unwrap();
    assert_eq!(again.text, imported.text);
}

#[test]
fn a_price_is_the_text_that_stands_there_and_never_a_float() {
    for (number, price) in [
        ("1.5e-07", "0.15"),
        ("0.00000015", "0.15"),
        ("1E-6", "1"),
        ("3.3000000000e-7", "0.33"),
        ("1.23456789012e-7", "0.123456789012"),
        ("\"4e-07\"", "0.4"),
    ] {
        let map = row(json!({"input_cost_per_token": 7})).replace(":7,", &format!(":{number},"));
        let catalog = Catalog::parse("imported", &imported(&map).text).unwrap();
        let input = target(&catalog, "openai", "new-model").prices.base.input;
        assert_eq!(input.decimal().to_string(), price, "{number}");
    }
    let too_fine =
        row(json!({"input_cost_per_token": 7})).replace(":7,", ":1.0000000000000001e-07,");
    let left_out = imported(&too_fine).left_out;
    assert_eq!(
        left_out[0].1.to_string(),
        "`input_cost_per_token` 1.0000000000000001e-07 is no price that stays exact"
    );
}

#[test]
fn a_row_without_price_bound_or_place_is_left_out() {
    check_left_out(
        json!({"input_cost_per_token": null}),
        "no price: `input_cost_per_token` is missing",
    );
    check_left_out(
        json!({"output_cost_per_token": null}),
        "no price: `output_cost_per_token` is missing",
    );
    check_left_out(json!({"input_cost_per_token": 0.0}), "no price: `input_cost_per_token` is 0");
    check_left_out(
        json!({"input_cost_per_token": "-0.1"}),
        "`input_cost_per_token` -0.1 is no price that stays exact",
    );
    for limit in ["max_input_tokens", "max_output_tokens"] {
        let why = format!("no bound: `{limit}` is missing or no number of tokens");
        for value in [json!(null), json!(0), json!(-1), json!(1.5), json!("many"), json!(1e12)] {
            check_left_out(json!({limit: value}), &why);
        }
    }
    check_left_out(json!({"mode": "responses"}), "the mode responses is not served");
    check_left_out(json!({"mode": null}), "the mode (none) is not served");
    check_left_out(json!({"litellm_provider": "acme"}), "the provider acme is not known here");
}

#[test]
fn a_row_with_a_price_of_another_class_is_left_out_unless_it_is_nothing() {
    let why = |class: &str| format!("`{class}` is a price of a class that is not known here");
    for class in [
        "input_cost_per_audio_token",
        "input_cost_per_image",
        "output_cost_per_image",
        "input_cost_per_request",
        "input_cost_per_second",
        "some_new_cost",
    ] {
        check_left_out(json!({class: 1e-9}), &why(class));
        assert_eq!(imported(&row(json!({class: 0.0}))).taken, 1, "{class}");
    }
    let reasoning = "output_cost_per_reasoning_token";
    check_left_out(json!({reasoning: 3e-6}), &why(reasoning));
    assert_eq!(imported(&row(json!({reasoning: 2e-6}))).taken, 1);
    let tiers = "`tiered_pricing` has steps that are not known here";
    check_left_out(
        json!({"input_cost_per_token_above_128k_tokens": 2e-6,
               "output_cost_per_token_above_200k_tokens": 4e-6}),
        tiers,
    );
    check_left_out(json!({"tiered_pricing": [{}, {}, {}]}), tiers);
}

#[test]
fn dearer_long_requests_come_in_by_either_spelling() {
    let suffixed = json!({
        "input_cost_per_token_above_200k_tokens": 3e-6,
        "output_cost_per_token_above_200k_tokens": 4.5e-6,
        "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 6e-6,
    });
    let stepped = json!({
        "input_cost_per_token": null, "output_cost_per_token": null,
        "tiered_pricing": [
            {"range": [0, 200_000.0], "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6},
            {"range": [200_000.0, 1e6], "input_cost_per_token": 3e-6,
             "output_cost_per_token": 4.5e-6,
             "cache_creation_input_token_cost_above_1hr": 6e-6},
        ],
    });
    for members in [suffixed, stepped] {
        let text = imported(&row(members)).text;
        let tier = r#"long_context = { above = 200000, input = "3", cache_write_1h = "6", output = "4.5" }"#;
        assert!(text.contains(tier), "{text}");
        let catalog = Catalog::parse("imported", &text).unwrap();
        let prices = target(&catalog, "openai", "new-model").prices;
        assert_eq!(prices.base.input.decimal().to_string(), "1");
        assert_eq!(prices.long_context.unwrap().above.count(), 200_000);
    }
}

#[test]
fn a_model_that_is_new_here_gets_its_providers_most_cautious_constants() {
    let map = row(json!({"supports_reasoning": true}));
    let catalog = Catalog::parse("imported", &imported(&map).text).unwrap();
    let new = target(&catalog, "openai", "new-model");
    let built_in = Catalog::built_in().unwrap();
    let theirs = built_in.models().flat_map(|model| &model.targets);
    for other in theirs.filter(|target| target.provider.name == "openai") {
        assert!(new.constants.per_request >= other.constants.per_request);
        assert!(new.constants.per_message >= other.constants.per_message);
        assert!(new.constants.per_tool >= other.constants.per_tool);
    }
    assert_eq!(new.constants.per_image, None);
    assert!(new.tokenizer.is_bytes() && new.hidden_reasoning);
}

#[test]
fn a_dated_release_gets_the_constants_of_its_model() {
    let map = row(json!({})).replace("new-model", "gpt-4o-mini-2031-02-03");
    let catalog = Catalog::parse("imported", &imported(&map).text).unwrap();
    let new = target(&catalog, "openai", "gpt-4o-mini-2031-02-03");
    let old = target(&Catalog::built_in().unwrap(), "openai", "gpt-4o-mini");
    assert_eq!(new.constants, old.constants);
    assert_eq!(new.tokenizer.name(), old.tokenizer.name());
    assert_eq!(new.prices.base.output.decimal().to_string(), "2");
}

#[test]
fn names_that_would_be_ambiguous_are_told_apart_or_left_out() {
    let here = |provider: &str| {
        json!({"litellm_provider": provider, "mode": "chat", "max_input_tokens": 1000,
               "max_output_tokens": 100, "input_cost_per_token": 1e-6,
               "output_cost_per_token": 2e-6})
    };
    let map = json!({"one": here("openai"), "openrouter/openai/one": here("openrouter")});
    let catalog = Catalog::parse("imported", &imported(&map.to_string()).text).unwrap();
    let routed = target(&catalog, "openrouter", "openai/one");
    assert_eq!((&*routed.model, &*routed.upstream_model), ("openrouter/openai/one", "openai/one"));
    assert_eq!(target(&catalog, "openai", "one").provider.name, "openai");

    let twice = format!("{{\"one\":{0},\"one\":{0}}}", here("openai"));
    let left_out = imported(&twice).left_out;
    assert!(left_out.iter().all(|(_, why)| *why == LeftOut::Twice) && left_out.len() == 2);

    let spoilt = json!({"bad name": here("openai"), "good": here("openai")}).to_string();
    let half = imported(&spoilt);
    assert_eq!((half.taken, half.left_out[0].0.as_str()), (1, "bad name"));
}
