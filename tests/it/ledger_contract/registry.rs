//! Registering and changing runs.

use std::sync::Arc;

use rungate::domain::budget::Unit;
use rungate::domain::id::{Attempt, RunId};
use rungate::domain::reservation::{Ask, Authority, Refusal};
use rungate::domain::run::{RunPatch, RunState};
use rungate::domain::settlement::CostSource;
use rungate::ledger::{Close, Ledger, Page, Registered, RunKey, RunsError};

use super::fixture::*;

fn to(status: RunState) -> RunPatch {
    RunPatch { status: Some(status), ..RunPatch::default() }
}

fn cap(limit: &str) -> RunPatch {
    RunPatch { cost_limit: Some(usd(limit)), ..RunPatch::default() }
}

pub(crate) async fn check_registration_is_all_or_none(ledger: Arc<dyn Ledger>) {
    let (known, new, other) = (registration("1"), registration("2"), registration("3"));
    let changed = {
        let mut changed = known.clone();
        changed.fingerprint[31] ^= 1;
        changed
    };
    let batch = |all: &[_]| -> Vec<_> {
        all.iter()
            .map(|one: &&rungate::domain::run::Registration| ((*one).clone(), fresh_token()))
            .collect()
    };
    let token = fresh_token();
    let first = ledger.register(vec![(known.clone(), token)]).await.unwrap();
    assert!(matches!(first.as_slice(), [Registered::New(_)]));

    let refused = ledger.register(batch(&[&new, &changed])).await;
    assert!(matches!(refused, Err(RunsError::Conflict(id)) if id == known.id));
    assert!(ledger.record(new.id).await.unwrap().is_none(), "all or none");

    let mut twice = other.clone();
    twice.fingerprint[31] ^= 1;
    let refused = ledger.register(batch(&[&other, &twice])).await;
    assert!(matches!(refused, Err(RunsError::Conflict(id)) if id == other.id));
    assert!(ledger.record(other.id).await.unwrap().is_none(), "all or none");

    let registered = ledger.register(batch(&[&new, &known, &new])).await.unwrap();
    let [Registered::New(a), Registered::Existing(b), Registered::Existing(c)] =
        registered.as_slice()
    else {
        panic!("{registered:?}")
    };
    assert_eq!((a.run.id, b.run.id, c.run.id), (new.id, known.id, new.id));
    assert_eq!(b.run.standing.token, token, "the first token stays");
    assert_eq!(a.run.terms, new.terms);
}

pub(crate) async fn check_a_token_dies_when_it_is_replaced(ledger: Arc<dyn Ledger>) {
    let run = Run::open(&ledger, "1").await;
    let new = fresh_token();
    let record = ledger.rotate_token(run.id, new).await.unwrap();
    assert_eq!((record.run.standing.token, record.run.standing.attempt), (new, Attempt::FIRST));
    let by = |token| Ask { authority: Authority::Token(token), ..run.ask("0.1") };
    assert_eq!(run.refusal(by(run.token)).await, Refusal::InvalidKey);
    assert!(run.try_ask(by(new)).await.is_ok());
    assert!(ledger.find(RunKey::Token(run.token)).await.unwrap().is_none());
    assert_eq!(ledger.find(RunKey::Token(new)).await.unwrap().unwrap().id, run.id);
}

pub(crate) async fn check_attempts_share_the_budget(ledger: Arc<dyn Ledger>) {
    let run = Run::open(&ledger, "1").await;
    let spent = run.admit("0.4").await.unwrap();
    run.settle(spent, charge("0.4", 1, 1, CostSource::Usage)).await;
    let old = run.admit("0.5").await.unwrap();
    let close = Close { status: RunState::Failed, cut: true, reason: Some("crashed".to_owned()) };
    ledger.close(run.id, close).await.unwrap();

    let token = fresh_token();
    let record = ledger.open_attempt(run.id, RunState::Running, token).await.unwrap();
    let standing = record.run.standing;
    assert_eq!((standing.state, standing.cut), (RunState::Running, false));
    assert_eq!((record.close_reason, record.closed_at), (None, None));
    let stale = Ask { authority: Authority::Token(run.token), ..run.ask("0.1") };
    assert_eq!(run.refusal(stale).await, Refusal::InvalidKey);

    let new = run.admit("0.1").await.unwrap();
    assert_eq!((old.attempt(), new.attempt()), (Attempt::FIRST, Attempt::FIRST.next()));
    assert!(run.admit("0.000000000000000001").await.is_err());
    let id = old.id();
    run.settle(old, charge("0.45", 1, 1, CostSource::Estimate)).await;
    let calls = ledger.calls(run.id, Page { after: None, limit: 9 }).await.unwrap();
    let of_old = calls.iter().find(|call| call.id == id).unwrap();
    assert_eq!(of_old.attempt, Attempt::FIRST, "charged to the attempt that made it");

    ledger.patch(run.id, to(RunState::Cancelled)).await.unwrap();
    let refused = ledger.open_attempt(run.id, RunState::Pending, fresh_token()).await;
    assert!(matches!(refused, Err(RunsError::InvalidTransition(RunState::Cancelled))));
}

pub(crate) async fn check_a_cap_stays_above_what_is_spent(ledger: Arc<dyn Ledger>) {
    let run = Run::open(&ledger, "1").await;
    let spent = run.admit("0.4").await.unwrap();
    run.settle(spent, charge("0.4", 1, 1, CostSource::Usage)).await;
    let in_flight = run.admit("0.5").await.unwrap();

    let mut below = cap("0.399999999999999999");
    below.status = Some(RunState::Finished);
    below.metadata = Some(r#"{"b": 2}"#.to_owned());
    let refused = ledger.patch(run.id, below).await;
    assert!(matches!(refused, Err(RunsError::LimitBelowSpent { spent }) if spent == usd("0.4")));
    let record = run.record().await;
    assert_eq!(record.run.standing.state, RunState::Running, "nothing of the patch applies");
    assert_eq!(record.balance(Unit::Usd).unwrap().limit, dec("1"));
    let notes: serde_json::Value = serde_json::from_str(&record.metadata).unwrap();
    assert_eq!(notes, serde_json::json!({"task": "a"}));

    ledger.patch(run.id, cap("0.4")).await.unwrap();
    assert_eq!(run.stands(Unit::Usd).await, [dec("0.4"), dec("0.4"), dec("0.5")]);
    assert!(run.admit("0").await.is_err());
    run.settle(in_flight, charge("0.45", 1, 1, CostSource::Usage)).await;
    assert_eq!(run.stands(Unit::Usd).await, [dec("0.4"), dec("0.85"), dec("0")]);
    ledger.patch(run.id, cap("0.9")).await.unwrap();
    assert!(run.admit("0.05").await.is_ok());
}

pub(crate) async fn check_a_run_is_closed_once(ledger: Arc<dyn Ledger>) {
    let run = Run::open(&ledger, "1").await;
    let close = |cut, reason: &str| Close {
        status: RunState::Finished,
        cut,
        reason: Some(reason.to_owned()),
    };
    let first = ledger.close(run.id, close(false, "done")).await.unwrap();
    assert_eq!(run.refusal(run.ask("0")).await, Refusal::RunClosed(RunState::Finished));
    assert!(!first.run.standing.cut && first.closed_at.is_some());

    let again = ledger.close(run.id, close(true, "again")).await.unwrap();
    assert_eq!(again.close_reason.as_deref(), Some("done"));
    assert_eq!(again.closed_at, first.closed_at);
    assert!(again.run.standing.cut, "a late abort still cuts");
    let late = ledger.close(run.id, close(false, "late")).await.unwrap();
    assert!(late.run.standing.cut, "and stays");
}

pub(crate) async fn check_states_only_move_forwards(ledger: Arc<dyn Ledger>) {
    use RunState::{Cancelled, Failed, Finished, Pending, Running, Scoring};
    let run = Run::open(&ledger, "1").await;
    // What is asked, what is true then, whether the run is closed, whether its calls are cut.
    let steps = [
        (Pending, Running, false, false),
        (Running, Running, false, false),
        (Scoring, Scoring, true, false),
        (Running, Scoring, true, false),
        (Finished, Finished, true, false),
        (Failed, Failed, true, false),
        (Cancelled, Failed, true, false),
    ];
    let mut closed_at = None;
    for (wanted, state, closed, cut) in steps {
        let record = ledger.patch(run.id, to(wanted)).await.unwrap();
        let standing = record.run.standing;
        assert_eq!((standing.state, standing.cut), (state, cut), "{wanted:?}");
        assert_eq!(record.closed_at.is_some(), closed, "{wanted:?}");
        closed_at = closed_at.or(record.closed_at);
        assert_eq!(record.closed_at, closed_at, "the first time stays");
    }
    let other = Run::open(&ledger, "1").await;
    let record = ledger.patch(other.id, to(Cancelled)).await.unwrap();
    assert!(record.run.standing.cut && record.closed_at.is_some());
}

pub(crate) async fn check_unknown_runs_are_not_found(ledger: Arc<dyn Ledger>) {
    let run = RunId::random();
    let close = Close { status: RunState::Finished, cut: false, reason: None };
    let answers = [
        ledger.patch(run, cap("1")).await,
        ledger.close(run, close).await,
        ledger.open_attempt(run, RunState::Pending, fresh_token()).await,
        ledger.rotate_token(run, fresh_token()).await,
    ];
    for answer in answers {
        assert!(matches!(answer, Err(RunsError::NotFound)), "{answer:?}");
    }
    assert!(ledger.find(RunKey::Id(run)).await.unwrap().is_none());
    assert!(ledger.record(run).await.unwrap().is_none());
    assert!(ledger.calls(run, Page { after: None, limit: 9 }).await.unwrap().is_empty());
}

pub(crate) async fn check_refusals_are_counted(ledger: Arc<dyn Ledger>) {
    let run = Run::open(&ledger, "1").await;
    let (closed, money) = ("run_closed", "cost_limit_exceeded");
    let counts = vec![(run.id, money, 2), (RunId::random(), money, 5), (run.id, closed, 1)];
    ledger.count_refusals(counts).await.unwrap();
    ledger.count_refusals(vec![(run.id, money, 3)]).await.unwrap();
    let mut refusals = run.record().await.refusals;
    refusals.sort();
    assert_eq!(refusals, [(money.to_owned(), 5), (closed.to_owned(), 1)]);
}

pub(crate) async fn check_lists_are_paged(ledger: Arc<dyn Ledger>) {
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(Run::open(&ledger, "1").await.id);
    }
    ledger.patch(expected[1], to(RunState::Failed)).await.unwrap();
    // Others may use the same database, so only the order among these is known.
    let pages = async |status| {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = ledger.list(None, status, Page { after, limit: 2 }).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 2);
            after = Some(last.run.id.uuid());
            seen.extend(page.iter().map(|record| record.run.id));
        }
        seen.retain(|id| expected.contains(id));
        seen
    };
    assert_eq!(pages(None).await, expected);
    assert_eq!(pages(Some(RunState::Failed)).await, [expected[1]]);
    let running = [expected[0], expected[2], expected[3], expected[4]];
    assert_eq!(pages(Some(RunState::Running)).await, running);
}
