//! Every way in which a provider can end an answer that is not streamed: what the client sees, and
//! the one row that is booked.

use rungate::catalog::tokenizer::Tokenizer;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::stage::{
    MAX_TOKENS, MODEL, Stage, ask, ask_of, cost, counted_input, decimal, strict_input,
};
use crate::support::client::{Answer, Run};
use crate::support::provider::{ScriptedProvider, Then, response};

/// What is booked for a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Booked {
    /// A row that costs nothing.
    Nothing,
    /// What the provider said: input, the part of it that was cached, output; priced as a model.
    Usage(u64, u64, u64, &'static str),
    /// What was reserved.
    WorstCase,
    /// The same, flagged.
    Absurd,
    /// What the provider said, and a flag: input, the part of it that was cached, output.
    Odd(u64, u64, u64, &'static str),
    /// The input counted, and the output that the client saw.
    Estimate,
}

/// Holds the one row of a run against what should be booked for a call that said `text`, and of
/// whose answer `output` was seen.
pub(crate) async fn check_booked(
    name: &str,
    stage: &Stage,
    run: &Run,
    (text, output): (&str, &str),
    booked: Booked,
    status: &[u16],
) {
    let usage = stage.client().settled(run).await;
    let rows = stage.client().calls(run).await;
    assert_eq!(rows.len(), 1, "{name}: {rows:?}");
    let row = &rows[0];
    let strict = strict_input(text);
    let (source, flag, (input, cached, output), price) = match booked {
        Booked::Nothing => ("none", json!(null), (0, 0, 0), MODEL),
        Booked::Usage(input, cached, output, price) => {
            ("usage", json!(null), (input, cached, output), price)
        }
        Booked::Odd(input, cached, output, flag) => {
            ("usage", json!(flag), (input, cached, output), MODEL)
        }
        Booked::WorstCase => ("worst_case", json!(null), (strict, 0, MAX_TOKENS), MODEL),
        Booked::Absurd => ("worst_case", json!("absurd_usage"), (strict, 0, MAX_TOKENS), MODEL),
        Booked::Estimate => {
            let seen = Tokenizer::O200k.count(output).min(MAX_TOKENS);
            ("estimate", json!(null), (counted_input(text), 0, seen), MODEL)
        }
    };
    let cost = cost(price, input, cached, output);
    let is = (&row["cost_source"], &row["flag"], &row["model"], &row["provider"]);
    assert_eq!(is, (&json!(source), &flag, &json!(MODEL), &json!("openai")), "{name}: {row}");
    let tokens = (&row["input_tokens"], &row["cached_input_tokens"], &row["output_tokens"]);
    assert_eq!(tokens, (&json!(input), &json!(cached), &json!(output)), "{name}: {row}");
    assert_eq!(row["cost_usd"], json!(cost.to_string()), "{name}");
    let known = row["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    assert!(known.is_some_and(|known| status.contains(&known)), "{name}: {row}");
    assert_eq!(decimal(&usage["spent_usd"]), cost, "{name}");
    assert_eq!(usage["reserved_usd"], "0", "{name}");
    let counts = u64::from(source != "none");
    assert_eq!(usage["calls"], counts, "{name}: {usage}");
}

/// One ending: what the client sees, and what is booked.
struct Case {
    /// What the provider does: directives of the simulated one.
    does: &'static str,
    status: u16,
    /// The code of the error; empty if there is none.
    code: &'static str,
    booked: Booked,
}

const fn case(does: &'static str, status: u16, code: &'static str, booked: Booked) -> Case {
    Case { does, status, code, booked }
}

const UPSTREAM: &str = "upstream_error";

const SIMULATED: &[Case] = &[
    case("status=400", 400, "invalid_value", Booked::Nothing),
    case("status=401", 502, UPSTREAM, Booked::Nothing),
    case("status=402", 502, UPSTREAM, Booked::Nothing),
    case("status=403", 502, UPSTREAM, Booked::Nothing),
    case("status=404", 404, "model_not_found", Booked::Nothing),
    case("status=408", 502, UPSTREAM, Booked::Nothing),
    case("status=413", 413, "simulated_error", Booked::Nothing),
    case("status=422", 422, "simulated_error", Booked::Nothing),
    case("status=429", 502, UPSTREAM, Booked::Nothing),
    case("status=500", 502, UPSTREAM, Booked::Nothing),
    case("status=502", 502, UPSTREAM, Booked::Nothing),
    case("status=503", 502, UPSTREAM, Booked::Nothing),
    case("status=529", 502, UPSTREAM, Booked::Nothing),
    case("status=504", 502, UPSTREAM, Booked::WorstCase),
    case("status=524", 502, UPSTREAM, Booked::WorstCase),
    case("status=302", 502, UPSTREAM, Booked::WorstCase),
    case("html", 502, UPSTREAM, Booked::Nothing),
    case("html status=400", 400, "invalid_request", Booked::Nothing),
    case("cut=1", 502, UPSTREAM, Booked::WorstCase),
    case("garbage", 502, UPSTREAM, Booked::WorstCase),
    case("endless", 502, UPSTREAM, Booked::WorstCase),
    case("no_usage", 200, "", Booked::WorstCase),
    case("usage=10:20", 200, "", Booked::Usage(10, 0, 20, MODEL)),
    case("usage=10:20 cached=4", 200, "", Booked::Usage(10, 4, 20, MODEL)),
    case("usage=0:0", 200, "", Booked::Odd(0, 0, 0, "contradicted_usage")),
    case("usage=-1:20", 200, "", Booked::Absurd),
    case("usage=10:-20", 200, "", Booked::Absurd),
    case("usage=10:20 cached=11", 200, "", Booked::Absurd),
    case("usage=128001:1", 200, "", Booked::Absurd),
    case("usage=1:16385", 200, "", Booked::Absurd),
    case("usage=10:20 served=gpt-4o-mini-2024-07-18", 200, "", Booked::Usage(10, 0, 20, MODEL)),
    case("usage=10:20 served=who-knows", 200, "", Booked::Odd(10, 0, 20, "unknown_model")),
    case("usage=10:20 served=gpt-4o-mini-2031-01-02", 200, "", Booked::Usage(10, 0, 20, MODEL)),
    case("usage=9:2 served=gpt-4.1-nano", 200, "", Booked::Usage(9, 0, 2, "gpt-4.1-nano")),
];

#[tokio::test(flavor = "multi_thread")]
async fn however_a_provider_ends_there_is_one_row_and_nothing_stays_reserved() {
    let settings = [("MAX_RESPONSE_BYTES", "100000"), ("UPSTREAM_RETRIES", "0")];
    let stage = Stage::simulated(&settings).await;
    for case in SIMULATED {
        let text = format!("[[sim {}]]", case.does);
        let run = stage.run(json!({})).await;
        let answer = stage.client().ask(&run, &ask(&text)).await;
        check_seen(case.does, &answer, case.status, case.code);
        let (seen, status) = ((text.as_str(), ""), &[case.status]);
        check_booked(case.does, &stage, &run, seen, case.booked, status).await;
    }
    stage.end().await;
}

fn check_seen(name: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{name}: {}", answer.text);
    if code.is_empty() {
        assert_eq!(answer.json()["object"], "chat.completion", "{name}");
        return;
    }
    assert_eq!(answer.code(), code, "{name}: {}", answer.text);
    assert_eq!(answer.header("x-error-origin"), Some("upstream"), "{name}");
    // Our own key is wrong: no retry mends that.
    let key_refused = ["status=401", "status=403"].contains(&name);
    let final_word = (status < 500 || key_refused).then_some("false");
    assert_eq!(answer.header("x-should-retry"), final_word, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_providers_wish_to_wait_reaches_the_client_and_its_status_stands_in_the_body() {
    let stage = Stage::simulated(&[("UPSTREAM_RETRIES", "0")]).await;
    let run = stage.run(json!({})).await;
    for (does, status, wait) in [
        ("status=429 retry_after=7", 429, Some("7")),
        ("status=503 retry_after=2", 503, Some("2")),
        ("status=503 retry_after=99999", 503, Some("600")),
        ("status=500 retry_after=soon", 500, None),
        ("status=529", 529, None),
    ] {
        let answer = stage.client().ask(&run, &ask(&format!("[[sim {does}]]"))).await;
        assert_eq!((answer.status, answer.header("retry-after")), (502, wait), "{does}");
        assert_eq!(answer.json()["error"]["upstream"]["status"], status, "{does}");
    }
    stage.end().await;
}

/// What a scripted provider answers with 200, and what comes of it.
fn scripted() -> Vec<(&'static str, String, u16, Booked)> {
    let json = |body: &str| response("200 OK", "application/json", body);
    let whole = r#"{"id":"x","object":"chat.completion","model":"gpt-4o-mini","choices":[]"#;
    let usage = |usage: &str| json(&format!(r#"{whole},"usage":{usage}}}"#));
    vec![
        (
            "error under 200",
            json(r#"{"error":{"message":"no","code":"x"}}"#),
            502,
            Booked::WorstCase,
        ),
        ("html", response("200 OK", "text/html", "<html></html>"), 502, Booked::WorstCase),
        ("nothing", json(""), 502, Booked::WorstCase),
        ("an array", json("[]"), 502, Booked::WorstCase),
        ("null usage", usage("null"), 200, Booked::WorstCase),
        ("empty usage", usage("{}"), 200, Booked::WorstCase),
        ("half a usage", usage(r#"{"prompt_tokens":5}"#), 200, Booked::Absurd),
        ("fractions", usage(r#"{"prompt_tokens":5.5,"completion_tokens":1}"#), 200, Booked::Absurd),
        ("texts", usage(r#"{"prompt_tokens":"5","completion_tokens":1}"#), 200, Booked::Absurd),
        (
            "2^64",
            usage(r#"{"prompt_tokens":18446744073709551616,"completion_tokens":1}"#),
            200,
            Booked::Absurd,
        ),
        (
            "cached by another name",
            usage(r#"{"prompt_tokens":9,"completion_tokens":1,"prompt_cache_hit_tokens":3}"#),
            200,
            Booked::Usage(9, 3, 1, MODEL),
        ),
        ("no head", "HTTP/1.1".to_owned(), 502, Booked::WorstCase),
        ("no byte", String::new(), 502, Booked::WorstCase),
        (
            "a head and half of a body",
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"id\":".to_owned(),
            502,
            Booked::WorstCase,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_says_under_200_is_believed_only_if_it_makes_sense() {
    for (name, bytes, status, booked) in scripted() {
        let provider = ScriptedProvider::answering(bytes, Then::Close).await;
        let stage = Stage::before(&provider, &[("WORKERS", "1")]).await;
        let run = stage.run(json!({})).await;
        let answer = stage.client().ask(&run, &ask("hi")).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text);
        check_booked(name, &stage, &run, ("hi", ""), booked, &[status]).await;
        assert_eq!(provider.seen().len(), 1, "{name}: sent once");
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_reached_or_is_late_is_booked_by_what_it_may_have_done() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let stage = Stage::at(&nowhere, &[("UPSTREAM_RETRIES", "0")]).await;
    let run = stage.run(json!({})).await;
    assert_eq!(stage.client().ask(&run, &ask("hi")).await.status, 502);
    check_booked("refused", &stage, &run, ("hi", ""), Booked::Nothing, &[502]).await;
    stage.end().await;
    for (setting, text) in [
        ("UPSTREAM_TIMEOUT_SECONDS", "[[sim stall=head]]"),
        ("UPSTREAM_TIMEOUT_SECONDS", "[[sim stall=body]]"),
        ("UPSTREAM_IDLE_TIMEOUT_SECONDS", "[[sim stall=body]]"),
    ] {
        let stage = Stage::simulated(&[(setting, "1")]).await;
        let run = stage.run(json!({})).await;
        assert_eq!(stage.client().ask(&run, &ask(text)).await.status, 504);
        check_booked(text, &stage, &run, (text, ""), Booked::WorstCase, &[504]).await;
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_was_reserved_is_booked_in_full_and_flagged() {
    let stage = Stage::simulated(&[]).await;
    let dearer = cost("gpt-4o", 10, 0, 20);
    let table: [(&str, Decimal); 3] = [
        ("usage=10:500", cost(MODEL, 10, 0, 500)),
        ("usage=9999:50", cost(MODEL, 9999, 0, 50)),
        ("usage=10:20 served=gpt-4o", dearer),
    ];
    for (does, cost) in table {
        let run = stage.run(json!({})).await;
        let answer = stage.client().ask(&run, &ask(&format!("[[sim {does}]]"))).await;
        assert_eq!(answer.status, 200);
        let usage: Value = stage.client().settled(&run).await;
        let rows = stage.client().calls(&run).await;
        assert_eq!(rows[0]["flag"], "over_reservation", "{does}: {}", rows[0]);
        assert_eq!(rows[0]["cost_source"], "usage", "{does}");
        assert_eq!(rows[0]["cost_usd"], cost.to_string(), "{does}");
        assert_eq!(decimal(&usage["spent_usd"]), cost, "{does}");
    }
    let run = stage.run(json!({})).await;
    let body = ask_of("gpt-4o", "[[sim usage=10:20 served=gpt-4o-mini]]");
    assert_eq!(stage.client().ask(&run, &body).await.status, 200);
    let usage = stage.client().settled(&run).await;
    assert_eq!(decimal(&usage["spent_usd"]), cost(MODEL, 10, 0, 20));
    stage.end().await;
}
