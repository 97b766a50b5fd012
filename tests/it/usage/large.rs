//! How long reports take over many calls: shown, and not part of the suite.

#![allow(clippy::print_stdout, reason = "it is run to be read")]

use std::time::Instant;

use rungate::ledger::{UsageBy, UsageQuery};

use super::stage::{Stage, query};

/// Calls that are written in one statement.
const AT_ONCE: u32 = 250_000;

/// A month of calls of ten organizations with ten keys each, ten calls a run.
fn fill(calls: u32, first: u32) -> String {
    let last = (first + AT_ONCE).min(calls) - 1;
    format!(
        "INSERT INTO calls (organization_id, id, gateway_id, run_id, attempt, budget_ids, \
            request_id, model, provider, endpoint, uncached_input_tokens, cached_input_tokens, \
            cache_write_tokens, output_tokens, reasoning_tokens, cost_usd, cost_source, \
            price_version, key_id, created_at) \
         SELECT ('00000000-0000-0000-0000-' || lpad((1 + i / 10 % 10)::text, 12, '0'))::uuid, \
            (left(replace(ledger_first_id(at)::text, '-', ''), 12) || '7' \
                || lpad(to_hex(i), 19, '0'))::uuid, \
            '00000000-0000-0000-0000-00000000000a', \
            ('11111111-2222-4333-8444-' || lpad(to_hex(i / 10), 12, '0'))::uuid, 1, \
            ARRAY['00000000-0000-0000-0000-00000000000b'::uuid], 'request-' || i, \
            'model-' || i % 6, 'provider-' || i % 2, '/v1/chat/completions', 100 + i % 50, \
            i % 20, 0, 50 + i % 9, 0, 0.0001234 * (1 + i % 17), 'usage', '2026-01', \
            ('22222222-2222-7333-8444-' || lpad((i / 10 % 100)::text, 12, '0'))::uuid, at \
         FROM (SELECT i, '2026-03-01Z'::timestamptz + i * (interval '30 days' / {calls}) AS at \
            FROM generate_series({first}, {last}) i) s"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "shows times; LARGE_CALLS says how many calls, a million by default"]
async fn reports_over_many_calls_are_timed() {
    let calls: u32 = std::env::var("LARGE_CALLS").map_or(1_000_000, |calls| calls.parse().unwrap());
    let stage = Stage::new().await;
    stage
        .execute(
            "INSERT INTO organizations (id, name) SELECT \
             ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, 'o' || i \
             FROM generate_series(2, 10) i",
        )
        .await;
    let runs = format!(
        "INSERT INTO runs (organization_id, id, state, token_hash, on_cap, require_token, \
            metadata, fingerprint, created_at, closed_at) \
         SELECT ('00000000-0000-0000-0000-' || lpad((1 + i % 10)::text, 12, '0'))::uuid, \
            ('11111111-2222-4333-8444-' || lpad(to_hex(i), 12, '0'))::uuid, 'finished', \
            sha256(i::text::bytea), 'clamp', false, '{{}}', sha256(''), \
            '2026-03-01Z'::timestamptz + i * (interval '30 days' / {0}), \
            '2026-03-01Z'::timestamptz + (i + 1) * (interval '30 days' / {0}) \
         FROM generate_series(0, {0} - 1) i",
        calls / 10
    );
    let begun = Instant::now();
    stage.execute(&runs).await;
    for first in (0..calls).step_by(AT_ONCE as usize) {
        stage.execute(&fill(calls, first)).await;
    }
    println!("{calls} calls are written in {:?}", begun.elapsed());
    let begun = Instant::now();
    stage.fold_all().await;
    println!("folded in {:?}", begun.elapsed());
    stage.execute("VACUUM ANALYZE").await;
    let at = |text: &str| text.parse().unwrap();
    for (what, from, to) in [
        ("the month", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"),
        ("29 days and two parts", "2026-03-01T07:30:00Z", "2026-03-30T22:15:00Z"),
    ] {
        for group_by in UsageBy::ALL {
            let asked = UsageQuery { from: at(from), to: at(to), limit: 1_000, ..query(group_by) };
            stage.rows(&asked).await;
            let begun = Instant::now();
            let rows = stage.rows(&asked).await;
            println!("{what} by {group_by:?}: {} rows in {:?}", rows.len(), begun.elapsed());
            assert!(!rows.is_empty());
        }
    }
    let tenth = u64::from(calls / 10);
    let asked = UsageQuery { from: at("2026-03-01T00:00:00Z"), ..query(UsageBy::Provider) };
    let counted: u64 = stage.rows(&asked).await.iter().map(|row| row.sums.calls).sum();
    assert_eq!(counted, tenth, "an organization has a tenth of the calls");
}
