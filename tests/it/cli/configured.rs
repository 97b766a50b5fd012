//! `rungate providers`: whom an organization calls. No key is typed, and none is shown.

use serde_json::json;

use super::orgs::{LAB, answer, lab};
use super::shell::without_the_moment;

const KEY: &str = "sk-hunter2-of-openai";

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_configured_with_a_key_from_a_file_or_standard_input() {
    let (gateway, shell) = lab().await;
    std::fs::write(shell.path("openai.key"), format!("{KEY}\n")).unwrap();
    let put = "providers put openai --org lab --api-key-file openai.key";
    let card = shell.types(put).await.ok();
    insta::assert_snapshot!(without_the_moment(&card), @r"
    provider     openai
    enabled      true
    has key      true
    eu endpoint  false
    updated at   2026-11-21T12:00:00Z
    ");
    let mistral = "providers put mistral --org lab --eu-endpoint true --enabled false \
                   --base-url https://eu.mistral.example/v1 --api-key-file -";
    let words: Vec<&str> = mistral.split_whitespace().collect();
    let kept = shell.given(&words, KEY).await.ok();
    let list = shell.types("providers list --org lab").await.ok();
    insta::assert_snapshot!(without_the_moment(&list), @r"
    PROVIDER  ENABLED  HAS KEY  BASE URL                       EU ENDPOINT  CHANGED
    mistral   false    true     https://eu.mistral.example/v1  true         2026-11-21T12:00:00Z
    openai    true     true     -                              false        2026-11-21T12:00:00Z
    ");
    for shown in [&card, &kept, &list] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    // What is not named stays, the key too.
    let off = shell.types("providers put openai --org lab --enabled false --json").await.json();
    assert_eq!((&off["enabled"], &off["has_key"]), (&json!(false), &json!(true)));
    let moved = "providers put mistral --org lab --no-base-url";
    let line = shell.types(moved).await.failed(1);
    assert!(line.contains("api_key must be sent again"), "{line}");
    let words: Vec<&str> = moved.split(' ').chain(["--json", "--api-key-file", "-"]).collect();
    let moved = shell.given(&words, KEY).await.json();
    assert_eq!((&moved["base_url"], &moved["eu_endpoint"]), (&json!(null), &json!(false)));
    insta::assert_snapshot!(shell.types("providers delete openai --org lab").await.ok(), @r"
    ✓ Provider deleted

      Provider: openai
    ");
    let path = format!("/organizations/{LAB}/inference/providers");
    let left = answer(&gateway.client, &path).await.json();
    assert_eq!(left["data"].as_array().unwrap().len(), 1);
    let line = shell.types("providers delete openai --org lab").await.failed(3);
    assert!(line.ends_with("`rungate providers list --org ORG` shows its providers"), "{line}");
    let line = shell.types("providers put nobody --org lab").await.failed(1);
    assert!(line.starts_with("provider must be one of "), "{line}");
    gateway.stop().await;
}
