//! One contract for every ledger: fixed scenarios, and a random workload that holds a ledger
//! against the model.
//!
//! A ledger keeps it if `check_all(async || ledger)` and `compare(model, ledger, seed, operations)`
//! come to an end. `LEDGER_SEED` and `LEDGER_OPERATIONS` show a failure again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use chrono::Utc;
use rungate::ledger::Ledger;
use rungate::ledger::memory::MemoryLedger;
use tokio::sync::mpsc::unbounded_channel;

pub(crate) mod fixture;
mod attempts;
mod money;
mod registry;
mod identity;
mod key_terms;
pub(crate) mod shared;
mod shared_workload;
mod totals;
mod view;
mod workload;

pub(crate) use money::check_settling_twice_changes_nothing;
pub(crate) use shared_workload::compare_shared;
pub(crate) use workload::{Random, compare, operations_from_env, seed_from_env};

/// Runs every fixed scenario, each on a ledger of its own (which may share its database).
pub(crate) async fn check_all(make: impl AsyncFn() -> Arc<dyn Ledger>) {
    money::check_a_cap_is_reached_exactly(make().await).await;
    money::check_racing_calls_share_the_cap(make().await).await;
    money::check_budgets_are_checked_in_order(make().await).await;
    money::check_states_come_before_money(make().await).await;
    money::check_a_waiting_call_is_not_overtaken(make().await).await;
    money::check_a_dropped_grant_is_released(make().await).await;
    money::check_an_overrun_is_booked_in_full(make().await).await;
    money::check_calls_are_summed_by_model(make().await).await;
    registry::check_registration_is_all_or_none(make().await).await;
    registry::check_a_token_dies_when_it_is_replaced(make().await).await;
    registry::check_attempts_share_the_budget(make().await).await;
    attempts::check_each_attempt_has_its_own_budgets(make().await).await;
    attempts::check_a_cap_is_that_of_the_attempt_and_later_ones(make().await).await;
    attempts::check_an_ask_on_the_budgets_of_another_attempt_is_outdated(make().await).await;
    registry::check_a_cap_stays_above_what_is_spent(make().await).await;
    registry::check_a_run_is_closed_once(make().await).await;
    registry::check_states_only_move_forwards(make().await).await;
    registry::check_unknown_runs_are_not_found(make().await).await;
    registry::check_refusals_are_counted(make().await).await;
    registry::check_lists_are_paged(make().await).await;
    shared::check_racing_calls_share_a_keys_cap(make().await).await;
    shared::check_shared_budgets_are_checked_in_order(make().await).await;
    shared::check_a_circuit_stays_open_until_it_is_reset(make().await).await;
    shared::check_an_organization_is_configured_first(make().await).await;
    shared::check_a_key_that_is_not_good_admits_nothing(make().await).await;
    shared::check_credits_are_what_was_put_in(make().await).await;
    key_terms::check_a_limit_of_a_key_comes_and_goes(make().await).await;
    key_terms::check_a_key_is_changed_as_it_was_read(make().await).await;
    key_terms::check_an_ask_on_another_version_of_its_payer_is_outdated(make().await).await;
    identity::check_a_certificates_name_stands_for_one_key(make().await).await;
    totals::check_everybodys_calls_are_summed(make().await).await;
    totals::check_an_organizations_calls_are_summed(make().await).await;
    totals::check_a_time_begins_with_its_first_instant(make().await).await;
}

fn memory() -> Arc<MemoryLedger> {
    let (events, _nobody_listens) = unbounded_channel();
    MemoryLedger::new(Utc::now, None, events)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_ledger_keeps_the_contract() {
    check_all(async || memory() as Arc<dyn Ledger>).await;
    let ledger = memory();
    let books = ledger.books();
    check_settling_twice_changes_nothing(ledger, books).await;
}

#[tokio::test]
async fn the_model_agrees_with_itself() {
    let seed = seed_from_env();
    let seen = compare(memory(), memory(), seed, operations_from_env(4_000)).await;
    for verdict in [
        "admitted",
        "invalid_key",
        "run_closed",
        "run_expired",
        "run_not_active",
        "outdated",
        "behind",
        "budget calls",
        "budget tokens",
        "budget usd",
        "limit_below_spent",
        "invalid_transition",
        "run_conflict",
    ] {
        assert!(seen.contains_key(verdict), "seed {seed}: never reached {verdict}: {seen:?}");
    }
}
