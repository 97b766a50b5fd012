//! The report over HTTP, as its readers know it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, prompt};
use crate::support::gateway::TestGateway;
use crate::support::postgres;

const PATH: &str = "/organizations/00000000-0000-0000-0000-000000000001/inference/usage";

async fn ask(gateway: &TestGateway, query: &str) -> Value {
    let answer = gateway.client.operator(Method::GET, &format!("{PATH}{query}")).send().await;
    let answer = Answer::of(answer.unwrap()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_has_the_published_shape_and_exact_sums() {
    let gateway = TestGateway::serve(&postgres::database().await, &[]).await;
    let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
    for _ in 0..2 {
        assert_eq!(gateway.client.ask(&run, &prompt("hello")).await.status, 200);
    }
    let bill = gateway.client.settled(&run).await;
    let report = ask(&gateway, "?group_by=model").await;
    let (from, to) = (report["from"].as_str().unwrap(), report["to"].as_str().unwrap());
    assert!(from.ends_with("-01T00:00:00Z") && from[..7] == to[..7], "month to date: {report}");
    assert_eq!((&report["group_by"], &report["next"]), (&json!("model"), &json!(null)));
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    let input = bill["input_tokens"].as_u64().unwrap();
    let output = bill["output_tokens"].as_u64().unwrap();
    let cost = bill["spent_usd"].as_str().unwrap();
    let expected = json!({
        "group_key": "openai/gpt-4o-mini",
        "provider": "openai",
        "calls": 2,
        "input_tokens": input,
        "cached_input_tokens": bill["cached_input_tokens"],
        "output_tokens": output,
        "total_tokens": input + output,
        // gpt-4o-mini: 15 and 60 microcents a token.
        "cost_microcents": input * 15 + output * 60,
        "cost_usd": cost,
    });
    assert_eq!(rows[0], expected);

    let by_run = ask(&gateway, "?group_by=run").await;
    assert_eq!(by_run["rows"][0]["group_key"], run.id.as_str());
    let by_key = ask(&gateway, "?group_by=key").await;
    assert_eq!(by_key["rows"][0]["group_key"], "none");
    let of_day = ask(&gateway, &format!("?group_by=day&from={}", &to[..10])).await;
    assert_eq!(of_day["rows"][0]["group_key"], to[..10]);
    assert_eq!(ask(&gateway, "?to=2020-01-01").await["rows"], json!([]));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_has_every_row_and_no_formula() {
    let database = postgres::database().await;
    let gateway = TestGateway::serve(&database, &[]).await;
    let run = gateway.client.register(json!({"cost_limit_usd": "1"})).await;
    let mut operator = postgres::connect(&database).await;
    // A key whose name is chosen by whoever owns the organization.
    super::stage::execute(
        &mut operator,
        "INSERT INTO inference_keys (organization_id, id, name, secret_hash, prefix) SELECT \
         '00000000-0000-0000-0000-000000000001', '22222222-2222-7333-8444-000000000001', \
         '=HYPERLINK(\"http://x\";\"a,b\")', sha256('x'), 'rg-key-x'",
    )
    .await;
    let calls = format!(
        "{} (SELECT '{}'::uuid AS run, 'm' AS model, 'p' || i AS provider, 0.5 AS cost, \
         'usage' AS source, '22222222-2222-7333-8444-000000000001'::uuid AS key, now() AS at \
         FROM generate_series(1, 2345) i) call",
        super::stage::INSERT,
        run.id
    );
    super::stage::execute(&mut operator, &calls).await;
    let table = async |query: &str| {
        let request = gateway.client.operator(Method::GET, &format!("{PATH}{query}"));
        let answer = request.header("accept", "text/csv").send().await.unwrap();
        let answer = Answer::of(answer).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/csv")));
        answer.text
    };
    let text = table("?group_by=key").await;
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines.len(), 1 + 2345 + 1);
    assert_eq!(
        lines[0],
        "group_key,name,provider,calls,input_tokens,cached_input_tokens,output_tokens,\
         total_tokens,cost_microcents,cost_usd"
    );
    assert_eq!(
        lines[1],
        "22222222-2222-7333-8444-000000000001,\"'=HYPERLINK(\"\"http://x\"\";\"\"a,b\"\")\",p1,1,\
         15,4,20,35,50000000,0.5"
    );
    assert_eq!(lines[2346], "");
    assert_eq!(table("?group_by=key&limit=3").await.lines().count(), 1 + 3);
    // The same in pages of JSON.
    let mut found = 0;
    let mut after = String::new();
    loop {
        let page = ask(&gateway, &format!("?group_by=key&limit=1000{after}")).await;
        found += page["rows"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(found, 2345);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_of_an_organization_is_refused() {
    let gateway = TestGateway::serve(&postgres::database().await, &[]).await;
    let other = PATH.replace("0001/", "0002/");
    let unreadable = PATH.replace("0001/", "000x/");
    for (path, status, code) in [
        (other.as_str(), 404, "not_found"),
        (unreadable.as_str(), 404, "not_found"),
        (&format!("{PATH}?group_by=color"), 400, "invalid_request"),
        (&format!("{PATH}?from=2026-02-02&to=2026-02-01"), 400, "invalid_request"),
        (&format!("{PATH}?from=soon"), 400, "invalid_request"),
        (&format!("{PATH}?after=MQ"), 400, "invalid_request"),
        (&format!("{PATH}?color=red"), 400, "invalid_request"),
        (&format!("{PATH}?limit=0"), 400, "invalid_request"),
    ] {
        let answer = gateway.client.operator(Method::GET, path).send().await.unwrap();
        let answer = Answer::of(answer).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}: {answer:?}");
    }
    let url = format!("{}{PATH}", gateway.client.admin);
    assert_eq!(gateway.client.http.get(url).send().await.unwrap().status(), 401);
    gateway.stop().await;
}
