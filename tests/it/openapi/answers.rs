//! Whether real answers of real calls are what the documents say of them.

use std::collections::BTreeSet;
use std::sync::Mutex;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::document::{Document, assert_valid};
use super::organizations::{organizations, providers};
use crate::support::client::{Answer, prompt};
use crate::support::gateway::{ADMIN_TOKEN, TestGateway};
use crate::support::postgres::database;

/// Headers that every HTTP answer may have.
const PLAIN: [&str; 6] =
    ["content-type", "content-length", "date", "transfer-encoding", "connection", "vary"];

/// A plane whose every answer is held against its document.
pub(super) struct Plane {
    document: Document,
    base: String,
    token: Option<String>,
    http: reqwest::Client,
    succeeded: Mutex<BTreeSet<String>>,
}

impl Plane {
    async fn of(base: &str, token: &str) -> Self {
        Self {
            document: Document::read(base, token).await,
            base: base.to_owned(),
            token: Some(token.to_owned()).filter(|token| !token.is_empty()),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            succeeded: Mutex::default(),
        }
    }

    /// The same plane, asked with another credential or none.
    pub(super) async fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..Self::of(&self.base, ADMIN_TOKEN).await }
    }

    fn request(&self, what: &str) -> RequestBuilder {
        let (method, path) = what.split_once(' ').unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(super) async fn ask(&self, what: &str, status: u16) -> Answer {
        self.send(self.request(what), status).await
    }

    pub(super) async fn say(&self, what: &str, body: Value, status: u16) -> Answer {
        self.send(self.request(what).json(&body), status).await
    }

    /// Sends a request and holds it and its answer against the document.
    async fn send(&self, request: RequestBuilder, status: u16) -> Answer {
        let request = request.build().unwrap();
        let (method, path) = (request.method().as_str(), request.url().path());
        let told = format!("{method} {path}");
        let operation = self.document.find(method, path).expect(&told);
        let body = request.body().and_then(|body| body.as_bytes()).map(<[u8]>::to_vec);
        let answer = Answer::of(self.http.execute(request).await.unwrap()).await;
        assert_eq!(answer.status, status, "{told}: {}", answer.text);

        let response = &operation.value["responses"][status.to_string()];
        assert!(response.is_object(), "{told} does not describe its {status}: {}", answer.text);
        self.check_headers(response, &answer);
        let content = answer.header("content-type").unwrap();
        let form = &response["content"][content];
        assert!(form.is_object(), "{told} does not describe {content}");
        if content == "application/json" {
            self.document.check(&form["schema"], &answer.json());
        }
        if (200..300).contains(&status) {
            self.succeeded.lock().unwrap().insert(operation.id().to_owned());
            if let Some(body) = body {
                let schema = &operation.value["requestBody"]["content"]["application/json"];
                let validator = self.document.validator(&schema["schema"]);
                assert_valid(&validator, &serde_json::from_slice(&body).unwrap());
            }
        } else {
            let code = answer.code();
            let told_of = response["description"].as_str().unwrap();
            let from_upstream = answer.header("x-error-origin") == Some("upstream");
            // Where the shape has no code, the status is all there is.
            let has_code = answer.json()["detail"].is_null();
            let is_told = !has_code || told_of.contains(&format!("`{code}`"));
            assert!(is_told || from_upstream, "{told} does not describe {code}");
        }
        answer
    }

    fn check_headers(&self, response: &Value, answer: &Answer) {
        for (name, value) in &answer.headers {
            if PLAIN.contains(&name.as_str()) {
                continue;
            }
            let header = self.document.resolve(&response["headers"][name.as_str()]);
            assert!(header.is_object(), "{name} is not described: {answer:?}");
            let text = value.to_str().unwrap();
            let number = text.parse::<u64>().ok().filter(|_| header["schema"]["type"] == "integer");
            let value = number.map_or_else(|| json!(text), |number| json!(number));
            assert_valid(&self.document.validator(&header["schema"]), &value);
        }
    }

    /// What was never answered with a success.
    fn untried(&self, except: &[&str]) -> Vec<String> {
        let succeeded = self.succeeded.lock().unwrap();
        let all = self.document.operations().into_iter().filter(|one| one.method != "head");
        let ids = all.map(|operation| operation.id().to_owned());
        ids.filter(|id| !succeeded.contains(id) && !except.contains(&id.as_str())).collect()
    }
}

/// A gateway with both planes, and a running run.
struct Scene {
    gateway: TestGateway,
    operator: Plane,
    run: Value,
}

impl Scene {
    async fn new() -> Self {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let settings = [("ENCRYPTION_KEY", key)];
        let gateway = TestGateway::serve(&database().await, &settings).await;
        let operator = Plane::of(&gateway.client.admin, ADMIN_TOKEN).await;
        let body = json!({"cost_limit_usd": "1", "status": "running", "requests_per_minute": 900});
        let run = operator.say("POST /runs", body, 201).await.json();
        Self { gateway, operator, run }
    }

    fn id(&self) -> &str {
        self.run["id"].as_str().unwrap()
    }

    async fn agent(&self) -> Plane {
        Plane::of(&self.gateway.client.data, self.run["token"].as_str().unwrap()).await
    }

    /// Waits for the settlement of what was called.
    async fn settled(&self, calls: u64) {
        for _ in 0..400 {
            let usage = self.operator.ask(&format!("GET /runs/{}/usage", self.id()), 200).await;
            if usage.json()["calls"] == calls {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("there are never {calls} calls");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_plane_answers_as_it_is_described() {
    let scene = Scene::new().await;
    let agent = scene.agent().await;
    let limited = |text: &str| {
        let mut body = prompt(text);
        body["max_tokens"] = json!(20);
        body
    };
    for base in ["/v1", "/inference/v1", "/api/v1"] {
        let chat = format!("POST {base}/chat/completions");
        agent.say(&chat, limited("Hello"), 200).await;
        let mut streamed = limited("Hello");
        streamed["stream"] = json!(true);
        let stream = agent.say(&chat, streamed, 200).await;
        assert_eq!(stream.header("content-type"), Some("text/event-stream"));
        for path in ["usage", "models", "models/gpt-4o-mini"] {
            agent.ask(&format!("GET {base}/{path}"), 200).await;
        }
        let embedded = json!({"model": "text-embedding-3-small", "input": "Hello"});
        agent.say(&format!("POST {base}/embeddings"), embedded, 200).await;
        let mut message = limited("Hello");
        message["model"] = json!("claude-sonnet-4-5");
        agent.say(&format!("POST {base}/messages"), message.clone(), 200).await;
        agent.say(&format!("POST {base}/messages/count_tokens"), message, 200).await;
        let asked = json!({"model": "gpt-4o-mini", "input": "Hello", "max_output_tokens": 20});
        agent.say(&format!("POST {base}/responses"), asked, 200).await;
    }
    let run_id = scene.id();
    let mut by_id = limited("Hello");
    by_id["run_id"] = json!(run_id);
    agent.say("POST /agents/inference", by_id, 200).await;
    let embedded = json!({"run_id": run_id, "model": "text-embedding-3-small", "input": "Hello"});
    agent.say("POST /agents/embedding", embedded, 200).await;
    ridges(&agent, run_id).await;
    for path in ["/agents/usage", "/healthz", "/readyz", "/openapi.json"] {
        agent.ask(&format!("GET {path}"), 200).await;
    }
    assert_eq!(agent.untried(&[]), Vec::<String>::new());

    let chat = "POST /v1/chat/completions";
    agent.say(chat, json!({"model": "nobody", "messages": limited("a")["messages"]}), 400).await;
    agent.say(chat, json!({"model": "gpt-4o-mini"}), 400).await;
    agent.say(chat, json!({"model": "gpt-4o-mini", "messages": [], "audio": {}}), 400).await;
    for status in [400, 404, 413, 422] {
        agent.say(chat, limited(&format!("[[sim status={status}]]")), status).await;
    }
    agent.say(chat, limited("[[sim status=500]]"), 502).await;
    let mut dear = prompt(&"word ".repeat(20_000));
    dear["model"] = json!("gpt-4");
    let patch = format!("PATCH /runs/{run_id}");
    scene.operator.say(&patch, json!({"cost_limit_usd": "0.01"}), 200).await;
    agent.say(chat, dear, 402).await;
    agent.send(agent.request(chat).header("content-type", "text/plain").body("a"), 415).await;
    agent.send(agent.request(chat).header("upgrade", "websocket").json(&json!({})), 426).await;
    agent.ask("GET /v1/models/nobody", 404).await;
    let stranger = Plane { token: Some("rg-run-nobody".to_owned()), ..scene.agent().await };
    stranger.ask("GET /v1/usage", 401).await;
    let unnamed = Plane { token: None, ..scene.agent().await };
    unnamed.ask("GET /v1/usage", 400).await;
    unnamed.ask("GET /v1/models?run_id=11111111-2222-4333-8444-555555555555", 404).await;
    scene.operator.say(&format!("POST /runs/{run_id}/close"), json!({}), 200).await;
    agent.say(chat, limited("Hello"), 403).await;
    scene.gateway.running.gateway.drain();
    agent.say(chat, limited("Hello"), 503).await;
    agent.ask("GET /readyz", 503).await;
    scene.gateway.stop().await;
}

/// Calls each endpoint of Ridges' gateway API, in both generations.
async fn ridges(agent: &Plane, run_id: &str) {
    let messages = json!([{"role": "user", "content": "Hello"}]);
    for name in ["evaluation_run_id", "run_id"] {
        let mut asked = json!({"model": "gpt-4o-mini", "messages": messages});
        asked[name] = json!(run_id);
        agent.say("POST /api/inference", asked.clone(), 200).await;
        let mut embedded = json!({"input": "Hello"});
        embedded[name] = json!(run_id);
        agent.say("POST /api/embedding", embedded, 200).await;
        for path in ["usage", "inference-models", "embedding-models"] {
            agent.ask(&format!("GET /api/{path}?{name}={run_id}"), 200).await;
        }
        asked["model"] = json!("nobody");
        agent.say("POST /api/inference", asked, 404).await;
    }
    agent.say("POST /api/inference", json!({"model": 1}), 422).await;
    agent.ask("GET /api/usage?run_id=nobody", 422).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_plane_answers_as_it_is_described() {
    let scene = Scene::new().await;
    let (operator, id) = (&scene.operator, scene.id());
    let agent = scene.agent().await;
    for _ in 0..3 {
        agent.say("POST /v1/chat/completions", prompt("Hello"), 200).await;
    }
    scene.settled(3).await;
    let twin = json!({"id": "11111111-2222-4333-8444-555555555555", "cost_limit_usd": 1});
    operator.say("POST /runs", twin.clone(), 201).await;
    operator.say("POST /runs", json!([twin, {"cost_limit_usd": "0.5"}]), 201).await;
    operator.say("POST /runs", json!([twin]), 200).await;
    let other = json!({"id": twin["id"], "cost_limit_usd": 2});
    operator.say("POST /runs", other, 409).await;
    operator.ask("GET /runs?limit=1&status=running", 200).await;
    operator.ask(&format!("GET /runs/{id}"), 200).await;
    let patch = json!({"metadata": {"a": 1}, "expires_at": "2090-01-01T00:00:00Z"});
    operator.say(&format!("PATCH /runs/{id}"), patch, 200).await;
    operator.say(&format!("PATCH /runs/{id}"), json!({"cost_limit_usd": "0"}), 409).await;
    operator.ask(&format!("GET /runs/{id}/calls?limit=2"), 200).await;
    check_lines(operator, id).await;
    check_reports(operator).await;
    operator.ask("GET /models?provider=openai", 200).await;
    providers(operator).await;
    for path in ["/metrics", "/healthz", "/readyz", "/openapi.json"] {
        operator.ask(&format!("GET {path}"), 200).await;
    }
    operator.ask(&format!("POST /runs/{id}/token"), 200).await;
    operator.say(&format!("POST /runs/{id}/attempts"), json!({"status": "running"}), 201).await;
    let close = format!("POST /runs/{id}/close");
    let in_flight = scene.gateway.client.clone();
    let shown = operator.ask(&format!("POST /runs/{id}/token"), 200).await.json();
    let token = shown["token"].as_str().unwrap().to_owned();
    let stalled = tokio::spawn(async move {
        let url = format!("{}/v1/chat/completions", in_flight.data);
        let request = in_flight.http.post(url).bearer_auth(token);
        request.json(&prompt("[[sim stall=head]]")).send().await
    });
    while operator.ask(&format!("GET /runs/{id}"), 200).await.json()["in_flight"] == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    operator.say(&close, json!({"wait_seconds": 0}), 202).await;
    operator.say(&close, json!({"mode": "abort", "reason": "over"}), 200).await;
    stalled.await.unwrap().unwrap();
    organizations(operator).await;
    assert_eq!(operator.untried(&[]), Vec::<String>::new());

    operator.say(&format!("POST /runs/{id}/attempts"), json!({"status": "failed"}), 409).await;
    operator.ask("GET /runs/nobody", 400).await;
    operator.ask("GET /runs/99999999-2222-4333-8444-555555555555/usage", 404).await;
    operator.ask("GET /usage?from=soon", 400).await;
    operator.ask("GET /models?color=red", 400).await;
    operator.say("POST /runs", json!({"cost_limit_usd": 1, "allowed_models": ["x"]}), 400).await;
    operator
        .send(operator.request("POST /runs").header("content-type", "a/b").body("{}"), 415)
        .await;
    let stranger = operator.with_token(None).await;
    for path in ["/runs", "/models", "/usage", "/metrics", "/openapi.json"] {
        stranger.ask(&format!("GET {path}"), 401).await;
    }
    scene.gateway.running.gateway.drain();
    operator.ask("GET /readyz", 503).await;
    scene.gateway.stop().await;
}

/// What was used, by everybody and by one organization, three calls of it.
async fn check_reports(operator: &Plane) {
    for group_by in ["model", "provider", "run", "day"] {
        let usage = operator.ask(&format!("GET /usage?group_by={group_by}"), 200).await.json();
        assert_eq!(usage["total"]["calls"], 3);
    }
    let of_default = "/organizations/00000000-0000-0000-0000-000000000001/inference/usage";
    for group_by in ["model", "key", "run", "provider", "day"] {
        let asked = format!("GET {of_default}?group_by={group_by}");
        assert_eq!(operator.ask(&asked, 200).await.json()["rows"][0]["calls"], 3);
        let table = operator.request(&asked).header("accept", "text/csv");
        assert_eq!(operator.send(table, 200).await.text.lines().count(), 2);
    }
    operator.ask(&format!("GET {of_default}?group_by=color"), 400).await;
    operator.ask(&format!("GET {}", of_default.replace("0001", "0002")), 404).await;
}

/// Every line is what a row of the list is.
async fn check_lines(operator: &Plane, run: &str) {
    let request = operator.request(&format!("GET /runs/{run}/calls"));
    let lines = operator.send(request.header("accept", "application/x-ndjson"), 200).await;
    assert_eq!(lines.text.lines().count(), 3);
    let row = json!({"$ref": "#/components/schemas/Call"});
    for line in lines.text.lines() {
        operator.document.check(&row, &serde_json::from_str(line).unwrap());
    }
}
