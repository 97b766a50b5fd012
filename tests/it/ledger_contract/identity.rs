//! Names in clients' certificates, and the keys that they stand for.

use std::sync::Arc;

use rungate::domain::id::{KeyId, OrganizationId};
use rungate::domain::organization::{KeyLimits, KeyStatus, KeyTerms};
use rungate::domain::usage::Tokens;
use rungate::ledger::Ledger;
use rungate::ledger::organizations::{NewKey, OrganizationsError};

use super::fixture::fresh_token;

/// A key of a new organization, for this name.
fn key(organization: OrganizationId, identity: &str) -> NewKey {
    NewKey {
        id: KeyId::generate(),
        organization,
        terms: KeyTerms { client_identity: Some(identity.to_owned()), ..KeyTerms::default() },
        limits: KeyLimits {
            monthly_tokens: Tokens::new(9),
            daily_tokens: None,
            monthly_usd: None,
            lifetime_usd: None,
        },
        hash: fresh_token(),
        prefix: "rg-key-abcd".to_owned(),
    }
}

pub(crate) async fn check_a_certificates_name_stands_for_one_key(ledger: Arc<dyn Ledger>) {
    let (org, other) = (OrganizationId::generate(), OrganizationId::generate());
    for id in [org, other] {
        ledger.create_organization(id, id.to_string()).await.unwrap();
    }
    let first = ledger.mint_key(key(org, "san:dns:a")).await.unwrap().key;
    let second = ledger.mint_key(key(org, "san:dns:b")).await.unwrap().key;
    assert_eq!(first.terms.client_identity.as_deref(), Some("san:dns:a"));
    let found = async |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        ledger.find_key_by_identity(&names).await.unwrap().map(|key| key.id)
    };
    assert_eq!(found(&["san:dns:a"]).await, Some(first.id));
    assert_eq!(found(&["x", "san:dns:b", "san:dns:a"]).await, Some(second.id), "the first");
    assert_eq!(found(&["san:dns:A", "a"]).await, None);
    assert_eq!(found(&[]).await, None);
    let taken = ledger.mint_key(key(other, "san:dns:a")).await;
    assert!(matches!(taken, Err(OrganizationsError::Taken)), "{taken:?}");
    let set = async |status| ledger.set_key_status(org, first.id, status).await.unwrap();
    set(KeyStatus::Suspended).await;
    assert_eq!(found(&["san:dns:a"]).await, Some(first.id), "its name is its own");
    set(KeyStatus::Revoked).await;
    assert_eq!(found(&["san:dns:a"]).await, None);
    let next = ledger.mint_key(key(other, "san:dns:a")).await.unwrap().key;
    assert_eq!(found(&["san:dns:a"]).await, Some(next.id));
}
