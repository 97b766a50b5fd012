//! What providers list: which prices are believed, which are not, and what is left as it is.

use rungate::catalog::Catalog;
use rungate::catalog::offer::Offers;
use rungate::catalog::refresh::{Heard, What};
use rungate::providers::PricedBy;

const OPENROUTER: &str = include_str!("../../../fixtures/price_map/openrouter.json");
const CHUTES: &str = include_str!("../../../fixtures/price_map/chutes.json");
const FACTOR: u32 = 4;

fn row(provider: &str, model: &str) -> String {
    let (input, output) = if provider == "chutes" { ("0.5", "1.5") } else { ("1", "3") };
    format!(
        "# {model} is ours\n[[models]]\nname = \"{model}\"\nprovider = \"{provider}\"\n\
         context_window = 163840\nmax_output_tokens = 65536\ntokenizer = \"bytes\"\n\
         example_price = true\ninput = \"{input}\" # dollars\noutput = \"{output}\"\n\
         bound = {{ per_request = 64, per_message = 16, per_tool = 64, per_image = 7 }}\n\n"
    )
}

fn catalog(provider: &str, models: &[&str]) -> Catalog {
    let rows: String = models.iter().map(|model| row(provider, model)).collect();
    Catalog::parse("configured", &(rows + &row("groq", "other"))).unwrap()
}

/// What a list does to a catalogue of these models, and what was said of them.
fn refreshed(
    provider: &str,
    models: &[&str],
    list: &str,
    unit: PricedBy,
) -> (Catalog, Vec<(String, String)>) {
    let configured = catalog(provider, models);
    let mut heard = Heard::default();
    let offers = Offers::read(list, unit).unwrap();
    let news = heard.hear(&configured, provider, &offers, FACTOR, |_| true);
    let told = news.into_iter().map(|news| {
        let says = match news.what {
            What::Prices(prices) => {
                let classes =
                    [prices.input, prices.cached_input, prices.cache_write, prices.output];
                classes.map(|price| price.decimal().to_string()).join(" ")
            }
            What::Kept(why) => format!("kept: {why}"),
            What::Unserved(why) => format!("unserved: {why}"),
        };
        (news.model, says)
    });
    (heard.apply(&configured).unwrap(), told.collect())
}

#[track_caller]
fn check(model: &str, says: &str) {
    let (_, told) = refreshed("openrouter", &[model], OPENROUTER, PricedBy::Token);
    assert_eq!(told, [(model.to_owned(), says.to_owned())]);
}

#[test]
fn prices_of_a_token_become_prices_of_a_million() {
    let model = "deepseek/deepseek-chat-v3-0324";
    let (catalog, told) = refreshed("openrouter", &[model], OPENROUTER, PricedBy::Token);
    assert_eq!(told, [(model.to_owned(), "0.25 0.06 0.25 0.88".to_owned())]);
    let target = catalog.resolve(model, |_| true).unwrap();
    assert_eq!(target.prices.base.output.decimal().to_string(), "0.88");
    assert!(!target.example_price);
    // Whatever is no price is as it was, comments too.
    assert_eq!(target.constants.per_image, Some(7));
    assert!(catalog.text().contains("# deepseek/deepseek-chat-v3-0324 is ours\n[[models]]"));
    assert!(catalog.text().ends_with(&row("groq", "other")));
}

#[test]
fn chutes_tells_prices_of_a_million() {
    let models = ["deepseek-ai/DeepSeek-V3.2-TEE", "zai-org/GLM-5-TEE"];
    let (catalog, told) = refreshed("chutes", &models, CHUTES, PricedBy::Million);
    assert_eq!(told[0].1, "0.28 0.14 0.28 0.42");
    assert_eq!(told[1].1, "0.95 0.475 0.95 3.15");
    // A window may shrink, not grow.
    let window = |model| catalog.resolve(model, |_| true).unwrap().context_window.count();
    assert_eq!((window(models[0]), window(models[1])), (131_072, 163_840));
}

#[test]
fn what_is_missing_negative_or_absurd_is_not_believed() {
    check("acme/negative", "kept: `pricing.prompt` -1 is no price that stays exact");
    check("acme/silent", "kept: `pricing.completion` is missing");
    check("acme/dear", "kept: `input` 4.1 is not within 4 times of the configured 1");
    check("acme/cheap", "kept: `input` 0.24 is not within 4 times of the configured 1");
    check("acme/free", "kept: `input` 0 is not within 4 times of the configured 1");
    check("acme/unknown", "kept: the list does not have it");
    let (catalog, _) = refreshed("openrouter", &["acme/dear"], OPENROUTER, PricedBy::Token);
    assert_eq!(catalog.text(), self::catalog("openrouter", &["acme/dear"]).text());
}

#[test]
fn a_list_read_in_the_wrong_unit_is_not_believed() {
    let model = "deepseek/deepseek-chat-v3-0324";
    let (_, told) = refreshed("openrouter", &[model], OPENROUTER, PricedBy::Million);
    assert!(told[0].1.starts_with("kept: "), "{told:?}");
    let (_, told) = refreshed("chutes", &["zai-org/GLM-5-TEE"], CHUTES, PricedBy::Token);
    assert!(told[0].1.starts_with("kept: "), "{told:?}");
}

#[test]
fn a_model_with_a_price_that_nobody_is_charged_by_is_not_served() {
    check(
        "acme/by-request",
        "unserved: `pricing.request` is not 0, and nothing here is charged by it",
    );
    let phi = "microsoft/phi-4-multimodal-instruct";
    check(phi, "unserved: `pricing.image` is not 0, and nothing here is charged by it");
    let (catalog, _) = refreshed("openrouter", &["acme/by-request"], OPENROUTER, PricedBy::Token);
    assert!(catalog.model("acme/by-request").is_none() && catalog.model("other").is_some());
    // Reasoning at the price of output is output.
    check("acme/reasons", "1 1 1 4");
}

#[test]
fn prices_cannot_creep_and_come_back_from_being_unserved() {
    let configured = catalog("openrouter", &["one"]);
    let mut heard = Heard::default();
    let list = |prompt: &str, request: &str| {
        let text = format!(
            r#"{{"data":[{{"id":"one","pricing":{{"prompt":"{prompt}","completion":"0.000004",
                "request":"{request}"}}}}]}}"#
        );
        Offers::read(&text, PricedBy::Token).unwrap()
    };
    let mut hear = |prompt: &str, request: &str| {
        let offers = list(prompt, request);
        let news = heard.hear(&configured, "openrouter", &offers, FACTOR, |_| true);
        let catalog = heard.apply(&configured).unwrap();
        let input = catalog
            .model("one")
            .map(|model| model.targets[0].prices.base.input.decimal().to_string());
        (news.len(), input)
    };
    assert_eq!(hear("0.000004", "0"), (1, Some("4".to_owned())));
    assert_eq!(hear("0.000004", "0"), (0, Some("4".to_owned())));
    assert_eq!(hear("0.000008", "0"), (1, Some("4".to_owned())));
    assert_eq!(hear("0.000004", "0.01"), (1, None));
    assert_eq!(hear("0.000004", "0.01"), (0, None));
    assert_eq!(hear("0.000004", "0"), (1, Some("4".to_owned())));
}

#[test]
fn what_is_no_list_is_refused() {
    for text in ["", "[]", "{}", "{\"data\": {}}", "{\"data\": [{\"pricing\": {}}]}", "<html>"] {
        assert!(Offers::read(text, PricedBy::Token).is_err(), "{text}");
    }
    let twice = r#"{"data":[{"id":"one"},{"id":"one"}]}"#;
    let why = Offers::read(twice, PricedBy::Token).unwrap().of("one").unwrap_err();
    assert_eq!(why.to_string(), "the list has it twice");
}
