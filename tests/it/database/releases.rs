//! Gateways that start at once on an empty database, and gateways of the release before on the
//! schema of this one.

use std::time::Duration;

use rungate::ledger::postgres as ledger;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor as _};

use super::stage::{assert_sound, execute};
use crate::support::client::prompt;
use crate::support::gateway::TestGateway;
use crate::support::postgres;
use crate::support::process::GatewayProcess;

/// The statements of releases that may still run beside this one: as they were before the migration
/// that a file is named after.
const RELEASES: [(&str, &str); 4] = [
    ("0003", include_str!("../../../fixtures/previous_release_sql/before_0003.sql")),
    ("0004", include_str!("../../../fixtures/previous_release_sql/before_0004.sql")),
    ("0005", include_str!("../../../fixtures/previous_release_sql/before_0005.sql")),
    ("0016", include_str!("../../../fixtures/previous_release_sql/before_0016.sql")),
];

/// What no longer fits: since 0003 a gateway of before it cannot change a cap; it answers 503.
const REFUSED: [&str; 1] = ["UPDATE budgets SET limit_amount = $2, lowered = lowered OR $2 < "];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_statements_of_the_release_before_fit_the_schema() {
    let database = postgres::database().await;
    let mut connection = postgres::connect(&database).await;
    for (release, statements) in RELEASES {
        let statements: Vec<_> =
            statements.lines().filter(|line| !line.starts_with("--")).collect();
        assert!(statements.len() > 30, "{release}");
        for statement in statements {
            let sql = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(statement.to_owned()));
            let prepared = (&mut connection).prepare(sql).await.err();
            let refused = REFUSED.iter().any(|known| statement.starts_with(known));
            assert_eq!(prepared.is_some(), refused, "before {release}: {statement}\n{prepared:?}");
        }
    }
}

/// What a gateway of the release before 0003 says to admit and to settle a call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_of_the_release_before_keeps_the_books() {
    let database = postgres::database().await;
    let gateway = TestGateway::serve(&database, &[]).await;
    let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
    let mut operator = postgres::connect(&database).await;
    let admit = format!(
        "DO $$ DECLARE g uuid; b uuid; v text; c uuid; BEGIN \
         SELECT id INTO g FROM gateways; SELECT id INTO b FROM budgets; c := gen_random_uuid(); \
         SELECT verdict INTO v FROM ledger_admit(g, ARRAY[b], ARRAY[b], ARRAY[1], ARRAY[1], \
           ARRAY[1], ARRAY[c], ARRAY['{run}'::uuid], ARRAY[NULL::bytea], ARRAY[false], \
           ARRAY[0.25], ARRAY[100::bigint], ARRAY['old'], ARRAY['gpt-4o-mini'], ARRAY['openai'], \
           ARRAY['/v1/chat/completions'], ARRAY['test'], ARRAY[50::bigint], ARRAY[50::bigint]); \
         ASSERT v = 'admitted', v; \
         ASSERT (SELECT count(*) FROM ledger_settle(ARRAY[b], ARRAY[c], ARRAY[NULL::text], \
           ARRAY[7::bigint], ARRAY[0::bigint], ARRAY[0::bigint], ARRAY[3::bigint], \
           ARRAY[0::bigint], ARRAY[0.125], ARRAY['usage'], ARRAY[NULL::text], ARRAY[200], \
           ARRAY[9::bigint], ARRAY[NULL::bigint])) = 1; END $$",
        run = run.id
    );
    execute(&mut operator, &admit).await;
    assert_eq!(gateway.client.ask(&run, &prompt("hello")).await.status, 200);
    let usage = gateway.client.settled(&run).await;
    assert_eq!(usage["calls"], 2);
    gateway.stop().await;
    assert_sound(&database).await;
}

/// What a gateway of the release before 0005 says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_sends_no_requested_model_keeps_the_books() {
    let database = postgres::database().await;
    let gateway = TestGateway::serve(&database, &[]).await;
    let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
    let mut operator = postgres::connect(&database).await;
    let both = format!(
        "DO $$ DECLARE g uuid; b uuid; v text; c uuid; BEGIN \
         SELECT id INTO g FROM gateways; SELECT id INTO b FROM budgets; c := gen_random_uuid(); \
         SELECT verdict INTO v FROM ledger_step(g, ARRAY[b], '{{}}', ARRAY[ROW(c, '{run}', NULL, \
           false, ARRAY[1], ARRAY[b], 0.25, 100, 'old', 'gpt-4o-mini', 'openai', \
           '/v1/chat/completions', 'test', 50, 50)::ledger_ask]); \
         ASSERT v = 'admitted', v; \
         ASSERT (SELECT settled FROM ledger_step(g, ARRAY[b], ARRAY[ROW(c, NULL, 7, 0, 0, 3, 0, \
           0.125, 'usage', NULL, 200, 9, NULL)::ledger_end], '{{}}')) = c; END $$",
        run = run.id
    );
    execute(&mut operator, &both).await;
    assert_eq!(gateway.client.ask(&run, &prompt("hello")).await.status, 200);
    let usage = gateway.client.settled(&run).await;
    assert_eq!(usage["calls"], 2);
    gateway.stop().await;
    assert_sound(&database).await;
}

/// What a gateway of the release before 0016 says, which knows nothing of versions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_names_no_versions_keeps_the_books() {
    let database = postgres::database().await;
    let gateway = TestGateway::serve(&database, &[]).await;
    let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
    let mut operator = postgres::connect(&database).await;
    let both = format!(
        "DO $$ DECLARE g uuid; b uuid; v text; c uuid; BEGIN \
         SELECT id INTO g FROM gateways; SELECT id INTO b FROM budgets; c := gen_random_uuid(); \
         UPDATE organizations SET version = version + 1; \
         SELECT verdict INTO v FROM ledger_step_v3(g, ARRAY[b], false, '{{}}', '{{}}', \
           ARRAY[ROW(c, '{run}', NULL, NULL, NULL, false, ARRAY[1], ARRAY[b], 0.25, 100, 'old', \
           'gpt-4o-mini', NULL, 'openai', '/v1/chat/completions', 'test', 50, \
           50)::ledger_ask_v3]); ASSERT v = 'admitted', v; \
         ASSERT (SELECT settled FROM ledger_step_v3(g, ARRAY[b], false, '{{}}', ARRAY[ROW(c, NULL, \
           7, 0, 0, 3, 0, 0.125, 'usage', NULL, 200, 9, NULL)::ledger_end], '{{}}')) = c; END $$",
        run = run.id
    );
    execute(&mut operator, &both).await;
    assert_eq!(gateway.client.ask(&run, &prompt("hello")).await.status, 200);
    let usage = gateway.client.settled(&run).await;
    assert_eq!(usage["calls"], 2);
    gateway.stop().await;
    assert_sound(&database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn gateways_that_start_together_migrate_an_empty_database_once() {
    let database = postgres::empty_database().await;
    let migrations = (0..6).map(|_| async {
        ledger::migrate(&ledger::connect_options(&database).unwrap()).await.unwrap();
    });
    let start = |database: String| {
        tokio::task::spawn_blocking(move || GatewayProcess::serve(&database, &[]))
    };
    let starts = [start(database.clone()), start(database.clone())];
    futures_util::future::join_all(migrations).await;
    let mut gateways = Vec::new();
    for gateway in starts {
        gateways.push(gateway.await.unwrap());
    }
    let run = gateways[0].client.register(json!({"cost_limit_usd": "1"})).await;
    for gateway in &gateways {
        assert_eq!(gateway.client.ask(&run, &prompt("hello")).await.status, 200);
    }
    assert_eq!(gateways[1].client.settled(&run).await["calls"], 2);
    for gateway in gateways {
        assert_eq!(gateway.terminate(), Some(0));
    }
    assert_sound(&database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_before_a_silent_database_ends_with_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://x@{}/x?sslmode=disable", listener.local_addr().unwrap());
    let opening = ledger::PostgresLedger::open(&url, Duration::from_secs(2)).await;
    assert!(matches!(opening, Err(ledger::OpenError::Connect(_))));
}
