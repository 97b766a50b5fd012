//! What clients and orchestrators do, over plain HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::gateway::ADMIN_TOKEN;

/// A client of one gateway.
#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub data: String,
    pub admin: String,
}

/// A run that was registered.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: String,
    pub token: String,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap_or_default(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The error's code.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Client {
    pub fn new(data: SocketAddr, admin: SocketAddr) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(120))
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        Self { http, data: format!("http://{data}"), admin: format!("http://{admin}") }
    }

    /// A request to the control plane, with the operator's token.
    pub fn operator(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.admin)).bearer_auth(ADMIN_TOKEN)
    }

    /// Registers a run; `body` on top of a running one.
    pub async fn register(&self, body: Value) -> Run {
        let mut whole = json!({"status": "running"});
        for (name, value) in body.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let answer =
            Answer::of(self.operator(Method::POST, "/runs").json(&whole).send().await.unwrap())
                .await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let run = answer.json();
        let text = |name: &str| run[name].as_str().unwrap().to_owned();
        Run { id: text("id"), token: text("token") }
    }

    /// A chat call of a run, by its token.
    pub fn chat(&self, run: &Run, body: &Value) -> RequestBuilder {
        self.http
            .post(format!("{}/v1/chat/completions", self.data))
            .bearer_auth(&run.token)
            .json(body)
    }

    /// The same, answered.
    pub async fn ask(&self, run: &Run, body: &Value) -> Answer {
        Answer::of(self.chat(run, body).send().await.unwrap()).await
    }

    /// What a run has used, as its orchestrator reads it.
    pub async fn usage(&self, run: &Run) -> Value {
        let path = format!("/runs/{}/usage", run.id);
        Answer::of(self.operator(Method::GET, &path).send().await.unwrap()).await.json()
    }

    /// Closes a run and reads the bill.
    pub async fn close(&self, run: &Run, body: &Value) -> Answer {
        let path = format!("/runs/{}/close", run.id);
        Answer::of(self.operator(Method::POST, &path).json(body).send().await.unwrap()).await
    }

    /// The run's calls.
    pub async fn calls(&self, run: &Run) -> Vec<Value> {
        let path = format!("/runs/{}/calls", run.id);
        let answer = Answer::of(self.operator(Method::GET, &path).send().await.unwrap()).await;
        answer.json()["data"].as_array().unwrap().clone()
    }

    /// Waits until nothing of a run is in flight.
    pub async fn settled(&self, run: &Run) -> Value {
        for _ in 0..1200 {
            let usage = self.usage(run).await;
            if usage["in_flight"] == 0 {
                return usage;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("calls of {} did not end", run.id);
    }
}

/// A chat body with one user message.
pub fn prompt(text: &str) -> Value {
    json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]})
}
