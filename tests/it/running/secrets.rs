//! What must not be seen is driven through every endpoint and every fault while everything is
//! written down, and then looked for wherever something could be read.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};

use crate::support::client::{Answer, Client, Run};
use crate::support::gateway::ADMIN_TOKEN;
use crate::support::postgres;
use crate::support::process::GatewayProcess;
use crate::support::provider::{ScriptedProvider, Then, response};
use crate::support::watch::secret_in;

const KEY: &str = "sk-sentinel-of-the-provider";
const PROMPT: &str = "sentinel of a prompt";

/// Providers that repeat whatever they know, each in its own way, and the models they serve.
const MODELS: [&str; 6] = [
    "openai/gpt-4o-mini",
    "groq/openai/gpt-oss-20b",
    "mistral/mistral-large-latest",
    "deepseek/deepseek-chat",
    "targon/deepseek-ai/DeepSeek-V3-0324",
    "chutes/deepseek-ai/DeepSeek-R1-0528",
];

async fn providers() -> Vec<(String, String)> {
    let error =
        json!({"error": {"message": format!("{KEY} may not ask {PROMPT}"), "code": PROMPT}});
    let error = error.to_string();
    let failing = |status: &str| response(status, "application/json", &error);
    let stream = format!("data: {error}\n\n");
    let answers = [
        ("OPENAI", failing("500 Broken")),
        ("GROQ", failing("400 Bad")),
        ("MISTRAL", failing("401 Who")),
        ("DEEPSEEK", response("200 OK", "text/event-stream", &stream)),
        ("TARGON", response("200 OK", "application/json", &format!("{PROMPT} {KEY}"))),
    ];
    let mut settings = Vec::new();
    for (prefix, answer) in answers {
        let provider = ScriptedProvider::answering(answer, Then::Close).await;
        settings.push((format!("{prefix}_BASE_URL"), provider.base_url()));
        settings.push((format!("{prefix}_API_KEY"), KEY.to_owned()));
    }
    // Nobody listens there, and the address holds a login.
    let nobody = "http://sentinel-user:sentinel-password@127.0.0.1:1/v1".to_owned();
    settings.push(("CHUTES_BASE_URL".to_owned(), nobody));
    settings
}

/// Answers of the data plane: none holds a secret, except what its own sender wrote in a prompt.
async fn read(request: reqwest::RequestBuilder) {
    let answer = Answer::of(request.send().await.unwrap()).await;
    for (name, value) in &answer.headers {
        assert_eq!(secret_in(value.to_str().unwrap()), None, "{name}: {answer:?}");
    }
    let text = answer.text.replace(PROMPT, "");
    assert_eq!(secret_in(&text), None, "{answer:?}");
}

async fn drive_data_plane(client: &Client, run: &Run, other: &Run) {
    let post = |path: &str| client.http.post(format!("{}{path}", client.data));
    let body = |model: &str, stream: bool| {
        json!({"model": model, "stream": stream, "max_tokens": 20,
               "messages": [{"role": "user", "content": PROMPT}]})
    };
    for model in MODELS {
        for stream in [false, true] {
            read(client.chat(run, &body(model, stream))).await;
        }
    }
    let good = body(MODELS[0], false);
    let by_path = format!("/r/{}/v1/chat/completions", run.token);
    let nowhere = format!("/r/{}/v1/nothing?key={}", run.token, run.token);
    let in_query = format!("/v1/chat/completions?run_id={}&token={}", run.id, run.token);
    read(post(&by_path).json(&good)).await;
    read(post(&nowhere).json(&good)).await;
    read(post(&in_query).json(&good)).await;
    read(post(&by_path).bearer_auth(&other.token).json(&good)).await;
    read(post("/agents/inference").header("x-api-key", &run.token).json(&good)).await;
    read(post("/v1/chat/completions").bearer_auth("sk-sentinel-of-somebody").json(&good)).await;
    read(post("/v1/chat/completions").bearer_auth("rg-run-sentinel").json(&good)).await;
    // Whoever sends these words as a model's name is told that name again, and nobody else is.
    for word in [&run.token, KEY] {
        let named = client.chat(run, &body(word, false)).header("x-request-id", word);
        assert_eq!(named.send().await.unwrap().status(), 400);
    }
    let broken = format!("{{\"messages\": [\"{PROMPT}\", \"{}", run.token);
    read(post("/v1/chat/completions").bearer_auth(&run.token).body(broken)).await;
    let mut unknown = good.clone();
    unknown["stop_at"] = PROMPT.into();
    unknown["run_id"] = other.id.clone().into();
    read(client.chat(run, &unknown)).await;
    for path in ["/v1/models", "/v1/usage", "/agents/usage", "/readyz"] {
        read(client.http.get(format!("{}{path}", client.data)).bearer_auth(&run.token)).await;
    }
}

async fn drive_control_plane(client: &Client, run: &Run) {
    let id = &run.id;
    let ask =
        |method: Method, path: &str, body: Value| client.operator(method, path).json(&body).send();
    let run_path = format!("/runs/{id}");
    for (method, path, body) in [
        (Method::POST, "/runs".to_owned(), json!({"cost_limit_usd": PROMPT})),
        (Method::POST, "/runs".to_owned(), json!({"id": run.token, "cost_limit_usd": "1"})),
        (Method::PATCH, run_path.clone(), json!({"status": "sentinel"})),
        (Method::GET, format!("{run_path}/calls"), json!(null)),
        (Method::GET, format!("/runs/{}", run.token), json!(null)),
        (Method::POST, format!("{run_path}/token"), json!({})),
        (Method::POST, format!("{run_path}/attempts"), json!({})),
        (Method::POST, format!("{run_path}/close"), json!({"wait_seconds": 5})),
    ] {
        ask(method, &path, body).await.unwrap();
    }
    let foreign = client.http.get(format!("{}/runs", client.admin)).bearer_auth("rg-adm-sentinel");
    read(foreign).await;
}

/// Every row of every table, as text.
async fn every_row(database: &str) -> String {
    let mut connection = postgres::connect(database).await;
    let tables = "SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public'";
    let mut all = String::new();
    for table in sqlx::query(tables).fetch_all(&mut connection).await.unwrap() {
        let statement = format!("SELECT t::text FROM {} t", table.get::<String, _>(0));
        let rows = sqlx::query(AssertSqlSafe(statement)).fetch_all(&mut connection).await.unwrap();
        for row in rows {
            all.push_str(&row.get::<String, _>(0));
            all.push('\n');
        }
    }
    all
}

async fn check_nothing_is_seen(format: &str) {
    let database = postgres::database().await;
    let login = database.replacen("://rungate@", "://rungate:sentinel-of-the-database@", 1);
    let settings = providers().await;
    let mut all: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.extend([("SIMULATE_PROVIDERS", "false"), ("RUST_LOG", "trace"), ("LOG_FORMAT", format)]);
    let gateway = GatewayProcess::serve(&login, &all);
    let client = gateway.client.clone();
    let run = client.register(json!({"cost_limit_usd": "1"})).await;
    let other = client.register(json!({"cost_limit_usd": "1"})).await;
    drive_data_plane(&client, &run, &other).await;
    client.settled(&run).await;
    drive_control_plane(&client, &run).await;
    let metrics = Answer::of(client.operator(Method::GET, "/metrics").send().await.unwrap()).await;
    let ended = tokio::task::spawn_blocking(move || {
        gateway.ask_to_stop();
        gateway.ended()
    });
    let ended = ended.await.unwrap();
    assert_eq!(ended.code, Some(0));

    let rows = every_row(&database).await;
    assert!(rows.contains(&run.id) && metrics.text.contains("rungate_calls_total"));
    assert!(ended.said.err.contains("call.ended") && ended.said.err.contains("DEBUG"));
    for (place, text) in [
        ("standard output", &ended.said.out),
        ("standard error", &ended.said.err),
        ("the metrics", &metrics.text),
        ("the database", &rows),
    ] {
        for secret in [&run.token, &other.token, KEY, PROMPT, ADMIN_TOKEN, "sentinel"] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} is in {place}");
        }
        assert_eq!(secret_in(text), None, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_written_anywhere_in_text() {
    check_nothing_is_seen("text").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_written_anywhere_in_json() {
    check_nothing_is_seen("json").await;
}
