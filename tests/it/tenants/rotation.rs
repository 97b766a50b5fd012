//! Encryption keys are replaced beside running gateways.

use std::process::Command;

use rungate::domain::id::OrganizationId;
use rungate::domain::seal::EncryptionKeys;
use rungate::ledger::postgres::connect_options;
use rungate::ledger::postgres::providers::reencrypt::{Reencrypted, reencrypt};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::stage::{ANSWER, KEYS, gateway, openai, organization, put, run, shown};
use crate::support::client::prompt;
use crate::support::postgres::database;
use crate::support::provider::ScriptedProvider;
use crate::support::watch;

/// What `rungate providers reencrypt --json` says, and how it ends.
fn command(database: &str, keys: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rungate"))
        .args(["providers", "reencrypt", "--json"])
        .env_clear()
        .envs([("DATABASE_URL", database), ("ENCRYPTION_KEY", keys)])
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    watch::output(&output);
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encryption_key_is_replaced_without_a_pause() {
    let (provider, database) = (ScriptedProvider::json(ANSWER).await, database().await);
    let old = gateway(&database, &[]).await;
    let org = organization(&old).await;
    let tenant = run(old.running.gateway.ledger.as_ref(), org).await;
    for organization in [org, OrganizationId::DEFAULT] {
        put(&old.client, organization, &openai(&provider, "tenants-key")).await;
    }
    let both = format!("{},{}", KEYS[1], KEYS[0]);
    let between = gateway(&database, &[("ENCRYPTION_KEY", &both)]).await;
    assert_eq!(between.client.ask(&tenant, &prompt("Hi")).await.status, 200);
    let counts = |changed: u64, current: u64| json!({"reencrypted": changed, "current": current, "unreadable": []});
    for expected in [counts(2, 0), counts(0, 2)] {
        let (code, said) = command(&database, &both);
        assert_eq!((code, serde_json::from_str::<Value>(&said).unwrap()), (Some(0), expected));
    }
    assert_eq!(between.client.ask(&tenant, &prompt("Hi")).await.status, 200);
    let new = gateway(&database, &[("ENCRYPTION_KEY", KEYS[1])]).await;
    assert_eq!(new.client.ask(&tenant, &prompt("Hi")).await.status, 200);
    assert_eq!(shown(&provider), ["Bearer tenants-key"; 3]);
    // With the old key alone nothing opens any more, which is told and changes nothing.
    let (code, said) = command(&database, KEYS[0]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, said["unreadable"].as_array().unwrap().len()), (Some(1), 2));
    assert_eq!(new.client.ask(&tenant, &prompt("Hi")).await.status, 200);
    for gateway in [old, between, new] {
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_encryption_key_nothing_is_encrypted() {
    let (code, said) = command(&database().await, "");
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("ENCRYPTION_KEY is not set"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_encrypted_page_by_page() {
    let database = database().await;
    let gateway = gateway(&database, &[]).await;
    let body = json!({"provider": "openai", "api_key": "tenants-key"});
    let sealed = put(&gateway.client, OrganizationId::DEFAULT, &body).await;
    assert_eq!(sealed.status, 200);
    let pool = PgPool::connect_with(connect_options(&database).unwrap()).await.unwrap();
    // They open nowhere, and each of them is told once.
    let strangers = "INSERT INTO provider_configurations \
        (organization_id, provider, key_id, key_ciphertext) \
        SELECT organization_id, 'p' || n, key_id, key_ciphertext \
        FROM provider_configurations, generate_series(1, 1100) AS n";
    sqlx::query(strangers).execute(&pool).await.unwrap();
    let keys = EncryptionKeys::parse(&format!("{},{}", KEYS[1], KEYS[0])).unwrap();
    let Reencrypted { current, changed, unreadable } = reencrypt(&pool, &keys).await.unwrap();
    assert_eq!((current, changed, unreadable.len()), (0, 1, 1100));
    pool.close().await;
    gateway.stop().await;
}
