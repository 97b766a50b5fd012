//! Sums over everybody's calls.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use rungate::domain::id::OrganizationId;
use rungate::domain::settlement::{Charge, CostSource};
use rungate::domain::usage::{Tokens, Usage};
use rungate::ledger::{
    GroupBy, Ledger, Page, Sums, Totals, TotalsQuery, UsageBy, UsageQuery, UsageRow,
};
use rust_decimal::Decimal;

use super::fixture::*;

/// A call of a model at a provider, and when it was admitted.
async fn call(run: &Run, model: &str, provider: &str, charge: Charge) -> DateTime<Utc> {
    let mut ask = run.ask("0.9");
    ask.facts.model = model.to_owned();
    ask.facts.provider = provider.to_owned();
    let id = ask.id;
    let grant = run.try_ask(ask).await.unwrap();
    run.settle(grant, charge).await;
    let page = Page { after: None, limit: 1_000 };
    let calls = run.ledger.calls(run.id, page).await.unwrap();
    calls.iter().find(|call| call.id == id).unwrap().created_at
}

fn cached(cost: &str, source: CostSource) -> Charge {
    let usage = Usage {
        uncached_input: Tokens::new(10),
        cached_input: Tokens::new(4),
        cache_write: Tokens::new(1),
        output: Tokens::new(20),
        reasoning: Tokens::new(5),
        ..Usage::default()
    };
    Charge { cost: usd(cost), usage, source, flag: None }
}

/// The sums of so many such calls.
fn sums(calls: u64, cost: &str) -> Sums {
    Sums {
        calls,
        input_tokens: 15 * calls,
        cached_input_tokens: 4 * calls,
        output_tokens: 20 * calls,
        cost: dec(cost),
    }
}

fn groups(found: &Totals) -> Vec<(&str, u64, String)> {
    let shown = found.groups.iter();
    shown.map(|(name, sums)| (name.as_str(), sums.calls, sums.cost.to_string())).collect()
}

pub(crate) async fn check_everybodys_calls_are_summed(ledger: Arc<dyn Ledger>) {
    let (one, two) = (Run::open(&ledger, "100").await, Run::open(&ledger, "100").await);
    let usage = CostSource::Usage;
    let first = call(&one, "b", "east", cached("0.5", usage)).await;
    call(&one, "a", "west", cached("0.25", CostSource::Estimate)).await;
    call(&two, "a", "west", cached("0.25", CostSource::WorstCase)).await;
    call(&two, "c", "east", cached("0.000000000000000001", usage)).await;
    call(&two, "c", "east", Charge::NOTHING).await;
    let last = call(&one, "d", "east", cached("9", usage)).await;

    let query = |group_by| TotalsQuery { from: first, to: last, group_by, after: None, limit: 99 };
    let whole = sums(4, "1.000000000000000001");

    let by_model = ledger.totals(&query(GroupBy::Model)).await.unwrap();
    let tiny = "0.000000000000000001".to_owned();
    let dear = [("a", 2, "0.5".to_owned()), ("b", 1, "0.5".to_owned()), ("c", 1, tiny)];
    assert_eq!(groups(&by_model), dear, "the dearest first, equals by name");
    assert_eq!((&by_model.groups[0].1, &by_model.total), (&sums(2, "0.5"), &whole));

    let by_provider = ledger.totals(&query(GroupBy::Provider)).await.unwrap();
    let east = ("east", 2, "0.500000000000000001".to_owned());
    assert_eq!(groups(&by_provider), [east, ("west", 2, "0.5".to_owned())]);

    let by_run = ledger.totals(&query(GroupBy::Run)).await.unwrap();
    let (first_run, second_run) = (one.id.to_string(), two.id.to_string());
    let second = (second_run.as_str(), 2, "0.250000000000000001".to_owned());
    assert_eq!(groups(&by_run), [(first_run.as_str(), 2, "0.75".to_owned()), second]);

    // A test may run over midnight.
    let by_day = ledger.totals(&query(GroupBy::Day)).await.unwrap();
    let days: Vec<&str> = by_day.groups.iter().map(|(day, _)| day.as_str()).collect();
    assert!(days.is_sorted() && days.contains(&first.format("%Y-%m-%d").to_string().as_str()));
    assert_eq!(by_day.groups.iter().map(|(_, sums)| sums.calls).sum::<u64>(), 4);

    for group_by in GroupBy::ALL {
        let mut found = Totals { total: whole.clone(), ..Totals::default() };
        let mut page = TotalsQuery { limit: 1, ..query(group_by) };
        loop {
            let next = ledger.totals(&page).await.unwrap();
            assert_eq!(next.total, whole, "every page has the whole");
            let Some(group) = next.groups.first() else { break };
            page.after = Some((group_by.rank(group.1.cost), group.0.clone()));
            found.groups.extend(next.groups);
        }
        assert_eq!(found, ledger.totals(&query(group_by)).await.unwrap());
    }
}

pub(crate) async fn check_an_organizations_calls_are_summed(ledger: Arc<dyn Ledger>) {
    let (one, two) = (Run::open(&ledger, "100").await, Run::open(&ledger, "100").await);
    let first = call(&one, "b", "east", cached("0.5", CostSource::Usage)).await;
    call(&one, "a", "west", cached("0.25", CostSource::Estimate)).await;
    call(&two, "a", "west", cached("0.25", CostSource::WorstCase)).await;
    call(&two, "a", "east", Charge::NOTHING).await;
    let last = call(&one, "d", "east", cached("9", CostSource::Usage)).await;
    let query = |group_by, organization| UsageQuery {
        organization,
        key: None,
        from: first,
        to: last,
        group_by,
        after: None,
        limit: 99,
    };
    let (east, west) = (("east", sums(1, "0.5")), ("west", sums(2, "0.5")));
    let row = |group: &str, (provider, sums): &(&str, Sums)| UsageRow {
        group: group.to_owned(),
        name: None,
        provider: (*provider).to_owned(),
        sums: sums.clone(),
    };
    let mut by_run = vec![
        row(&one.id.to_string(), &east),
        row(&one.id.to_string(), &("west", sums(1, "0.25"))),
        row(&two.id.to_string(), &("west", sums(1, "0.25"))),
    ];
    by_run.sort_by(|a, b| (&a.group, &a.provider).cmp(&(&b.group, &b.provider)));
    for (group_by, expected) in [
        (UsageBy::Model, vec![row("east/b", &east), row("west/a", &west)]),
        (UsageBy::Provider, vec![row("east", &east), row("west", &west)]),
        (UsageBy::Key, vec![row("none", &east), row("none", &west)]),
        (UsageBy::Run, by_run),
    ] {
        let whole = ledger.usage(&query(group_by, OrganizationId::DEFAULT)).await.unwrap();
        assert_eq!(whole, expected);
        let mut page = UsageQuery { limit: 1, ..query(group_by, OrganizationId::DEFAULT) };
        page.after = Some((whole[0].group.clone(), whole[0].provider.clone()));
        assert_eq!(ledger.usage(&page).await.unwrap(), whole[1..2]);
        let of_nobody = ledger.usage(&query(group_by, OrganizationId::generate())).await.unwrap();
        assert_eq!(of_nobody, []);
    }
    // A test may run over midnight.
    let by_day = ledger.usage(&query(UsageBy::Day, OrganizationId::DEFAULT)).await.unwrap();
    assert_eq!(by_day[0].group, first.format("%Y-%m-%d").to_string());
    assert_eq!(by_day.iter().map(|row| row.sums.calls).sum::<u64>(), 3);
}

pub(crate) async fn check_a_time_begins_with_its_first_instant(ledger: Arc<dyn Ledger>) {
    let run = Run::open(&ledger, "100").await;
    let at = call(&run, "edge", "east", cached("0.5", CostSource::Usage)).await;
    let tick = TimeDelta::microseconds(1);
    let calls = async |from, to| {
        let group_by = GroupBy::Model;
        let query = TotalsQuery { from, to, group_by, after: None, limit: 99 };
        let found = ledger.totals(&query).await.unwrap();
        assert_eq!(found.groups.len() as u64, found.total.calls);
        assert_eq!(found.total.cost, dec("0.5") * Decimal::from(found.total.calls));
        found.total.calls
    };
    // A ledger may keep less of an instant than a clock tells.
    assert_eq!(calls(at, at + tick).await, 1);
    assert_eq!(calls(at - tick, at).await, 0);
    assert_eq!(calls(at + tick, at + tick * 2).await, 0);
    assert_eq!(calls(at, at).await, 0);
    let long_ago = DateTime::<Utc>::UNIX_EPOCH;
    assert_eq!(calls(long_ago, long_ago + TimeDelta::days(9_000)).await, 0);
}
