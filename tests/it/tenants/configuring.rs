//! The providers of an organization, as they are configured on the control plane.

use reqwest::Method;
use rungate::domain::id::OrganizationId;
use serde_json::{Value, json};

use super::stage::{gateway, list, organization, path, put};
use crate::support::client::Answer;
use crate::support::postgres::{connect, database};

#[tokio::test(flavor = "multi_thread")]
async fn providers_are_put_listed_and_deleted_and_no_key_is_ever_shown() {
    let database = database().await;
    let gateway = gateway(&database, &[]).await;
    let (client, org) = (&gateway.client, organization(&gateway).await);
    assert_eq!(list(client, org).await.json(), json!({"data": [], "next": null}));

    let body = json!({"provider": "openai", "api_key": "sk-sentinel-1", "enabled": true});
    let first = put(client, org, &body).await;
    assert_eq!(first.status, 200, "{first:?}");
    let mut azure = json!({"provider": "azure_openai", "api_key": "sentinel-2",
        "eu_endpoint": true});
    let refused = put(client, org, &azure).await;
    assert_eq!(
        (refused.status, refused.json()["error"]["param"].as_str()),
        (400, Some("base_url"))
    );
    azure["base_url"] = json!("https://my-resource.openai.azure.com");
    assert_eq!(put(client, org, &azure).await.status, 200);

    // Without a key the old one is kept.
    let off = put(client, org, &json!({"provider": "openai", "enabled": false})).await;
    assert_eq!(off.status, 200, "{off:?}");
    let listed = list(client, org).await;
    let mut shown = listed.json();
    for provider in shown["data"].as_array_mut().unwrap() {
        assert!(provider["updated_at"].take().is_string());
    }
    assert_eq!(
        shown["data"],
        json!([
            {"provider": "azure_openai", "enabled": true, "eu_endpoint": true, "has_key": true,
             "base_url": "https://my-resource.openai.azure.com", "updated_at": null},
            {"provider": "openai", "enabled": false, "eu_endpoint": false, "has_key": true,
             "base_url": null, "updated_at": null},
        ])
    );
    for answer in [&first, &off, &listed] {
        assert!(!answer.text.contains("sentinel"), "{answer:?}");
    }
    let mut sql = connect(&database).await;
    let kept: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT key_ciphertext FROM provider_configurations")
            .fetch_all(&mut sql)
            .await
            .unwrap();
    assert_eq!(kept.len(), 2);
    for bytes in kept {
        assert!(!String::from_utf8_lossy(&bytes).contains("sentinel"));
    }

    let gone = |provider: &str| {
        let request = client.operator(Method::DELETE, &format!("{}/{provider}", path(org)));
        async { Answer::of(request.send().await.unwrap()).await.status }
    };
    assert_eq!((gone("openai").await, gone("openai").await), (200, 404));
    assert_eq!(list(client, org).await.json()["data"].as_array().unwrap().len(), 1);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_refused_by_name() {
    let gateway = gateway(&database().await, &[]).await;
    let (client, org) = (&gateway.client, organization(&gateway).await);
    for (body, param) in [
        (json!({"api_key": "k"}), "provider"),
        (json!({"provider": "nobody", "api_key": "k"}), "provider"),
        (json!({"provider": "openai"}), "api_key"),
        (json!({"provider": "openai", "api_key": ""}), "api_key"),
        (json!({"provider": "openai", "api_key": "two words"}), "api_key"),
        (json!({"provider": "openai", "api_key": "k", "enabled": "yes"}), "enabled"),
        (json!({"provider": "openai", "api_key": null}), "api_key"),
        (json!({"provider": "openai", "api_key": "k", "base_url": "nowhere"}), "base_url"),
        (json!({"provider": "openai", "api_key": "k", "deployments": {}}), "deployments"),
    ] {
        let answer = put(client, org, &body).await;
        let told = answer.json()["error"]["param"].clone();
        assert_eq!((answer.status, told), (400, Value::from(param)), "{body} {}", answer.text);
    }
    let body = json!({"provider": "openai", "api_key": "k"});
    assert_eq!(put(client, OrganizationId::generate(), &body).await.code(), "not_found");
    assert_eq!(list(client, OrganizationId::generate()).await.code(), "not_found");
    assert_eq!(list(client, org).await.json()["data"], json!([]));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_encryption_key_no_provider_key_is_taken() {
    let gateway = gateway(&database().await, &[("ENCRYPTION_KEY", "")]).await;
    let org = organization(&gateway).await;
    let body = json!({"provider": "openai", "api_key": "sentinel-key"});
    let refused = put(&gateway.client, org, &body).await;
    assert_eq!((refused.status, refused.code().as_str()), (412, "provider_not_configured"));
    assert!(refused.text.contains("ENCRYPTION_KEY is not set"), "{refused:?}");
    assert_eq!(list(&gateway.client, org).await.json()["data"], json!([]));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_an_attestation_are_of_the_address_they_were_given_for() {
    let gateway = gateway(&database().await, &[]).await;
    let (client, org) = (&gateway.client, organization(&gateway).await);
    let body = json!({"provider": "openai", "api_key": "sentinel-1", "eu_endpoint": true,
        "base_url": "https://eu.api.openai.com/v1"});
    assert_eq!(put(client, org, &body).await.status, 200);
    // Whoever may only configure could otherwise have the key sent to himself.
    let moved = json!({"provider": "openai", "base_url": "https://collector.example/v1"});
    let refused = put(client, org, &moved).await;
    assert_eq!((refused.status, refused.json()["error"]["param"].as_str()), (400, Some("api_key")));
    let taken_away = json!({"provider": "openai", "base_url": null});
    assert_eq!(put(client, org, &taken_away).await.status, 400);
    let same = json!({"provider": "openai", "base_url": "https://eu.api.openai.com/v1/"});
    assert_eq!(put(client, org, &same).await.json()["eu_endpoint"], true);

    let both = json!({"provider": "openai", "api_key": "sentinel-2", "base_url": null});
    let put = put(client, org, &both).await.json();
    assert_eq!((&put["base_url"], &put["eu_endpoint"]), (&Value::Null, &json!(false)));
    gateway.stop().await;
}
