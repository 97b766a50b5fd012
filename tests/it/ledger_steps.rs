//! What the one statement of a lane decides and writes.

use std::sync::Arc;
use std::time::Duration;

use rungate::domain::id::{ReservationId, RunId};
use rungate::ledger::Ledger;
use rungate::ledger::postgres::{PostgresLedger, check};
use sqlx::Executor as _;

use crate::ledger_contract::fixture::{Run, registration};
use crate::support::postgres;

async fn open(database: &str) -> Arc<PostgresLedger> {
    PostgresLedger::open(database, Duration::from_secs(15)).await.unwrap()
}

async fn assert_sound(ledger: &PostgresLedger) {
    let report = check(ledger.pool()).await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

/// What a step of these asks and ends, each a row of SQL, answers: what was settled, the verdicts.
async fn step(
    connection: &mut sqlx::PgConnection,
    gateway: &str,
    (budgets, shared): (&[String], bool),
    (ends, asks): (&[String], &[String]),
) -> Result<(usize, Vec<String>), sqlx::Error> {
    let statement = format!(
        "SELECT coalesce(verdict || ' ' || concat_ws(' ', state, unit, spent, reserved, usd_limit), \
            'settled') \
        FROM ledger_step_v4({gateway}, ARRAY[{}]::uuid[], {shared}, '{{}}', \
            ARRAY[{}]::ledger_end[], ARRAY[{}]::ledger_ask_v4[])",
        budgets.join(","),
        ends.join(","),
        asks.join(",")
    );
    let rows = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(statement));
    let rows = rows.fetch_all(connection).await?;
    let settled = rows.iter().filter(|row| *row == "settled").count();
    Ok((settled, rows.into_iter().filter(|row| row != "settled").collect()))
}

/// An ask on a run of its own, as SQL has it, but for the positions of its budgets.
struct Asked {
    id: String,
    run: RunId,
    token: &'static str,
    cost: &'static str,
    budgets: Vec<String>,
}

impl Asked {
    async fn of(
        ledger: &Arc<dyn Ledger>,
        connection: &mut sqlx::PgConnection,
        (state, token, cost): (&str, &'static str, &'static str),
    ) -> Self {
        let mut new = registration("1");
        new.terms.token_limit = Some(rungate::domain::usage::Tokens::new(1_000));
        let run = Run::with(ledger, new).await;
        let is_known = state != "unknown";
        if is_known {
            let set = format!("UPDATE runs SET state = '{state}' WHERE id = '{}'", run.id);
            connection.execute(sqlx::AssertSqlSafe(set)).await.unwrap();
        }
        let quoted = |id: uuid::Uuid| format!("'{id}'");
        Self {
            id: quoted(ReservationId::generate().uuid()),
            run: if is_known { run.id } else { RunId::random() },
            token,
            cost,
            budgets: run.budgets.iter().map(|budget| quoted(budget.id.uuid())).collect(),
        }
    }

    fn row(&self, among: &[String]) -> String {
        let at = |budget| among.iter().position(|known| known == budget).unwrap() + 1;
        let positions: Vec<String> = self.budgets.iter().map(|own| at(own).to_string()).collect();
        let Self { id, run, token, cost, budgets } = self;
        format!(
            "ROW({id}, '{run}', {token}, NULL, NULL, 0, NULL, false, ARRAY[{}], ARRAY[{}]::uuid[], {cost}, \
            100, 'r', 'm', NULL, 'p', 'e', 'v', 30, 70)::ledger_ask_v4",
            positions.join(","),
            budgets.join(",")
        )
    }

    fn end(&self) -> String {
        let id = &self.id;
        format!("ROW({id}, NULL, 1, 2, 3, 4, 0, 0.25, 'usage', NULL, 200, 3, NULL)::ledger_end")
    }
}

/// One row is moved by other statements than several are, and a batch whose budgets are all runs'
/// by others than one of budgets that are shared; what is decided must not tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_one_decides_as_a_step_of_several() {
    let database = postgres::database().await;
    let opened = open(&database).await;
    let ledger: Arc<dyn Ledger> = opened.clone();
    let mut connection = postgres::connect(&database).await;
    let late = "INSERT INTO gateways (id, lease_until) VALUES (gen_random_uuid(), now())";
    connection.execute(late).await.unwrap();
    let late = "(SELECT id FROM gateways WHERE lease_until <= now())";
    let alive = "(SELECT id FROM gateways WHERE lease_until > now())";
    let cases = [
        ("running", "NULL", "0.5"),
        ("running", r"'\x00'", "0.5"),
        ("running", "NULL", "2"),
        ("pending", "NULL", "0.5"),
        ("failed", "NULL", "0.5"),
        ("unknown", "NULL", "0.5"),
    ];
    let mut answers = Vec::new();
    for (size, shared) in [(1, false), (cases.len(), false), (1, true), (cases.len(), true)] {
        let mut asked = Vec::new();
        for case in cases {
            asked.push(Asked::of(&ledger, &mut connection, case).await);
        }
        let mut verdicts = Vec::new();
        let mut settled = Vec::new();
        for gateway in [late, alive] {
            for batch in asked.chunks(size) {
                let budgets = budgets_of(batch);
                let asks: Vec<String> = batch.iter().map(|ask| ask.row(&budgets)).collect();
                let both = (&[][..], &asks[..]);
                verdicts.extend(
                    step(&mut connection, gateway, (&budgets, shared), both).await.unwrap().1,
                );
            }
        }
        // Only the first was admitted; it is settled once, however often that is sent.
        let (batch, stranger) = (&asked[..size], [format!("'{}'", uuid::Uuid::nil())]);
        let ends: Vec<String> = batch.iter().map(Asked::end).collect();
        let ended = (&ends[..], &[][..]);
        for _ in 0..2 {
            let step = step(&mut connection, alive, (&budgets_of(batch), shared), ended).await;
            settled.push(step.unwrap().0);
        }
        let unknown = step(&mut connection, alive, (&stranger, false), ended).await.unwrap_err();
        assert!(unknown.to_string().contains("does not exist"), "{unknown}");
        answers.push((verdicts, settled));
    }
    assert!(answers.iter().all(|other| *other == answers[0]), "{answers:?}");
    let (verdicts, settled) = &answers[0];
    assert_eq!(*settled, [1, 0]);
    assert_eq!(verdicts.iter().filter(|said| said.starts_with("lapsed")).count(), cases.len());
    let words = ["admitted", "invalid_key", "budget", "run_not_active", "run_closed", "run_not_f"];
    for (said, word) in verdicts[cases.len()..].iter().zip(words) {
        assert!(said.starts_with(word), "{verdicts:?}");
    }
    assert_sound(&opened).await;
}

/// Ascending, as a step takes them.
fn budgets_of(asked: &[Asked]) -> Vec<String> {
    let mut budgets: Vec<String> = asked.iter().flat_map(|ask| ask.budgets.clone()).collect();
    budgets.sort_unstable();
    budgets
}

/// A row is written where it was locked, which is where the change that was waited for has put it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_waits_for_a_change_writes_what_the_change_left() {
    let database = postgres::database().await;
    let opened = open(&database).await;
    let ledger: Arc<dyn Ledger> = opened.clone();
    let mut connection = postgres::connect(&database).await;
    let mut operator = postgres::connect(&database).await;
    // One budget alone is locked by another statement than several are.
    for (size, each, shared) in [(1, 1, false), (1, 2, false), (2, 2, false), (1, 2, true)] {
        let mut asked = Vec::new();
        for _ in 0..size {
            let mut one = Asked::of(&ledger, &mut connection, ("running", "NULL", "0.5")).await;
            one.budgets.truncate(each);
            asked.push(one);
        }
        let budgets = budgets_of(&asked);
        let asks: Vec<String> = asked.iter().map(|ask| ask.row(&budgets)).collect();
        let change = format!(
            "BEGIN; UPDATE budgets SET limit_amount = limit_amount + 1 WHERE id IN ({})",
            budgets.join(",")
        );
        operator.execute(sqlx::AssertSqlSafe(change)).await.unwrap();
        let asking = async {
            let alive = "(SELECT id FROM gateways WHERE lease_until > now())";
            let both = (&[][..], &asks[..]);
            step(&mut connection, alive, (&budgets, shared), both).await.unwrap().1
        };
        let changing = async {
            postgres::until_somebody_waits(&database).await;
            operator.execute("COMMIT").await.unwrap();
        };
        let (verdicts, ()) = tokio::join!(asking, changing);
        assert_eq!(verdicts.len(), size);
        assert!(verdicts.iter().all(|said| said.starts_with("admitted")), "{verdicts:?}");
        let stands = format!(
            "SELECT DISTINCT unit || ' ' || limit_amount || ' ' || reserved FROM budgets \
             WHERE id IN ({}) ORDER BY 1",
            budgets.join(",")
        );
        let stands = sqlx::query_scalar(sqlx::AssertSqlSafe(stands));
        let stands: Vec<String> = stands.fetch_all(&mut connection).await.unwrap();
        let all = ["tokens 1001 100", "usd 2 0.5"];
        assert!(
            stands.len() == each && stands.iter().all(|one| all.contains(&&**one)),
            "{stands:?}"
        );
    }
    assert_sound(&opened).await;
}
