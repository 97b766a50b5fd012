//! Sums over any time are those of its calls, as far as they are folded or not.

use chrono::{DateTime, TimeDelta, Utc};
use rungate::ledger::{UsageBy, UsageQuery, UsageRow};
use sqlx::Row as _;

use super::stage::{INSERT, Stage, query};
use crate::ledger_contract::fixture::Run;

/// Four days of calls, some with keys, some without runs, some of nothing.
fn calls(runs: &[Run], (first, last): (u32, u32)) -> String {
    let ids: Vec<String> = runs.iter().map(|run| format!("'{}'::uuid", run.id)).collect();
    format!(
        "{INSERT} (SELECT CASE WHEN i % 5 > 0 THEN (ARRAY[{}])[1 + i % {}] END AS run, \
            'm' || i % 3 AS model, 'p' || i % 2 AS provider, 0.000001 * i AS cost, \
            CASE WHEN i % 11 = 0 THEN 'none' ELSE 'usage' END AS source, \
            CASE WHEN i % 4 < 3 OR i % 5 = 0 THEN ('22222222-2222-7333-8444-00000000000' || i % 3) \
                ::uuid END AS key, \
            '2026-03-01T00:00:00Z'::timestamptz + i * interval '20 minutes' AS at \
         FROM generate_series({first}, {last}) i) call",
        ids.join(","),
        ids.len()
    )
}

/// The same sums, made from calls alone.
async fn expected(stage: &Stage, query: &UsageQuery) -> Vec<(String, String, i64, String)> {
    let group = match query.group_by {
        UsageBy::Model => "provider || '/' || model",
        UsageBy::Key => "coalesce(key_id::text, 'none')",
        UsageBy::Run => "coalesce(run_id::text, 'none')",
        UsageBy::Provider => "provider",
        UsageBy::Day => "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    };
    let statement = format!(
        "SELECT {group} COLLATE \"C\", provider, count(*), trim_scale(sum(cost_usd))::text \
         FROM calls WHERE created_at >= $1 AND created_at < $2 AND cost_source <> 'none' \
         GROUP BY 1, 2 ORDER BY 1, 2"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(query.from).bind(query.to);
    let rows = rows.fetch_all(&mut stage.operator().await).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

fn shown(rows: Vec<UsageRow>) -> Vec<(String, String, i64, String)> {
    let shown = rows.into_iter().map(|row| {
        let calls = row.sums.calls;
        assert_eq!((row.sums.input_tokens, row.sums.output_tokens), (15 * calls, 20 * calls));
        assert_eq!(row.sums.cached_input_tokens, 4 * calls);
        (row.group, row.provider, i64::try_from(calls).unwrap(), row.sums.cost.to_string())
    });
    shown.collect()
}

fn times() -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let edges = [
        "2026-02-27T10:00:00Z",
        "2026-03-01T00:00:00Z",
        "2026-03-01T00:20:00Z",
        "2026-03-01T23:59:59.999999Z",
        "2026-03-02T00:00:00Z",
        "2026-03-02T13:37:00Z",
        "2026-03-03T00:00:00.000001Z",
        "2026-03-05T00:00:00Z",
        "2026-03-06T01:00:00Z",
    ]
    .map(at);
    let pairs = edges.iter().flat_map(|from| edges.iter().map(move |to| (*from, *to)));
    pairs.filter(|(from, to)| from <= to).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_over_any_time_are_those_of_its_calls() {
    let stage = Stage::new().await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(Run::open(&stage.ledger, "1").await);
    }
    stage.execute("UPDATE runs SET created_at = '2026-02-01'").await;
    stage.execute(&calls(&runs, (1, 150))).await;
    // Some are folded, some settled since.
    stage.fold_all().await;
    stage.execute(&calls(&runs, (151, 300))).await;
    assert_eq!(stage.folded().await, 137);
    for (from, to) in times() {
        for group_by in UsageBy::ALL {
            let asked = UsageQuery { from, to, ..query(group_by) };
            let found = shown(stage.rows(&asked).await);
            assert_eq!(found, expected(&stage, &asked).await, "{asked:?}");
        }
    }
    let everything = shown(stage.all(UsageBy::Run).await);
    assert_eq!(everything.len(), 8, "three runs and no run, at two providers: {everything:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_the_whole_in_the_same_order() {
    let stage = Stage::new().await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(Run::open(&stage.ledger, "1").await);
    }
    stage.execute("UPDATE runs SET created_at = '2026-02-01'").await;
    stage.execute(&calls(&runs, (1, 120))).await;
    for group_by in UsageBy::ALL {
        let whole = stage.all(group_by).await;
        assert!(whole.len() > 1);
        for limit in [1, 2, 3] {
            let mut found = Vec::new();
            let mut asked = UsageQuery { limit, ..query(group_by) };
            loop {
                let page = stage.rows(&asked).await;
                assert!(page.len() <= usize::try_from(limit).unwrap());
                let Some(last) = page.last() else { break };
                asked.after = Some((last.group.clone(), last.provider.clone()));
                found.extend(page);
            }
            assert_eq!(found, whole, "{group_by:?} by {limit}");
        }
    }
}

/// What is over was called for before it ended, and after it began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_were_over_before_or_came_after_are_not_read() {
    let stage = Stage::new().await;
    let run = Run::open(&stage.ledger, "1").await;
    stage.write(&run, "0.5").await;
    let now = Utc::now();
    let asked = |from: i64, to: i64| UsageQuery {
        from: now + TimeDelta::days(from),
        to: now + TimeDelta::days(to),
        ..query(UsageBy::Run)
    };
    stage.execute("UPDATE runs SET closed_at = now()").await;
    assert_eq!(stage.rows(&asked(-1, 1)).await.len(), 1);
    assert_eq!(stage.rows(&asked(1, 2)).await.len(), 0);
    assert_eq!(stage.rows(&asked(-2, -1)).await.len(), 0);
    assert_eq!(stage.rows(&asked(-2, 0)).await.len(), 1);
}
