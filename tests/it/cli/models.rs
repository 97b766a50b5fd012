//! `rungate models`: of a gateway, and of the catalogue at hand.

use std::fs;

use rungate::catalog::Catalog;
use serde_json::{Value, json};

use crate::support::provider::ScriptedProvider;

use super::shell::Shell;

const CATALOG: &str = r#"
[[models]]
name = "small"
provider = "openai"
context_window = 131072
max_output_tokens = 4096
tokenizer = "o200k"
input = "0.15"
cached_input = "0.075"
output = "0.6"
bound = { per_request = 3, per_message = 4, per_tool = 32 }

[[models]]
name = "big/long"
provider = "chutes"
upstream_model = "org/long-2"
context_window = 1050000
max_output_tokens = 128000
tokenizer = "bytes"
example_price = true
input = "2.5"
output = "15"
long_context = { above = 272000, input = "5", cached_input = "0.5", cache_write = "6.25", output = "22.5" }
bound = { per_request = 3, per_message = 4, per_tool = 32 }
"#;

fn row(model: &str, provider: &str, kind: &str) -> Value {
    json!({
        "model": model, "provider": provider, "upstream_model": model, "kind": kind,
        "context_window": 8191, "max_output_tokens": 4096,
        "input_usd_per_million": "0.02", "cached_input_usd_per_million": "0.02",
        "cache_write_usd_per_million": "0.02", "output_usd_per_million": "0",
        "long_context": null, "example_price": false, "configured": true,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_models_are_listed_with_their_prices() {
    let list = json!({
        "data": [row("embed-small", "openai", "embedding"), row("chat", "groq", "chat")],
        "price_version": "cc73a287a622", "next": null,
    })
    .to_string();
    let server = ScriptedProvider::json(&list).await;
    let shell = Shell::at(&format!("http://{}", server.address)).with("ADMIN_TOKEN", "rg-adm-1");
    insta::assert_snapshot!(shell.types("models").await.ok(), @r"
    MODEL        CONTEXT  PRICING (per 1M tokens)     PROVIDER  NOTES
    embed-small       8k  $0.02 input                 openai    embedding
    chat              8k  $0.02 input / $0.00 output  groq

    2 models, price version cc73a287a622
    ");
    assert!(server.seen()[0].starts_with("GET /models HTTP/1.1\r\nauthorization: Bearer rg-adm-1"));
    assert_eq!(shell.types("models --json").await.ok(), format!("{list}\n"));
    let chat = shell.types("models --json --search CHA").await.json();
    assert_eq!(chat["data"], json!([row("chat", "groq", "chat")]));
    assert_eq!(chat["price_version"], "cc73a287a622");
    let none = shell.types("models --provider mistral").await.ok();
    assert!(none.ends_with("\n\n0 models, price version cc73a287a622\n"), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_at_hand_is_listed_without_a_gateway() {
    let shell = Shell::at("http://127.0.0.1:1")
        .with("MODELS_FILE", "models.toml")
        .with("OPENAI_API_KEY", "sk-1");
    fs::write(shell.path("models.toml"), CATALOG).unwrap();
    insta::assert_snapshot!(shell.types("models --local").await.ok(), @r"
    MODEL     CONTEXT  PRICING (per 1M tokens)                     PROVIDER  NOTES
    small        128k  $0.15 input / $0.60 output / $0.075 cached  openai
    big/long    1.05M  $2.50 input / $15.00 output                 chutes    example price, not configured, above 272k: $5.00 input / $22.50 output / $0.50 cached / $6.25 cache write

    2 models, price version 7c5bf96b23ea
    ");
    let rows = shell.types("models --local --json --provider chutes").await.json();
    assert_eq!(rows["price_version"], Catalog::parse("models.toml", CATALOG).unwrap().version());
    assert_eq!(
        rows["data"],
        json!([{
            "model": "big/long", "provider": "chutes", "upstream_model": "org/long-2", "kind": "chat",
            "context_window": 1_050_000, "max_output_tokens": 128_000,
            "input_usd_per_million": "2.5", "cached_input_usd_per_million": "2.5",
            "cache_write_usd_per_million": "2.5", "output_usd_per_million": "15",
            "long_context": {
                "above": 272_000,
                "input_usd_per_million": "5", "cached_input_usd_per_million": "0.5",
                "cache_write_usd_per_million": "6.25", "output_usd_per_million": "22.5",
            },
            "tiers": {}, "example_price": true, "configured": false,
        }])
    );
    fs::write(shell.path("models.toml"), "[[models]]\nfrob = 1\n").unwrap();
    let line = shell.types("models --local").await.failed(64);
    assert!(line.starts_with("the model catalogue cannot be used: models.toml:"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_of_other_service_tiers_stand_beside_a_model() {
    let shell = Shell::at("http://127.0.0.1:1").with("MODELS_FILE", "models.toml");
    let models = include_str!("../../../fixtures/tiers/models.toml");
    fs::write(shell.path("models.toml"), models).unwrap();
    let listed = shell.types("models --local --search tiered").await.ok();
    let says = "flex: $0.625 input / $5.00 output / $0.0625 cached, \
                priority: $2.50 input / $20.00 output / $0.25 cached";
    assert!(listed.contains(says), "{listed}");
    assert!(!shell.types("models --local --search plain").await.ok().contains("flex"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_built_in_model_has_a_line() {
    let shell = Shell::at("http://127.0.0.1:1");
    let listed = shell.types("models --local").await.ok();
    let catalog = Catalog::built_in().unwrap();
    let mut expected: Vec<String> = Vec::new();
    for model in catalog.models() {
        expected.extend(model.targets.iter().map(|_| model.name.clone()));
    }
    let rows = listed.lines().skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = rows.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, expected);
}

const MAP: &str = include_str!("../../../fixtures/price_map/litellm.json");
const OPENROUTER: &str = include_str!("../../../fixtures/price_map/openrouter.json");

#[tokio::test(flavor = "multi_thread")]
async fn a_price_map_becomes_a_catalogue_that_can_be_used() {
    let shell = Shell::at("http://127.0.0.1:1").with("MODELS_FILE", "models.toml");
    let import = Shell::at("http://127.0.0.1:1");
    fs::write(import.path("map.json"), MAP).unwrap();
    let said = import.types("models import map.json --output made.toml").await;
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    let made = fs::read_to_string(import.path("made.toml")).unwrap();
    let version = Catalog::parse("made.toml", &made).unwrap().version().to_owned();
    assert!(said.err.ends_with(&format!("price version {version}\n")), "{said:?}");
    assert!(said.err.contains("left out: gpt-audio: `input_cost_per_audio_token` is"), "{said:?}");
    assert!(said.err.contains(" rows taken, "), "{said:?}");
    // Standard output has the same.
    assert_eq!(import.types("models import map.json").await.out, made);
    // It can be used.
    fs::write(shell.path("models.toml"), &made).unwrap();
    assert_eq!(shell.types("check-config").await.code, 0);
    assert!(shell.types("models --local").await.ok().ends_with(&format!("version {version}\n")));
    // Only a part of it.
    let part =
        import.types("models import map.json --provider anthropic --model claude-haiku*").await;
    let part = Catalog::parse("part", &part.out).unwrap();
    let names: Vec<_> = part.models().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["claude-haiku-4-5", "claude-haiku-5-5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_cannot_be_used_writes_nothing() {
    let shell = Shell::at("http://127.0.0.1:1");
    fs::write(shell.path("old.toml"), "as it was").unwrap();
    for (map, code) in [("[]", 1), ("{\"a\": 1}", 1), ("{", 1), ("{}", 1)] {
        fs::write(shell.path("map.json"), map).unwrap();
        let said = shell.types("models import map.json --output old.toml").await;
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{said:?}");
    }
    assert_eq!(shell.types("models import nowhere.json").await.code, 1);
    assert_eq!(fs::read_to_string(shell.path("old.toml")).unwrap(), "as it was");
    let files = fs::read_dir(shell.folder()).unwrap().count();
    assert_eq!(files, 2, "nothing half-written is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_prices_are_put_into_the_catalogue() {
    let provider = ScriptedProvider::json(OPENROUTER).await;
    let shell = Shell::at("http://127.0.0.1:1").with("OPENROUTER_BASE_URL", &provider.base_url());
    let said = shell.types("models refresh --provider openrouter --output made.toml").await;
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    let made = fs::read_to_string(shell.path("made.toml")).unwrap();
    let catalog = Catalog::parse("made.toml", &made).unwrap();
    assert_eq!(
        said.err,
        format!(
            "deepseek-ai/DeepSeek-V3-0324: 0.25 input, 0.06 cached input, 0.25 cache write, 0.88 \
             output\nprice version {}\n",
            catalog.version()
        )
    );
    assert!(provider.seen()[0].starts_with("GET /v1/models HTTP/1.1\r\n"));
    let target = catalog.resolve("openrouter/deepseek-ai/DeepSeek-V3-0324", |_| true).unwrap();
    assert_eq!(target.prices.base.cached_input.decimal().to_string(), "0.06");
    assert_eq!(catalog.models().count(), Catalog::built_in().unwrap().models().count());

    let wrong = shell.types("models refresh --provider openai").await.failed(2);
    assert_eq!(wrong, "--provider must be one of chutes, openrouter, targon");
    let none = shell.types("models refresh --provider openrouter --model nothing").await.failed(1);
    assert!(none.contains("nothing was written"), "{none}");
}
