//! Reserving and settling.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use rungate::domain::budget::{Balance, Scope, Unit, Window};
use rungate::domain::id::{OrganizationId, RunId};
use rungate::domain::reservation::{Ask, Authority, Refusal, Reservation};
use rungate::domain::run::{RunPatch, RunState};
use rungate::domain::settlement::CostSource;
use rungate::domain::usage::Tokens;
use rungate::ledger::grant::Settle;
use rungate::ledger::queue::RunQueue;
use rungate::ledger::{Ledger, Page, RunKey, Settlement};

use super::fixture::*;

const ALL: Page = Page { after: None, limit: 1_000 };

pub(crate) async fn check_a_cap_is_reached_exactly(ledger: Arc<dyn Ledger>) {
    let run = Run::open(&ledger, "1.00").await;
    let first = run.admit("0.600000000000000001").await.unwrap();
    let second = run.admit("0.399999999999999999").await.unwrap();
    assert_eq!(numbers(second.balance()), [dec("1"), dec("0"), dec("1")]);

    let full = Balance { limit: dec("1"), spent: dec("0"), reserved: dec("1") };
    let refused = run.refusal(run.ask("0.000000000000000001")).await;
    let told = Refusal::Budget {
        scope: Scope::Run,
        unit: Unit::Usd,
        window: Window::Lifetime,
        latched: false,
        balance: full,
        usd: full,
    };
    assert_eq!(refused, told);
    drop(run.admit("0").await.unwrap());
    ledger.flush().await;

    run.settle(first, charge("0.25", 10, 20, CostSource::Usage)).await;
    assert_eq!(run.stands(Unit::Usd).await, [dec("1"), dec("0.25"), dec("0.399999999999999999")]);
    drop(run.admit("0.350000000000000001").await.unwrap());
    ledger.flush().await;
    let refused = run.refusal(run.ask("0.350000000000000002")).await;
    assert!(matches!(refused, Refusal::Budget { unit: Unit::Usd, .. }));

    let none = Run::open(&ledger, "0").await;
    assert!(none.admit("0.000000000000000001").await.is_err(), "a limit of 0 means zero");
    assert!(none.admit("0").await.is_ok());
}

pub(crate) async fn check_racing_calls_share_the_cap(ledger: Arc<dyn Ledger>) {
    let run = Arc::new(Run::open(&ledger, "1").await);
    let racers: Vec<_> = (0..64)
        .map(|_| {
            let run = Arc::clone(&run);
            // A queue each, as if each call came in over a gateway of its own.
            let turn = Arc::new(RunQueue::default()).arrive();
            tokio::spawn(async move { run.admit_at(run.ask("0.1"), &turn).await })
        })
        .collect();
    let mut admitted = Vec::new();
    for racer in racers {
        admitted.extend(racer.await.unwrap().ok());
    }
    assert_eq!(admitted.len(), 10);
    assert_eq!(run.stands(Unit::Usd).await, [dec("1"), dec("0"), dec("1")]);
}

pub(crate) async fn check_budgets_are_checked_in_order(ledger: Arc<dyn Ledger>) {
    let mut registration = registration("1");
    registration.terms.call_limit = Some(2);
    registration.terms.token_limit = Some(Tokens::new(250));
    let run = Run::with(&ledger, registration).await;
    let units: Vec<Unit> = run.budgets.iter().map(|budget| budget.unit).collect();
    assert_eq!(units, Unit::ALL);

    let ask = |cost: &str, tokens| Ask { amounts: amounts(cost, tokens), ..run.ask("0") };
    let refused_by = async |ask| match run.refusal(ask).await {
        Refusal::Budget { unit, balance, usd, .. } => (unit, numbers(&balance), numbers(&usd)),
        other => panic!("{other:?}"),
    };
    let _first = run.try_ask(ask("0.5", 100)).await.unwrap();
    let dollars = [dec("1"), dec("0"), dec("0.5")];
    let tokens = [dec("250"), dec("0"), dec("100")];
    assert_eq!(refused_by(ask("0.6", 151)).await, (Unit::Tokens, tokens, dollars));
    assert_eq!(refused_by(ask("0.6", 150)).await, (Unit::Usd, dollars, dollars));

    let _second = run.try_ask(ask("0.5", 150)).await.unwrap();
    let dollars = [dec("1"), dec("0"), dec("1")];
    let calls = [dec("2"), dec("0"), dec("2")];
    assert_eq!(refused_by(ask("0.6", 151)).await, (Unit::Calls, calls, dollars));
    assert_eq!(refused_by(ask("0", 0)).await, (Unit::Calls, calls, dollars));
}

/// Each line has two faults next to each other in the published order; the first one is told.
pub(crate) async fn check_states_come_before_money(ledger: Arc<dyn Ledger>) {
    use RunState::{Cancelled, Failed, Finished, Initializing, Pending, Running, Scoring};
    let wrong = Authority::Token(fresh_token());
    let cases = [
        (Finished, false, Some(wrong), Refusal::InvalidKey),
        (Running, false, Some(wrong), Refusal::InvalidKey),
        (Scoring, true, None, Refusal::RunClosed(Scoring)),
        (Finished, true, None, Refusal::RunClosed(Finished)),
        (Failed, false, None, Refusal::RunClosed(Failed)),
        (Cancelled, false, None, Refusal::RunClosed(Cancelled)),
        (Pending, true, None, Refusal::RunExpired),
        (Running, true, None, Refusal::RunExpired),
        (Pending, false, None, Refusal::RunNotActive(Pending)),
        (Initializing, false, None, Refusal::RunNotActive(Initializing)),
    ];
    for (status, expired, authority, refusal) in cases {
        let mut registration = registration("0.1");
        registration.status = status;
        registration.expires_at = expired.then(|| Utc::now() - chrono::Duration::hours(1));
        let run = Run::with(&ledger, registration).await;
        let mut ask = run.ask("0.2");
        ask.authority = authority.unwrap_or(ask.authority);
        let turn = run.queue.arrive();
        assert_eq!(run.admit_at(ask, &turn).await.unwrap_err(), refusal, "{status:?} {expired}");
        assert_eq!(run.queue.waiting(), 0, "only money is waited for");
        assert_eq!(run.record().await.in_flight, 0);
    }

    let mut registration = registration("1");
    registration.terms.require_token = true;
    let run = Run::with(&ledger, registration).await;
    assert_eq!(run.refusal(run.ask("0.1")).await, Refusal::InvalidKey);
    let right = Ask { authority: Authority::Token(run.token), ..run.ask("0.1") };
    assert!(run.try_ask(right.clone()).await.is_ok());
    ledger.flush().await;
    let stranger = Ask { id: run.ask("0").id, run: Some(RunId::random()), ..right };
    assert_eq!(run.refusal(stranger).await, Refusal::RunNotFound);
}

pub(crate) async fn check_a_waiting_call_is_not_overtaken(ledger: Arc<dyn Ledger>) {
    let run = Run::open(&ledger, "1").await;
    let grant = run.admit("0.9").await.unwrap();
    let (large, small) = (run.queue.arrive(), run.queue.arrive());
    let refused = run.admit_at(run.ask("0.5"), &large).await.unwrap_err();
    assert!(matches!(refused, Refusal::Budget { unit: Unit::Usd, .. }));
    let behind = run.admit_at(run.ask("0.1"), &small).await.unwrap_err();
    assert!(matches!(behind, Refusal::Behind { .. }), "it fits and may not overtake");
    assert_eq!(run.queue.waiting(), 2);

    run.settle(grant, charge("0.5", 1, 1, CostSource::Usage)).await;
    tokio::time::timeout(Duration::from_secs(5), large.woken()).await.unwrap();
    let behind = run.admit_at(run.ask("0.1"), &small).await.unwrap_err();
    assert!(matches!(behind, Refusal::Behind { .. }), "the head comes first, unasked yet");
    let grant = run.admit_at(run.ask("0.5"), &large).await.unwrap();
    drop(large);
    tokio::time::timeout(Duration::from_secs(5), small.woken()).await.unwrap();
    let refused = run.admit_at(run.ask("0.1"), &small).await.unwrap_err();
    assert!(matches!(refused, Refusal::Budget { unit: Unit::Usd, .. }), "now its own size counts");

    run.settle(grant, charge("0.4", 1, 1, CostSource::Usage)).await;
    tokio::time::timeout(Duration::from_secs(5), small.woken()).await.unwrap();
    assert!(run.admit_at(run.ask("0.1"), &small).await.is_ok());
}

pub(crate) async fn check_a_dropped_grant_is_released(ledger: Arc<dyn Ledger>) {
    let mut registration = registration("1");
    registration.terms.call_limit = Some(1);
    let run = Run::with(&ledger, registration).await;
    let grant = run.admit("1").await.unwrap();
    let id = grant.id();
    drop(grant);
    ledger.flush().await;
    let record = run.record().await;
    assert_eq!(record.in_flight, 0);
    assert_eq!(numbers(record.balance(Unit::Usd).unwrap()), [dec("1"), dec("0"), dec("0")]);
    assert_eq!(numbers(record.balance(Unit::Calls).unwrap()), [dec("1"), dec("0"), dec("0")]);
    assert!(record.models.is_empty(), "nothing was bought");
    let calls = ledger.calls(run.id, ALL).await.unwrap();
    let [call] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!((call.id, call.charge.source), (id, CostSource::None));
    assert!(run.admit("1").await.is_ok(), "a released call does not count");
}

pub(crate) async fn check_an_overrun_is_booked_in_full(ledger: Arc<dyn Ledger>) {
    let run = Run::open(&ledger, "1").await;
    let grant = run.admit("0.9").await.unwrap();
    run.settle(grant, charge("1.000000000000000001", 500, 500, CostSource::Usage)).await;
    assert_eq!(run.stands(Unit::Usd).await, [dec("1"), dec("1.000000000000000001"), dec("0")]);
    assert!(run.admit("0").await.is_err(), "past its limit nothing fits, not even nothing");
    let patch = RunPatch { cost_limit: Some(usd("2")), ..RunPatch::default() };
    ledger.patch(run.id, patch).await.unwrap();
    assert!(run.admit("0.999999999999999999").await.is_ok());
}

pub(crate) async fn check_calls_are_summed_by_model(ledger: Arc<dyn Ledger>) {
    let run = Run::open(&ledger, "10").await;
    let ends = [
        ("small", charge("0.1", 10, 5, CostSource::Usage)),
        ("large", charge("0.000000000000000001", 1, 2, CostSource::WorstCase)),
        ("small", charge("0.2", 20, 5, CostSource::Estimate)),
    ];
    for (model, charge) in ends {
        let grant = run.try_ask(Ask { facts: facts(model), ..run.ask("1") }).await.unwrap();
        run.settle(grant, charge).await;
    }
    let mut models = run.record().await.models;
    models.sort_by_key(|used| used.model.clone());
    let [large, small] = models.as_slice() else { panic!("{models:?}") };
    assert_eq!((large.calls, large.cost), (1, dec("0.000000000000000001")));
    assert_eq!((small.calls, small.input_tokens, small.output_tokens), (2, 30, 10));
    assert_eq!(small.cost, dec("0.3"));
    assert!(small.sources.contains(&(CostSource::Usage, 1)));
    assert!(small.sources.contains(&(CostSource::Estimate, 1)));
    assert_eq!(small.sources.len(), 2);

    let calls = ledger.calls(run.id, ALL).await.unwrap();
    let first = ledger.calls(run.id, Page { after: None, limit: 2 }).await.unwrap();
    let after = first.last().map(|call| call.id.uuid());
    let rest = ledger.calls(run.id, Page { after, limit: 2 }).await.unwrap();
    assert_eq!((calls.len(), first.len()), (3, 2));
    assert_eq!([first, rest].concat(), calls);
    assert!(calls.is_sorted_by_key(|call| call.id));
}

/// Needs the ledger's own end of settlements, because no grant can be settled twice.
pub(crate) async fn check_settling_twice_changes_nothing(
    ledger: Arc<dyn Ledger>,
    books: Arc<dyn Settle>,
) {
    let run = Run::open(&ledger, "1").await;
    let grant = run.admit("0.5").await.unwrap();
    let snapshot = ledger.find(RunKey::Id(run.id)).await.unwrap().unwrap();
    let again = |cost| Settlement {
        reservation: Reservation {
            id: grant.id(),
            organization: OrganizationId::DEFAULT,
            run: Some(run.id),
            key: None,
            attempt: grant.attempt(),
            budgets: snapshot.budgets.clone(),
            amounts: amounts("0.5", 100),
            balance: *grant.balance(),
        },
        outcome: outcome(charge(cost, 10, 20, CostSource::Usage)),
    };
    let repeats = ["0.3", "0.3", "0.4"].map(again);
    for settlement in repeats {
        books.settle(settlement, Arc::clone(&run.queue));
        ledger.flush().await;
        assert_eq!(run.stands(Unit::Usd).await, [dec("1"), dec("0.3"), dec("0")]);
    }
    drop(grant);
    ledger.flush().await;
    assert_eq!(run.stands(Unit::Usd).await, [dec("1"), dec("0.3"), dec("0")]);
    assert_eq!(ledger.calls(run.id, ALL).await.unwrap().len(), 1);
}
