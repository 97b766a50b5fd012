//! What hostile code in a sandbox tries, and what it gets. `SECURITY.md` lists the attacks; each
//! test here says which of them it stands for.

mod bombs;
mod bounds;
mod logs;
mod models;
mod outside;
mod runs;
mod table;
mod tags;

use reqwest::RequestBuilder;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::data_plane::stage::{PROVIDER_KEY, Stage};
use crate::support::client::Answer;

/// A provider's whole answer, which names the model and says what was used.
const ANSWER: &str = r#"{"object":"chat.completion","model":"gpt-4o-mini","choices":[{"index":0,
    "message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],
    "usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}}"#;

async fn sent(request: RequestBuilder) -> Answer {
    Answer::of(request.send().await.unwrap()).await
}

/// Everything that the ledger holds of a run, refusals apart, to the byte.
async fn ledger_of(database: &str, run: &str) -> Vec<String> {
    let mut connection = crate::support::postgres::connect(database).await;
    let mut rows = Vec::new();
    for (table, column) in
        [("runs", "id"), ("budgets", "scope_id"), ("reservations", "run_id"), ("calls", "run_id")]
    {
        let query = format!("SELECT t::text FROM {table} t WHERE {column} = $1::uuid ORDER BY 1");
        let found: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query))
            .bind(run)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        rows.extend(found.into_iter().map(|row| format!("{table}: {row}")));
    }
    rows
}

/// The body of a request that a provider was sent.
fn body_of(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The values of a header of a request that a provider was sent.
fn header_of<'r>(request: &'r str, name: &str) -> Vec<&'r str> {
    let head = request.split_once("\r\n\r\n").unwrap().0;
    let pairs = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    pairs.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}
