//! Budgets that calls of several runs and keys share.

use std::sync::Arc;

use chrono::{Duration, Utc};
use rungate::domain::budget::{BudgetRef, Scope, Unit};
use rungate::domain::id::{CreditId, KeyId, OrganizationId, RunId};
use rungate::domain::key::TokenHash;
use rungate::domain::organization::{KeyLimits, KeyStatus, KeyTerms, SettingsPatch};
use rungate::domain::reservation::{Ask, Authority, Refusal};
use rungate::domain::settlement::CostSource;
use rungate::domain::usage::Tokens;
use rungate::ledger::credits::{Credit, CreditKind, Movement, Transaction};
use rungate::ledger::organizations::{BudgetStanding, NewKey, OrganizationsError};
use rungate::ledger::queue::RunQueue;
use rungate::ledger::{Grant, Ledger};
use rust_decimal::Decimal;

use super::fixture::*;

/// An organization on a ledger.
#[derive(Clone)]
pub(crate) struct Org {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) id: OrganizationId,
}

/// A key of it.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) org: Org,
    pub(crate) id: KeyId,
    pub(crate) hash: TokenHash,
    pub(crate) budgets: Vec<BudgetRef>,
}

/// A key that only its tokens limit, and not much.
pub(crate) const WIDE: KeyLimits = KeyLimits {
    monthly_tokens: Tokens::new(1_000_000),
    daily_tokens: None,
    monthly_usd: None,
    lifetime_usd: None,
};

impl Org {
    /// One whose month may cost `limit`.
    pub(crate) async fn open(ledger: &Arc<dyn Ledger>, limit: &str) -> Self {
        let org = Self::with_id(ledger, OrganizationId::generate()).await;
        org.put(monthly(limit)).await;
        org
    }

    pub(crate) async fn with_id(ledger: &Arc<dyn Ledger>, id: OrganizationId) -> Self {
        ledger.create_organization(id, id.to_string()).await.unwrap();
        Self { ledger: Arc::clone(ledger), id }
    }

    pub(crate) async fn put(&self, patch: SettingsPatch) {
        self.ledger.put_settings(self.id, patch).await.unwrap();
    }

    pub(crate) async fn key(&self, limits: KeyLimits) -> Key {
        self.key_with(KeyId::generate(), KeyTerms::default(), limits).await
    }

    pub(crate) async fn key_with(&self, id: KeyId, terms: KeyTerms, limits: KeyLimits) -> Key {
        let hash = fresh_token();
        let (organization, prefix) = (self.id, "rg-key-abcd".to_owned());
        let new = NewKey { id, organization, terms, limits, hash, prefix };
        let budgets = self.ledger.mint_key(new).await.unwrap().key.budgets;
        Key { org: self.clone(), id, hash, budgets }
    }

    pub(crate) async fn run(&self, cap: &str) -> Run {
        let mut registration = registration(cap);
        registration.terms.organization = self.id;
        Run::with(&self.ledger, registration).await
    }

    pub(crate) async fn budgets(&self) -> Vec<BudgetRef> {
        self.ledger.find_organization(self.id).await.unwrap().unwrap().budgets
    }

    pub(crate) async fn stands(&self, scope: Scope) -> BudgetStanding {
        *self.ledger.organization(self.id).await.unwrap().unwrap().standing(scope).unwrap()
    }

    pub(crate) async fn add(&self, amount: &str) -> BudgetStanding {
        self.ledger.add_credit(self.id, credit(amount)).await.unwrap()
    }

    /// An ask of a run of this organization.
    pub(crate) async fn ask(&self, run: &Run, cost: &str) -> Ask {
        let mut ask = run.ask(cost);
        ask.organization = self.id;
        let heard = self.ledger.find_organization(self.id).await.unwrap().unwrap();
        ask.heard.payer = heard.version;
        ask.budgets.extend(self.budgets().await);
        ask.budgets.sort_by_key(BudgetRef::rank);
        ask
    }
}

impl Key {
    /// An ask with this key, for a run or for none.
    pub(crate) async fn ask(&self, run: Option<&Run>, cost: &str) -> Ask {
        let nobody = Run {
            ledger: Arc::clone(&self.org.ledger),
            id: RunId::random(),
            budgets: Vec::new(),
            token: fresh_token(),
            queue: Arc::default(),
        };
        let mut ask = self.org.ask(run.unwrap_or(&nobody), cost).await;
        ask.run = run.map(|run| run.id);
        ask.authority = Authority::Key(self.id, Some(self.hash));
        let heard = self.org.ledger.find_key_by_id(self.id).await.unwrap().unwrap();
        ask.heard.key = heard.version;
        ask.budgets.extend_from_slice(&self.budgets);
        ask.budgets.sort_by_key(BudgetRef::rank);
        ask
    }

    pub(crate) async fn admit(&self, run: Option<&Run>, cost: &str) -> Result<Grant, Refusal> {
        admit(&self.org.ledger, self.ask(run, cost).await).await
    }

    pub(crate) async fn stands(&self) -> Vec<BudgetStanding> {
        self.org.ledger.key(self.org.id, self.id).await.unwrap().unwrap().standings
    }

    async fn set(&self, status: KeyStatus) -> Result<(), OrganizationsError> {
        self.org.ledger.set_key_status(self.org.id, self.id, status).await.map(drop)
    }
}

/// Asks on a turn of its own, as if over a gateway of its own.
pub(crate) async fn admit(ledger: &Arc<dyn Ledger>, ask: Ask) -> Result<Grant, Refusal> {
    ledger.admit(ask, &Arc::new(RunQueue::default()).arrive()).await.unwrap()
}

pub(crate) fn monthly(limit: &str) -> SettingsPatch {
    SettingsPatch { monthly_cost_limit: Some(usd(limit)), ..SettingsPatch::default() }
}

pub(crate) fn reset() -> SettingsPatch {
    SettingsPatch { reset_circuit: true, ..SettingsPatch::default() }
}

pub(crate) fn credit(amount: &str) -> Credit {
    let (kind, note) = (CreditKind::TopUp, String::new());
    let created_at = chrono::DateTime::UNIX_EPOCH;
    Credit { id: CreditId::generate(), kind, amount: usd(amount), note, created_at }
}

fn refused_by(refused: Result<Grant, Refusal>) -> (Scope, Unit, bool) {
    match refused.expect_err("must be refused") {
        Refusal::Budget { scope, unit, latched, .. } => (scope, unit, latched),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn check_racing_calls_share_a_keys_cap(ledger: Arc<dyn Ledger>) {
    let org = Org::open(&ledger, "100").await;
    let key = org.key(KeyLimits { lifetime_usd: Some(usd("1")), ..WIDE }).await;
    let runs = [org.run("100").await, org.run("100").await];
    let mut racing = tokio::task::JoinSet::new();
    for racer in 0..64 {
        let ask = key.ask([None, Some(&runs[0]), Some(&runs[1])][racer % 3], "0.1").await;
        let ledger = Arc::clone(&ledger);
        racing.spawn(async move { admit(&ledger, ask).await });
    }
    let (granted, refused): (Vec<_>, Vec<_>) =
        racing.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(granted.len(), 10);
    for refusal in refused {
        // One that shares a statement with an earlier call of its run stays behind it.
        if !matches!(refusal, Err(Refusal::Behind { .. })) {
            assert_eq!(refused_by(refusal), (Scope::Key, Unit::Usd, false));
        }
    }
    let stands = key.stands().await;
    assert_eq!(numbers(&stands.last().unwrap().balance), [dec("1"), dec("0"), dec("1")]);
    let circuit = org.stands(Scope::Organization).await;
    assert_eq!(numbers(&circuit.balance), [dec("100"), dec("0"), dec("1")]);
    drop(granted);
    ledger.flush().await;
    assert!(org.stands(Scope::Organization).await.balance.reserved.is_zero());
}

/// Each budget in turn is the first that is too small.
pub(crate) async fn check_shared_budgets_are_checked_in_order(ledger: Arc<dyn Ledger>) {
    let org = Org::open(&ledger, "3").await;
    org.add("4").await;
    let limits = KeyLimits {
        monthly_tokens: Tokens::new(400),
        daily_tokens: Some(Tokens::new(300)),
        monthly_usd: Some(usd("2")),
        lifetime_usd: Some(usd("1")),
    };
    let key = org.key(limits).await;
    let run = org.run("5").await;
    let refused = async |cost: &str, tokens| {
        let ask = key.ask(Some(&run), cost).await;
        let ask = Ask { amounts: amounts(cost, tokens), ..ask };
        match admit(&ledger, ask).await.expect_err("must be refused") {
            Refusal::Budget { scope, unit, balance, .. } => (scope, unit, balance.limit),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused("9", 301).await, (Scope::Key, Unit::Tokens, dec("300")));
    assert_eq!(refused("9", 300).await, (Scope::Key, Unit::Usd, dec("1")));
    let wide = org.key(WIDE).await;
    let by = async |cost| refused_by(wide.admit(Some(&run), cost).await).0;
    assert_eq!(by("9").await, Scope::Organization);
    org.put(monthly("100")).await;
    assert_eq!(by("9").await, Scope::Credits);
    org.add("100").await;
    assert_eq!(by("9").await, Scope::Run);
    assert!(wide.admit(Some(&run), "5").await.is_ok());
    ledger.flush().await;
}

pub(crate) async fn check_a_circuit_stays_open_until_it_is_reset(ledger: Arc<dyn Ledger>) {
    let org = Org::open(&ledger, "1").await;
    let key = org.key(WIDE).await;
    let refused = refused_by(key.admit(None, "1.000000000000000001").await);
    assert_eq!(refused, (Scope::Organization, Unit::Usd, false), "it does not fit");
    let grant = key.admit(None, "1").await.unwrap();
    grant.settle(outcome(charge("0.9", 10, 20, CostSource::Usage)));
    ledger.flush().await;
    assert!(!org.stands(Scope::Organization).await.latched);

    let grant = key.admit(None, "0.1").await.unwrap();
    grant.settle(outcome(charge("0.1", 10, 20, CostSource::Usage)));
    ledger.flush().await;
    let opened = org.stands(Scope::Organization).await;
    assert_eq!((opened.latched, opened.balance.spent), (true, dec("1")));
    org.put(monthly("5")).await;
    let refused = refused_by(key.admit(None, "0.1").await);
    assert_eq!(refused, (Scope::Organization, Unit::Usd, true), "raised, not reset");
    org.put(reset()).await;
    assert!(key.admit(None, "0.1").await.is_ok());
    ledger.flush().await;

    // Below what is spent: it opens at once, and a reset alone does not shut it.
    org.put(monthly("0.5")).await;
    org.put(reset()).await;
    assert_eq!(refused_by(key.admit(None, "0").await), (Scope::Organization, Unit::Usd, true));
    org.put(SettingsPatch { reset_circuit: true, ..monthly("2") }).await;
    assert!(key.admit(None, "1").await.is_ok());
    ledger.flush().await;
}

pub(crate) async fn check_an_organization_is_configured_first(ledger: Arc<dyn Ledger>) {
    let org = Org::with_id(&ledger, OrganizationId::generate()).await;
    let key = org.key(WIDE).await;
    assert_eq!(refused_by(key.admit(None, "0.1").await).0, Scope::Organization);
    let put = ledger.put_settings(org.id, reset()).await;
    assert!(matches!(put, Err(OrganizationsError::NotConfigured)), "{put:?}");
    org.put(monthly("1")).await;
    assert!(key.admit(None, "0.1").await.is_ok());
    ledger.flush().await;
    let twice = ledger.create_organization(OrganizationId::generate(), org.id.to_string()).await;
    assert!(matches!(twice, Err(OrganizationsError::Taken)));
    let nobody = OrganizationId::generate();
    let put = ledger.put_settings(nobody, monthly("1")).await;
    assert!(matches!(put, Err(OrganizationsError::NotFound)));
    let added = ledger.add_credit(nobody, credit("1")).await;
    assert!(matches!(added, Err(OrganizationsError::NotFound)));
}

pub(crate) async fn check_a_key_that_is_not_good_admits_nothing(ledger: Arc<dyn Ledger>) {
    let org = Org::open(&ledger, "100").await;
    let key = org.key(WIDE).await;
    let invalid = async |key: &Key| {
        assert_eq!(key.admit(None, "0.1").await.unwrap_err(), Refusal::InvalidKey);
    };
    key.set(KeyStatus::Suspended).await.unwrap();
    invalid(&key).await;
    key.set(KeyStatus::Active).await.unwrap();
    drop(key.admit(None, "0.1").await.unwrap());

    let (hash, prefix) = (fresh_token(), "rg-key-efgh".to_owned());
    let rotated = ledger.rotate_key(org.id, key.id, hash, prefix).await.unwrap();
    assert!(rotated.rotated_at.is_some());
    invalid(&key).await;
    let key = Key { hash, ..key };
    drop(key.admit(None, "0.1").await.unwrap());
    assert_eq!(ledger.find_key(hash).await.unwrap().unwrap().id, key.id);

    let foreign = Org::open(&ledger, "100").await.run("1").await;
    let refused = key.admit(Some(&foreign), "0.1").await.unwrap_err();
    assert_eq!(refused, Refusal::RunNotFound, "another organization's");

    key.set(KeyStatus::Revoked).await.unwrap();
    invalid(&key).await;
    let resumed = key.set(KeyStatus::Active).await;
    assert!(matches!(resumed, Err(OrganizationsError::InvalidTransition(_))), "{resumed:?}");
    let terms =
        KeyTerms { expires_at: Some(Utc::now() - Duration::hours(1)), ..KeyTerms::default() };
    invalid(&org.key_with(KeyId::generate(), terms, WIDE).await).await;
    ledger.flush().await;
}

/// What a transaction added to the balance.
fn moved(transaction: &Transaction) -> Decimal {
    match &transaction.movement {
        Movement::Credit(credit) => credit.amount.decimal(),
        Movement::Charge { cost, .. } => -cost,
    }
}

pub(crate) async fn check_credits_are_what_was_put_in(ledger: Arc<dyn Ledger>) {
    let org = Org::open(&ledger, "100").await;
    let key = org.key(WIDE).await;
    let first = credit("0.5");
    ledger.add_credit(org.id, first.clone()).await.unwrap();
    let again = ledger.add_credit(org.id, first).await.unwrap();
    assert_eq!(numbers(&again.balance), [dec("0.5"), dec("0"), dec("0")], "booked once");
    let grant = key.admit(None, "0.5").await.unwrap();
    assert_eq!(refused_by(key.admit(None, "0.1").await), (Scope::Credits, Unit::Usd, false));
    grant.settle(outcome(charge("0.2", 10, 20, CostSource::Usage)));
    ledger.flush().await;
    let topped = org.add("0.000000000000000001").await;
    let limit = dec("0.500000000000000001");
    assert_eq!(numbers(&topped.balance), [limit, dec("0.2"), Decimal::ZERO]);
    let page = rungate::ledger::Page { after: None, limit: 9 };
    let history = ledger.credit_history(org.id, page).await.unwrap();
    let balance: Decimal = history.transactions.iter().map(moved).sum();
    assert_eq!(balance, limit - dec("0.2"), "{history:?}");
}
