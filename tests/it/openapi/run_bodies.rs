//! Whether the schemas of the control plane's bodies and queries say what is accepted.

use serde_json::{Value, json};

use super::document::{Document, Operation, example};
use crate::support::client::{Answer, Client};
use crate::support::gateway::{ADMIN_TOKEN, TestGateway};

/// The default organization falls back to a cap, so that a registration needs none, and is
/// configured, so that its settings need no limit.
async fn configure(client: &Client) {
    let settings = json!({
        "monthly_cost_limit_cents": 999_999_999,
        "run_defaults": {"cost_limit_usd": "1"},
    });
    let put = client.operator(reqwest::Method::PUT, "/organizations/default/inference/settings");
    let answer = Answer::of(put.json(&settings).send().await.unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// The path of something, or of nothing that anybody knows.
fn path_of(template: &str, run: &str) -> String {
    let path = template.replace("{id}", run).replace("{org}", "default");
    path.replace("{key}", "11111111-2222-4333-8444-555555555555").replace("{name}", "nobody")
}

/// A run that each request is about, so that none is refused for its state.
async fn fresh(client: &Client) -> String {
    client.register(json!({"cost_limit_usd": "1"})).await.id
}

async fn ask(client: &Client, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let method = reqwest::Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
    let request = client.operator(method, path);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    Answer::of(request.send().await.unwrap()).await
}

/// The members of an operation's body: the object itself where several may be sent.
fn members(document: &Document, operation: Operation<'_>) -> Value {
    let schema = &operation.value["requestBody"]["content"]["application/json"]["schema"];
    let schema = schema["anyOf"].get(0).unwrap_or(schema);
    document.resolve(schema).clone()
}

/// Values at and beyond the ends of what a member may be.
fn values(document: &Document, member: &Value) -> Vec<Value> {
    let mut found =
        vec![json!(null), json!(true), json!("nonsense"), json!({}), json!([]), json!(1)];
    for one in member["anyOf"].as_array().unwrap() {
        found.push(example(document, one));
        found.extend(one["enum"].as_array().into_iter().flatten().cloned());
        if let (Some(least), Some(most)) = (one["minimum"].as_u64(), one["maximum"].as_u64()) {
            found.extend([json!(least), json!(most), json!(most + 1), json!(1.5)]);
            found.extend(least.checked_sub(1).map(|below| json!(below)));
        }
    }
    // Of dollars.
    found.extend(["0.25", "-1", "1e3", "12345678901", "0.1234567890123456789"].map(Value::from));
    found
}

/// Whether a body was understood, whatever came of it.
fn is_understood(answer: &Answer) -> bool {
    assert!(answer.status < 500, "{}", answer.text);
    // A wish that fits its field and not the run.
    let conflicts = ["invalid_model", "run_conflict", "limit_below_spent"];
    answer.status != 400 || conflicts.contains(&answer.code().as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_accepted_as_they_are_described() {
    let gateway = TestGateway::dev(&[]).await;
    let client = &gateway.client;
    let document = Document::read(&client.admin, ADMIN_TOKEN).await;
    let mut bodies = 0;
    for operation in document.operations() {
        // What a provider's configuration may be depends on what stands there, and on the settings:
        // `tests/it/tenants/configuring.rs` holds it.
        if operation.value["requestBody"].is_null() || operation.id() == "putProvider" {
            continue;
        }
        // What is tried on the settings changes them.
        configure(client).await;
        let schema = members(&document, operation);
        let validator = document.validator(&schema);
        let whole = example(&document, &schema);
        let mut tries = vec![whole.clone(), json!({"surprise": 1}), json!(1), json!("a")];
        for (name, member) in schema["properties"].as_object().unwrap() {
            for value in values(&document, member) {
                let mut body = whole.clone();
                body[name] = value;
                // A run's own fields must be another's at each registration.
                tries.push(body);
            }
        }
        for body in tries {
            let path = path_of(operation.path, &fresh(client).await);
            let answer = ask(client, operation.method, &path, Some(&body)).await;
            let fits = validator.is_valid(&body);
            let described = format!("{} {path} {body}: {}", operation.method, answer.text);
            if !is_exempt(&body) {
                assert_eq!(is_understood(&answer), fits, "{described}");
            }
            bodies += 1;
        }
    }
    assert!(bodies > 200, "{bodies}");
    gateway.stop().await;
}

/// What only the registry knows to be wrong, and what is read more kindly than it is described.
fn is_exempt(body: &Value) -> bool {
    let organization = &body["organization_id"];
    let amounts = ["cost_limit_usd", "amount_usd", "monthly_limit_usd", "lifetime_limit_usd"];
    // The default one is the only one; and JSON's own notation of large numbers is accepted.
    !organization.is_null() || amounts.into_iter().any(|name| body[name] == "1e3")
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_accepted_as_they_are_described() {
    let gateway = TestGateway::dev(&[]).await;
    let client = &gateway.client;
    let document = Document::read(&client.admin, ADMIN_TOKEN).await;
    // Closed, so that nobody waits for its bill.
    let run = fresh(client).await;
    let closed = ask(client, "post", &format!("/runs/{run}/close"), None).await;
    assert_eq!(closed.status, 200, "{}", closed.text);
    let texts = ["1", "0", "1000", "1001", "30s", "500ms", "x", "-1", "model", "running", "openai"];
    for operation in document.operations().into_iter().filter(|one| one.method == "get") {
        let path = path_of(operation.path, &run);
        // Health checks take whatever a load balancer adds.
        if operation.value["security"].as_array().unwrap().is_empty() {
            continue;
        }
        let parameters = operation.value["parameters"].as_array().unwrap().iter();
        for parameter in parameters.filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            let validator = document.validator(&parameter["schema"]);
            for text in texts {
                let number = text.parse::<i64>().ok();
                let is_number = parameter["schema"]["type"] == "integer";
                let value = number.filter(|_| is_number).map_or(json!(text), |n| json!(n));
                let answer = ask(client, "get", &format!("{path}?{name}={text}"), None).await;
                let fits = validator.is_valid(&value);
                if name == "wait_final" && number.is_some_and(|seconds| seconds > 120) {
                    continue;
                }
                // Cursors and instants have no schema that is worth its length.
                let opaque = matches!(name, "after" | "from" | "to");
                let told = format!("{path}?{name}={text}: {}", answer.text);
                assert!(opaque || fits == (answer.status == 200), "{told}");
                assert!(!opaque || answer.status == 400, "{told}");
                if answer.status == 400 {
                    assert_eq!(answer.json()["error"]["param"], name, "{told}");
                }
            }
        }
    }
    gateway.stop().await;
}
