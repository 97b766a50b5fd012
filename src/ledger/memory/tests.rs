//! What the contract of all ledgers cannot reach: settlements without a grant, newcomers, the end
//! of what is kept.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use rust_decimal::Decimal;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::super::Outcome;
use super::*;
use crate::domain::budget::{Amounts, Balance, Unit};
use crate::domain::id::{Attempt, OrganizationId, ReservationId};
use crate::domain::reservation::{Authority, CallFacts, Heard, Reservation};
use crate::domain::settlement::{Charge, CostSource};
use crate::domain::usage::{Tokens, Usage};

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

fn dev(cap: &str) -> (Arc<MemoryLedger>, UnboundedReceiver<Event>) {
    let (events, received) = unbounded_channel();
    (MemoryLedger::new(Utc::now, Some(usd(cap)), events), received)
}

fn ask(run: RunId, amount: &str) -> Ask {
    Ask {
        id: ReservationId::generate(),
        organization: OrganizationId::DEFAULT,
        run: Some(run),
        authority: Authority::RunId,
        heard: Heard::default(),
        budgets: Vec::new(),
        amounts: Amounts { usd: usd(amount), tokens: Tokens::new(10), calls: 1 },
        facts: CallFacts {
            request_id: "r".to_owned(),
            model: "m".to_owned(),
            requested_model: None,
            provider: "p".to_owned(),
            endpoint: "chat",
            price_version: "v".to_owned(),
            input_bound: Tokens::new(4),
            output_bound: Tokens::new(6),
        },
    }
}

fn settlement(id: ReservationId, run: RunId, cost: &str) -> Settlement {
    let amounts = Amounts { usd: usd("0.1"), tokens: Tokens::new(10), calls: 1 };
    let balance = Balance::default();
    let attempt = Attempt::FIRST;
    let usage = Usage { output: Tokens::new(3), ..Usage::default() };
    Settlement {
        reservation: Reservation {
            id,
            organization: OrganizationId::DEFAULT,
            run: Some(run),
            key: None,
            attempt,
            budgets: Vec::new(),
            amounts,
            balance,
        },
        outcome: Outcome {
            charge: Charge { cost: usd(cost), usage, source: CostSource::Usage, flag: None },
            served_model: None,
            service_tier: None,
            status: 200,
            latency_ms: 1,
            ttfb_ms: None,
        },
    }
}

async fn dollars(ledger: &MemoryLedger, run: RunId) -> Balance {
    *ledger.record(run).await.unwrap().unwrap().balance(Unit::Usd).unwrap()
}

#[tokio::test]
async fn a_run_never_seen_is_met_running_under_the_cap_of_newcomers() {
    let (ledger, mut events) = dev("0.25");
    let (looked_up, spent_at_once) = (RunId::random(), RunId::random());
    let found = ledger.find(RunKey::Id(looked_up)).await.unwrap().unwrap();
    assert_eq!(found.standing.state, RunState::Running);

    let queue = Arc::new(RunQueue::default());
    let taken = ledger.admit(ask(spent_at_once, "0.25"), &queue.arrive()).await.unwrap();
    assert_eq!(taken.unwrap().balance().limit, Decimal::new(25, 2));
    let more = ledger.admit(ask(spent_at_once, "0.26"), &queue.arrive()).await.unwrap();
    assert!(matches!(more, Err(Refusal::Budget { unit: Unit::Usd, .. })));

    let token = TokenHash::of("nobody's");
    assert!(ledger.find(RunKey::Token(token)).await.unwrap().is_none());
    assert!(ledger.record(RunId::random()).await.unwrap().is_none());
    let runs = ledger.list(None, None, Page { after: None, limit: 9 }).await.unwrap();
    assert_eq!(runs.len(), 2);
    assert!(events.try_recv().is_err(), "nothing of a known run changed");
}

#[tokio::test]
async fn a_changed_run_is_told_and_a_refused_change_is_not() {
    let (ledger, mut events) = dev("1");
    let run = RunId::random();
    ledger.find(RunKey::Id(run)).await.unwrap();
    ledger.rotate_token(run, TokenHash::of("new")).await.unwrap();
    assert_eq!(events.try_recv().unwrap(), Event::RunChanged(run));

    assert!(ledger.rotate_token(RunId::random(), TokenHash::of("x")).await.is_err());
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn what_no_reservation_stands_behind_is_not_booked() {
    let (ledger, _events) = dev("1");
    let run = RunId::random();
    let queue = Arc::new(RunQueue::default());
    let before = ledger.admit(ask(run, "0.1"), &queue.arrive()).await.unwrap().unwrap();
    let books = ledger.books();
    books.settle(settlement(ReservationId::generate(), run, "0.05"), Arc::clone(&queue));
    books.settle(settlement(before.id(), RunId::random(), "0.05"), Arc::clone(&queue));
    let stands = dollars(&ledger, run).await;
    assert_eq!((stands.spent, stands.reserved), (Decimal::ZERO, Decimal::new(1, 1)));
}

#[tokio::test]
async fn an_id_that_is_in_flight_cannot_be_taken_again() {
    let (ledger, _events) = dev("1");
    let run = RunId::random();
    let queue = Arc::new(RunQueue::default());
    let first = ask(run, "0.1");
    let _grant = ledger.admit(first.clone(), &queue.arrive()).await.unwrap().unwrap();
    let again = ledger.admit(first, &queue.arrive()).await;
    assert!(matches!(again, Err(LedgerError::Unavailable(_))));
    assert_eq!(dollars(&ledger, run).await.reserved, Decimal::new(1, 1));
}

#[tokio::test]
async fn sums_stay_exact_when_old_rows_are_forgotten() {
    let (ledger, _events) = dev("1000000");
    let run = RunId::random();
    let queue = Arc::new(RunQueue::default());
    let books = ledger.books();
    let count = KEPT_CALLS + 3;
    for _ in 0..count {
        let ask = ask(run, "0.1");
        let id = ask.id;
        // Only the sums matter here, so the grant's own end comes second and changes nothing.
        let grant = ledger.admit(ask, &queue.arrive()).await.unwrap().unwrap();
        books.settle(settlement(id, run, "0.000000000000000001"), Arc::clone(&queue));
        drop(grant);
    }
    let record = ledger.record(run).await.unwrap().unwrap();
    let expected = Decimal::new(i64::try_from(count).unwrap(), 18);
    assert_eq!(record.balance(Unit::Usd).unwrap().spent, expected);
    assert_eq!(record.models.first().unwrap().cost, expected);
    assert_eq!(record.in_flight, 0);
    let rows = ledger.calls(run, Page { after: None, limit: u32::MAX }).await.unwrap();
    assert_eq!(rows.len(), KEPT_CALLS);
}
