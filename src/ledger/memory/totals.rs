//! Sums over everybody's calls, as far as they are kept as rows.

use std::collections::BTreeMap;

use crate::domain::id::KeyId;
use crate::domain::settlement::CostSource;

use super::super::CallRecord;
use super::super::totals::{GroupBy, Sums, Totals, TotalsQuery};
use super::super::usage::{NONE, UsageBy, UsageQuery, UsageRow};
use super::account::Account;
use super::used::sum;

/// The sums that `query` asks for.
pub(super) fn of<'a>(accounts: impl Iterator<Item = &'a Account>, query: &TotalsQuery) -> Totals {
    let mut groups: BTreeMap<String, Sums> = BTreeMap::new();
    let mut total = Sums::default();
    for account in accounts {
        let counts = |call: &&CallRecord| {
            let in_time = (query.from..query.to).contains(&call.created_at);
            in_time && call.charge.source != CostSource::None
        };
        for call in account.kept().filter(counts) {
            let name = match query.group_by {
                GroupBy::Model => call.model.clone(),
                GroupBy::Provider => call.provider.clone(),
                GroupBy::Run => account.name(),
                GroupBy::Day => call.created_at.format("%Y-%m-%d").to_string(),
            };
            count(groups.entry(name).or_default(), call);
            count(&mut total, call);
        }
    }
    let rank = |sums: &Sums| query.group_by.rank(sums.cost);
    let mut groups: Vec<(String, Sums)> = groups.into_iter().collect();
    // Stable, so that equals stay in the order of their names.
    groups.sort_by_key(|(_, sums)| std::cmp::Reverse(rank(sums)));
    if let Some((least, last)) = &query.after {
        groups.retain(|(name, sums)| rank(sums) < *least || (rank(sums) == *least && name > last));
    }
    groups.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
    Totals { groups, total }
}

/// The sums that `query` asks for. Keys are named by `name_of`.
pub(super) fn of_organization<'a>(
    accounts: impl Iterator<Item = &'a Account>,
    query: &UsageQuery,
    name_of: impl Fn(KeyId) -> Option<String>,
) -> Vec<UsageRow> {
    let mut groups: BTreeMap<(String, String), (Option<KeyId>, Sums)> = BTreeMap::new();
    for account in accounts.filter(|account| account.organization() == query.organization) {
        for call in account.kept() {
            let in_time = (query.from..query.to).contains(&call.created_at);
            let asked = query.key.is_none_or(|key| call.key == Some(key));
            if !in_time || !asked || call.charge.source == CostSource::None {
                continue;
            }
            let group = match query.group_by {
                UsageBy::Model => format!("{}/{}", call.provider, call.model),
                UsageBy::Key => call.key.map_or_else(|| NONE.to_owned(), |key| key.to_string()),
                UsageBy::Run => account.name(),
                UsageBy::Provider => call.provider.clone(),
                UsageBy::Day => call.created_at.format("%Y-%m-%d").to_string(),
            };
            let (of_key, sums) = groups.entry((group, call.provider.clone())).or_default();
            *of_key = call.key.filter(|_| query.group_by == UsageBy::Key);
            count(sums, call);
        }
    }
    groups
        .into_iter()
        .filter(|(at, _)| query.after.as_ref().is_none_or(|after| at > after))
        .take(usize::try_from(query.limit).unwrap_or(usize::MAX))
        .map(|((group, provider), (key, sums))| UsageRow {
            group,
            name: key.and_then(&name_of),
            provider,
            sums,
        })
        .collect()
}

fn count(sums: &mut Sums, call: &CallRecord) {
    let usage = &call.charge.usage;
    let add = |to: &mut u64, tokens: u64| *to = to.saturating_add(tokens);
    add(&mut sums.calls, 1);
    add(&mut sums.input_tokens, usage.input().count());
    add(&mut sums.cached_input_tokens, usage.cached_input.count());
    add(&mut sums.output_tokens, usage.output.count());
    sums.cost = sum(sums.cost, call.charge.cost.decimal());
}
