//! A run on a ledger, and calls on it.

use std::sync::Arc;

use rungate::domain::budget::{Amounts, Balance, BudgetRef, Unit};
use rungate::domain::control::RunControl;
use rungate::domain::id::{OrganizationId, ReservationId, RunId};
use rungate::domain::key::TokenHash;
use rungate::domain::money::Usd;
use rungate::domain::reservation::{Ask, Authority, CallFacts, Heard, Refusal};
use rungate::domain::run::{OnCap, Registration, RunState, RunTerms};
use rungate::domain::settlement::{Charge, CostSource};
use rungate::domain::usage::{Tokens, Usage};
use rungate::ledger::queue::{RunQueue, Turn};
use rungate::ledger::{Grant, Ledger, Outcome, Registered, RunRecord};
use rust_decimal::Decimal;

pub(crate) fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

pub(crate) fn dec(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

/// A token that no other run has, on any ledger.
pub(crate) fn fresh_token() -> TokenHash {
    TokenHash::of(&RunId::random().to_string())
}

/// A running run of that cap.
pub(crate) fn registration(cap: &str) -> Registration {
    let id = RunId::random();
    let mut fingerprint = [7; 32];
    fingerprint[..16].copy_from_slice(id.uuid().as_bytes());
    Registration {
        id,
        terms: RunTerms {
            organization: OrganizationId::DEFAULT,
            allowed_models: Some(vec!["small".to_owned(), "large".to_owned()]),
            token_limit: None,
            call_limit: None,
            max_concurrency: Some(8),
            requests_per_minute: None,
            max_output_tokens_per_call: Some(Tokens::new(4096)),
            on_cap: OnCap::Refuse,
            require_token: false,
            control: RunControl::default(),
        },
        cost_limit: usd(cap),
        status: RunState::Running,
        expires_at: None,
        metadata: r#"{"task": "a"}"#.to_owned(),
        providers: Vec::new(),
        fingerprint,
    }
}

pub(crate) fn facts(model: &str) -> CallFacts {
    CallFacts {
        request_id: format!("req-{}", RunId::random()),
        model: model.to_owned(),
        requested_model: (model == "large").then(|| "grand".to_owned()),
        provider: "simulated".to_owned(),
        endpoint: "chat_completions",
        price_version: "test-1".to_owned(),
        input_bound: Tokens::new(30),
        output_bound: Tokens::new(70),
    }
}

/// What a call takes of each unit.
pub(crate) fn amounts(cost: &str, tokens: u64) -> Amounts {
    Amounts { usd: usd(cost), tokens: Tokens::new(tokens), calls: 1 }
}

pub(crate) fn outcome(charge: Charge) -> Outcome {
    Outcome {
        charge,
        served_model: Some("small-2".to_owned()),
        service_tier: Some("flex".to_owned()),
        status: 200,
        latency_ms: 12,
        ttfb_ms: Some(3),
    }
}

/// A charge of that cost for `input` and `output` tokens.
pub(crate) fn charge(cost: &str, input: u64, output: u64, source: CostSource) -> Charge {
    let usage = Usage {
        uncached_input: Tokens::new(input),
        output: Tokens::new(output),
        ..Usage::default()
    };
    Charge { cost: usd(cost), usage, source, flag: None }
}

/// A registered run.
pub(crate) struct Run {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) id: RunId,
    pub(crate) budgets: Vec<BudgetRef>,
    pub(crate) token: TokenHash,
    pub(crate) queue: Arc<RunQueue>,
}

impl Run {
    pub(crate) async fn open(ledger: &Arc<dyn Ledger>, cap: &str) -> Self {
        Self::with(ledger, registration(cap)).await
    }

    pub(crate) async fn with(ledger: &Arc<dyn Ledger>, registration: Registration) -> Self {
        let token = fresh_token();
        let mut registered = ledger.register(vec![(registration, token)]).await.unwrap();
        let Some(Registered::New(record)) = registered.pop() else { panic!("not new") };
        Self {
            ledger: Arc::clone(ledger),
            id: record.run.id,
            budgets: record.run.budgets,
            token,
            queue: Arc::new(RunQueue::default()),
        }
    }

    pub(crate) fn ask(&self, cost: &str) -> Ask {
        Ask {
            id: ReservationId::generate(),
            organization: OrganizationId::DEFAULT,
            run: Some(self.id),
            authority: Authority::RunId,
            heard: Heard::default(),
            budgets: self.budgets.clone(),
            amounts: amounts(cost, 100),
            facts: facts("small"),
        }
    }

    pub(crate) async fn admit_at(&self, ask: Ask, turn: &Arc<Turn>) -> Result<Grant, Refusal> {
        self.ledger.admit(ask, turn).await.unwrap()
    }

    /// Asks on a turn that is given up at once.
    pub(crate) async fn try_ask(&self, ask: Ask) -> Result<Grant, Refusal> {
        self.admit_at(ask, &self.queue.arrive()).await
    }

    pub(crate) async fn admit(&self, cost: &str) -> Result<Grant, Refusal> {
        self.try_ask(self.ask(cost)).await
    }

    /// The refusal of a call that must not be admitted.
    pub(crate) async fn refusal(&self, ask: Ask) -> Refusal {
        self.try_ask(ask).await.expect_err("must be refused")
    }

    pub(crate) async fn settle(&self, grant: Grant, charge: Charge) {
        grant.settle(outcome(charge));
        self.ledger.flush().await;
    }

    pub(crate) async fn record(&self) -> RunRecord {
        self.ledger.record(self.id).await.unwrap().unwrap()
    }

    /// `limit`, `spent` and `reserved` of one budget.
    pub(crate) async fn stands(&self, unit: Unit) -> [Decimal; 3] {
        numbers(self.record().await.balance(unit).unwrap())
    }
}

pub(crate) fn numbers(balance: &Balance) -> [Decimal; 3] {
    [balance.limit, balance.spent, balance.reserved]
}
