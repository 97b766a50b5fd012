//! A ledger, and rows of calls that are written into it as settlements would.

use std::sync::Arc;
use std::time::Duration;

use rungate::domain::id::OrganizationId;
use rungate::ledger::postgres::{PostgresLedger, check};
use rungate::ledger::{Ledger, Sums, UsageBy, UsageQuery, UsageRow};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::ledger_contract::fixture::Run;
use crate::support::postgres;
pub(super) use crate::support::postgres::execute;

/// Calls as rows of SQL name them: of which run, when, and of which model, provider and key.
pub(super) const INSERT: &str = "INSERT INTO calls (organization_id, id, gateway_id, run_id, \
    attempt, budget_ids, request_id, model, provider, endpoint, uncached_input_tokens, \
    cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd, \
    cost_source, price_version, key_id, created_at) \
    SELECT '00000000-0000-0000-0000-000000000001', \
        (left(replace(ledger_first_id(at)::text, '-', ''), 12) || '7' \
            || substr(md5(random()::text), 1, 19))::uuid, \
        gen_random_uuid(), run, 1, '{}', 'r', model, provider, 'e', 10, 4, 1, 20, 0, cost, \
        source, 'test', key, at FROM ";

pub(super) struct Stage {
    pub(super) database: String,
    pub(super) postgres: Arc<PostgresLedger>,
    pub(super) ledger: Arc<dyn Ledger>,
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::on(postgres::database().await).await
    }

    pub(super) async fn on(database: String) -> Self {
        let postgres = PostgresLedger::open(&database, Duration::from_secs(15)).await.unwrap();
        let ledger = Arc::clone(&postgres) as Arc<dyn Ledger>;
        Self { database, postgres, ledger }
    }

    pub(super) async fn operator(&self) -> PgConnection {
        postgres::connect(&self.database).await
    }

    pub(super) async fn execute(&self, statement: &str) {
        execute(&mut self.operator().await, statement).await;
    }

    pub(super) async fn number(&self, question: &str) -> i64 {
        let asked = sqlx::query_scalar(AssertSqlSafe(question.to_owned()));
        asked.fetch_one(&mut self.operator().await).await.unwrap()
    }

    /// Writes a call of that cost, admitted now.
    pub(super) async fn write(&self, run: &Run, cost: &str) {
        self.execute(&one_call(run, cost)).await;
    }

    /// Folds until nothing is left.
    pub(super) async fn fold_all(&self) {
        for _ in 0..1_000 {
            if self.postgres.fold().await.unwrap().behind == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("what is settled is never folded");
    }

    /// How many calls are folded.
    pub(super) async fn folded(&self) -> i64 {
        self.number("SELECT coalesce(sum(calls), 0)::bigint FROM usage_days").await
    }

    pub(super) async fn rows(&self, query: &UsageQuery) -> Vec<UsageRow> {
        self.ledger.usage(query).await.unwrap()
    }

    /// All of a grouping, over days that are not over.
    pub(super) async fn all(&self, group_by: UsageBy) -> Vec<UsageRow> {
        self.rows(&query(group_by)).await
    }

    /// The sums of everything.
    pub(super) async fn total(&self) -> Sums {
        let mut total = Sums::default();
        for row in self.all(UsageBy::Day).await {
            total.calls += row.sums.calls;
            total.input_tokens += row.sums.input_tokens;
            total.cached_input_tokens += row.sums.cached_input_tokens;
            total.output_tokens += row.sums.output_tokens;
            total.cost += row.sums.cost;
        }
        total.cost = total.cost.normalize();
        total
    }

    pub(super) async fn assert_sound(&self) {
        let report = check(self.postgres.pool()).await.unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
    }
}

/// Everything, by whole days.
pub(super) fn query(group_by: UsageBy) -> UsageQuery {
    UsageQuery {
        organization: OrganizationId::DEFAULT,
        key: None,
        from: "2020-01-01T00:00:00Z".parse().unwrap(),
        to: "2100-01-01T00:00:00Z".parse().unwrap(),
        group_by,
        after: None,
        limit: 100_000,
    }
}

pub(super) fn one_call(run: &Run, cost: &str) -> String {
    format!(
        "{INSERT} (SELECT '{}'::uuid AS run, 'm' AS model, 'p' AS provider, {cost} AS cost, \
         'usage' AS source, NULL::uuid AS key, now() AS at) call",
        run.id
    )
}
