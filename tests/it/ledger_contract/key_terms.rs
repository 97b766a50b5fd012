//! Keys whose terms and limits change, and asks that go by what they were before.

use std::sync::Arc;

use rungate::domain::budget::{BudgetRef, Scope, Unit, Window};
use rungate::domain::organization::{KeyLimits, KeyStatus, KeyTerms};
use rungate::domain::reservation::{Ask, Refusal};
use rungate::domain::settlement::CostSource;
use rungate::domain::usage::Tokens;
use rungate::ledger::Ledger;
use rungate::ledger::organizations::{KeyRecord, OrganizationsError};

use super::fixture::*;
use super::shared::{Key, Org, WIDE, admit, monthly};

async fn record(key: &Key) -> KeyRecord {
    key.org.ledger.key(key.org.id, key.id).await.unwrap().unwrap()
}

/// Changes the limits, and answers the key as it is known then.
async fn limit(key: &Key, limits: KeyLimits) -> Key {
    let before = record(key).await;
    let changed = (before.key.terms, limits);
    let version = before.key.version;
    let record = key.org.ledger.change_key(key.org.id, key.id, version, changed).await;
    let record = record.unwrap().expect("nobody else changed it");
    assert_eq!(record.limits(), limits);
    Key { budgets: record.key.budgets, ..key.clone() }
}

fn kinds(budgets: &[BudgetRef]) -> Vec<(Unit, Window)> {
    budgets.iter().map(|budget| (budget.unit, budget.window)).collect()
}

pub(crate) async fn check_a_limit_of_a_key_comes_and_goes(ledger: Arc<dyn Ledger>) {
    let org = Org::open(&ledger, "100").await;
    let key = org.key(WIDE).await;
    let before = key.ask(None, "0.1").await;
    let strict = KeyLimits { lifetime_usd: Some(usd("0.25")), ..WIDE };
    let limited = limit(&key, strict).await;
    assert_eq!(
        kinds(&limited.budgets),
        [(Unit::Tokens, Window::Month), (Unit::Usd, Window::Lifetime)]
    );

    // Whoever goes by what the key was is told so, and takes nothing.
    let outdated = admit(&ledger, before).await.unwrap_err();
    assert_eq!(outdated, Refusal::Outdated);
    assert!(limited.stands().await.iter().all(|standing| standing.balance.reserved.is_zero()));
    let held = limited.admit(None, "0.25").await.unwrap();
    assert!(matches!(
        limited.admit(None, "0.000001").await,
        Err(Refusal::Budget { scope: Scope::Key, unit: Unit::Usd, .. })
    ));

    // Without the limit again, while a call is in flight that was admitted on it.
    let free = limit(&limited, WIDE).await;
    assert_eq!(kinds(&free.budgets), [(Unit::Tokens, Window::Month)]);
    drop(free.admit(None, "5").await.unwrap());
    held.settle(outcome(charge("0.2", 10, 20, CostSource::Usage)));
    ledger.flush().await;

    // Set again it has kept what was spent of it, and may be below that.
    let again = limit(&free, KeyLimits { lifetime_usd: Some(usd("0.1")), ..WIDE }).await;
    assert_eq!(again.budgets, limited.budgets);
    let stands = again.stands().await;
    assert_eq!(numbers(&stands[1].balance), [dec("0.1"), dec("0.2"), dec("0")]);
    assert!(again.admit(None, "0").await.is_err());
    let daily = KeyLimits { daily_tokens: Some(Tokens::new(150)), ..WIDE };
    let daily = limit(&again, daily).await;
    drop(daily.admit(None, "1").await.unwrap());
    let one = daily.admit(None, "1").await.unwrap();
    let refused = daily.admit(None, "1").await.unwrap_err();
    assert!(matches!(refused, Refusal::Budget { unit: Unit::Tokens, .. }), "{refused:?}");
    drop(one);
    ledger.flush().await;
}

pub(crate) async fn check_a_key_is_changed_as_it_was_read(ledger: Arc<dyn Ledger>) {
    let org = Org::open(&ledger, "100").await;
    let key = org.key(WIDE).await;
    let named = |name: &str| KeyTerms { name: name.to_owned(), ..KeyTerms::default() };
    let change = async |version, name: &str| {
        let changed = ledger.change_key(org.id, key.id, version, (named(name), WIDE)).await;
        changed.map(|record| record.map(|record| record.key.terms.name))
    };
    let version = record(&key).await.key.version;
    assert_eq!(change(version, "first").await.unwrap().as_deref(), Some("first"));
    assert_eq!(change(version, "late").await.unwrap(), None, "somebody was faster");
    assert_eq!(record(&key).await.key.terms.name, "first");
    let nobody = ledger.change_key(
        Org::open(&ledger, "1").await.id,
        key.id,
        version + 1,
        (named("foreign"), WIDE),
    );
    assert!(matches!(nobody.await, Err(OrganizationsError::NotFound)));
    ledger.set_key_status(org.id, key.id, KeyStatus::Revoked).await.unwrap();
    let revoked = change(version + 2, "revoked").await;
    assert!(matches!(revoked, Err(OrganizationsError::InvalidTransition(_))), "{revoked:?}");
}

/// Who pays is looked at again too: a change that no gateway heard of makes asks outdated.
pub(crate) async fn check_an_ask_on_another_version_of_its_payer_is_outdated(
    ledger: Arc<dyn Ledger>,
) {
    let org = Org::open(&ledger, "100").await;
    let run = org.run("1").await;
    let before = org.ask(&run, "0.1").await;
    org.put(monthly("50")).await;
    let again = Ask { id: run.ask("0").id, ..before.clone() };
    assert_eq!(admit(&ledger, before).await.unwrap_err(), Refusal::Outdated);
    // The state comes first: it would be the answer to whatever is looked up again.
    let closed = rungate::ledger::Close {
        status: rungate::domain::run::RunState::Finished,
        cut: false,
        reason: None,
    };
    ledger.close(run.id, closed).await.unwrap();
    assert!(matches!(admit(&ledger, again).await.unwrap_err(), Refusal::RunClosed(_)));
}
