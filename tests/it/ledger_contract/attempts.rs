//! Runs whose attempts have budgets of their own.

use std::sync::Arc;

use rungate::domain::budget::Unit;
use rungate::domain::control::AttemptBudget;
use rungate::domain::id::Attempt;
use rungate::domain::reservation::Refusal;
use rungate::domain::run::{RunPatch, RunState};
use rungate::domain::settlement::CostSource;
use rungate::domain::usage::Tokens;
use rungate::ledger::{Ledger, Page, RunKey, RunRecord, RunsError};
use rust_decimal::Decimal;

use super::fixture::*;

/// A run of a dollar, 1,000 tokens and three calls for each attempt.
async fn open(ledger: &Arc<dyn Ledger>) -> Run {
    let mut new = registration("1");
    new.terms.token_limit = Some(Tokens::new(1_000));
    new.terms.call_limit = Some(3);
    new.terms.control.attempt_budget = AttemptBudget::PerAttempt;
    Run::with(ledger, new).await
}

async fn next(run: &mut Run) -> RunRecord {
    let opened = run.ledger.open_attempt(run.id, RunState::Running, fresh_token()).await.unwrap();
    look_up(run).await;
    opened
}

async fn look_up(run: &mut Run) {
    run.budgets = run.ledger.find(RunKey::Id(run.id)).await.unwrap().unwrap().budgets;
}

pub(crate) async fn check_each_attempt_has_its_own_budgets(ledger: Arc<dyn Ledger>) {
    let mut run = open(&ledger).await;
    let first = run.budgets.clone();
    let spent = run.admit("0.6").await.unwrap();
    run.settle(spent, charge("0.5", 200, 100, CostSource::Usage)).await;
    let old = run.admit("0.4").await.unwrap();

    let opened = next(&mut run).await;
    assert!(run.budgets.iter().all(|new| first.iter().all(|old| old.id != new.id)));
    let units: Vec<Unit> = run.budgets.iter().map(|budget| budget.unit).collect();
    assert_eq!(units, Unit::ALL);
    let limits = [dec("3"), dec("1000"), dec("1")];
    for (unit, limit) in Unit::ALL.into_iter().zip(limits) {
        assert_eq!(run.stands(unit).await, [limit, Decimal::ZERO, Decimal::ZERO], "{unit:?}");
    }
    assert_eq!((opened.in_flight, opened.earlier_in_flight), (0, 1));
    assert_eq!((opened.models.len(), opened.total_spent), (0, dec("0.5")));

    // All of the cap is there again, and a call of the attempt before settles on its own.
    let new = run.admit("1").await.unwrap();
    assert_eq!(new.attempt(), Attempt::FIRST.next());
    run.settle(old, charge("0.3", 20, 10, CostSource::Usage)).await;
    assert_eq!(run.stands(Unit::Usd).await, [dec("1"), Decimal::ZERO, dec("1")]);
    run.settle(new, charge("0.25", 4, 3, CostSource::Usage)).await;
    let record = run.record().await;
    assert_eq!(record.total_spent, dec("1.05"));
    assert_eq!((record.in_flight, record.earlier_in_flight), (0, 0));
    assert_eq!(run.stands(Unit::Tokens).await[1], dec("7"));
    assert_eq!(run.stands(Unit::Calls).await[1], dec("1"));
    let used = record.models.first().unwrap();
    assert_eq!((used.calls, used.cost, record.models.len()), (1, dec("0.25"), 1));
    let calls = ledger.calls(run.id, Page { after: None, limit: 9 }).await.unwrap();
    let attempts: Vec<u32> = calls.iter().map(|call| call.attempt.number()).collect();
    assert_eq!(attempts, [1, 1, 2]);
}

pub(crate) async fn check_a_cap_is_that_of_the_attempt_and_later_ones(ledger: Arc<dyn Ledger>) {
    let mut run = open(&ledger).await;
    let spent = run.admit("0.9").await.unwrap();
    run.settle(spent, charge("0.9", 1, 1, CostSource::Usage)).await;
    next(&mut run).await;
    let to = |limit| RunPatch { cost_limit: Some(usd(limit)), ..RunPatch::default() };

    // 0.9 was spent before, and none of it in this attempt.
    let changed = ledger.patch(run.id, to("0.2")).await.unwrap();
    assert_eq!(changed.balance(Unit::Usd).unwrap().limit, dec("0.2"));
    assert!(run.admit("0.21").await.is_err());
    let spent = run.admit("0.2").await.unwrap();
    run.settle(spent, charge("0.2", 1, 1, CostSource::Usage)).await;
    let refused = ledger.patch(run.id, to("0.1")).await;
    assert!(matches!(refused, Err(RunsError::LimitBelowSpent { spent }) if spent == usd("0.2")));
    let third = next(&mut run).await;
    assert_eq!(third.balance(Unit::Usd).unwrap().limit, dec("0.2"));
    assert_eq!(third.total_spent, dec("1.1"));
}

pub(crate) async fn check_an_ask_on_the_budgets_of_another_attempt_is_outdated(
    ledger: Arc<dyn Ledger>,
) {
    let mut run = open(&ledger).await;
    ledger.open_attempt(run.id, RunState::Running, fresh_token()).await.unwrap();
    assert_eq!(run.refusal(run.ask("0.1")).await, Refusal::Outdated);
    // It takes no place in the queue.
    assert_eq!(run.queue.waiting(), 0);
    look_up(&mut run).await;
    assert_eq!(run.admit("0.1").await.unwrap().attempt(), Attempt::FIRST.next());
    assert_eq!(run.record().await.total_spent, Decimal::ZERO);
}
