//! Usage as providers document it: what classes it means, and what it costs to the last digit.

use std::collections::BTreeSet;

use rungate::catalog::Catalog;
use rungate::domain::settlement::ReportedUsage;
use rungate::domain::usage::{Tokens, Usage};
use rungate::protocol::answer::read_answer;
use rungate::protocol::format::Format;
use rungate::providers::{self, REGISTRY};
use serde_json::Value;

const VECTORS: &str = include_str!("../../../fixtures/usage/vectors.json");

fn vectors() -> Vec<Value> {
    serde_json::from_str(VECTORS).unwrap()
}

/// An answer in one piece that has this usage.
fn answer(format: &str, usage: &Value) -> (Format, String) {
    let (format, rest) = match format {
        "chat" => (Format::Chat, r#""object":"chat.completion","choices":[]"#),
        "embeddings" => (Format::Embeddings, r#""object":"list","data":[]"#),
        "messages" => (Format::Messages, r#""type":"message","content":[]"#),
        "responses" => (Format::Responses, r#""object":"response","output":[]"#),
        other => panic!("{other}"),
    };
    (format, format!("{{{rest},\"usage\":{usage}}}"))
}

fn classes(vector: &Value) -> Usage {
    let count = |class: &str| Tokens::new(vector["classes"][class].as_u64().unwrap());
    Usage {
        uncached_input: count("uncached_input"),
        cached_input: count("cached_input"),
        cache_write: count("cache_write"),
        long_cache_write: count("long_cache_write"),
        output: count("output"),
        reasoning: count("reasoning"),
    }
}

/// A catalogue of one model with the prices of a vector.
fn priced(vector: &Value) -> Catalog {
    let mut row = String::from(
        "[[models]]\nname = \"priced\"\nprovider = \"chutes\"\ncontext_window = 1\n\
         tokenizer = \"bytes\"\nbound = { per_request = 1, per_message = 1, per_tool = 1 }\n",
    );
    let kind = match vector["format"].as_str() {
        Some("embeddings") => "kind = \"embedding\"\n",
        _ => "max_output_tokens = 1\n",
    };
    row.push_str(kind);
    for (class, price) in vector["usd_per_million"].as_object().unwrap() {
        row.push_str(&format!("{class} = {price}\n"));
    }
    Catalog::parse("vector", &row).unwrap()
}

#[test]
fn documented_usage_becomes_disjoint_classes_and_costs_what_the_arithmetic_says() {
    let built_in = Catalog::built_in().unwrap();
    for vector in vectors() {
        let name = &vector["name"];
        let (format, body) = answer(vector["format"].as_str().unwrap(), &vector["usage"]);
        let read = read_answer(format, body.as_bytes()).unwrap();
        assert_eq!(read.usage, Some(ReportedUsage::Counted(classes(&vector))), "{name}");
        let prices = priced(&vector).model("priced").unwrap().targets[0].prices;
        let cost = prices.cost(&classes(&vector)).unwrap();
        assert_eq!(cost.to_string(), vector["cost_usd"].as_str().unwrap(), "{name}");
        let Some(provider) = vector["provider"].as_str() else { continue };
        let provider = providers::find(provider).unwrap();
        let ours = built_in.served(provider, vector["model"].as_str().unwrap());
        let ours = ours.unwrap_or_else(|| panic!("{name}: no such model"));
        assert_eq!(ours.prices.base, prices.base, "{name}");
    }
}

#[test]
fn every_provider_and_format_has_a_documented_usage_with_its_source() {
    let vectors = vectors();
    let said: BTreeSet<&str> = vectors.iter().filter_map(|it| it["provider"].as_str()).collect();
    let known: BTreeSet<&str> = REGISTRY.iter().map(|provider| provider.name).collect();
    assert_eq!(said, known);
    let formats: BTreeSet<&str> = vectors.iter().map(|it| it["format"].as_str().unwrap()).collect();
    assert_eq!(formats.len(), Format::ALL.len());
    for vector in &vectors {
        assert!(vector["source"].as_str().is_some_and(|source| source.contains('/')), "{vector}");
    }
}
