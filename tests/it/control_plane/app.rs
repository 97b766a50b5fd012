//! A control plane to talk to, and what it answers.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App as ActixApp, HttpServer, web};
use chrono::Utc;
use metrics_exporter_prometheus::PrometheusBuilder;
use rungate::catalog::Catalog;
use rungate::config::RunAuth;
use rungate::domain::budget::Amounts;
use rungate::domain::id::{OrganizationId, ReservationId, RunId};
use rungate::domain::money::Usd;
use rungate::domain::reservation::{Ask, Authority, CallFacts, Heard};
use rungate::domain::settlement::{Charge, CostSource, UnknownUsage};
use rungate::domain::usage::{Tokens, Usage};
use rungate::gateway::reach::Tenancy;
use rungate::gateway::retry::Retries;
use rungate::gateway::{Gateway, Mode, Parts, Policy};
use rungate::http::operator::{Operator, configure, document};
use rungate::http::respond::Manners;
use rungate::ledger::memory::MemoryLedger;
use rungate::ledger::queue::RunQueue;
use rungate::ledger::{Grant, Ledger, Outcome};
use rungate::upstream::Deadlines;
use serde_json::Value;
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::watch;

pub(super) const TOKEN: &str = "rg-adm-of-the-tests";
pub(super) const MAX_BODY_BYTES: usize = 1 << 20;
/// A run id that no test registers.
pub(super) const NOBODY: &str = "11111111-2222-4333-8444-555555555555";

pub(super) struct App {
    pub(super) gateway: Arc<Gateway>,
    pub(super) base: String,
    client: reqwest::Client,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) text: String,
}

impl Answer {
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The body of an answer of this status.
    #[track_caller]
    pub(super) fn of(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// Checks a refusal to the last byte of its body.
    #[track_caller]
    pub(super) fn refuses(&self, status: u16, code: &str, param: Option<&str>, message: &str) {
        let kind = match code {
            "invalid_key" => "authentication_error",
            "unavailable" => "service_unavailable_error",
            _ => "invalid_request_error",
        };
        let (message, param) = (Value::from(message), Value::from(param));
        let body = format!(
            r#"{{"error":{{"message":{message},"type":"{kind}","code":"{code}",{}}}}}"#,
            format_args!(r#""param":{param},"request_id":"test-1""#)
        );
        assert_eq!((self.status, self.text.as_str()), (status, body.as_str()));
        assert_eq!(self.headers["x-request-id"], "test-1");
        assert_eq!(self.headers["content-type"], "application/json");
    }
}

impl App {
    pub(super) async fn new() -> Self {
        let (events, _nobody_listens) = unbounded_channel();
        Self::on(MemoryLedger::new(Utc::now, None, events), Some(TOKEN)).await
    }

    pub(super) async fn on(ledger: Arc<dyn Ledger>, token: Option<&str>) -> Self {
        watch::install();
        let dev = token.is_none();
        let second = Duration::from_secs(1);
        let gateway = Gateway::new(Parts {
            mode: if dev { Mode::Dev } else { Mode::Serve },
            policy: Policy {
                run_auth: RunAuth::RunId,
                default_max_output: Tokens::new(16_384),
                min_output: Tokens::new(256),
                admission_wait: second,
                activation_wait: second,
                max_concurrency: 64,
                unknown_usage: UnknownUsage::Estimate,
                deadlines: Deadlines { connect: second, whole: second, idle: second },
                max_response_bytes: 1 << 20,
                retries: Retries { most: 0, within: Duration::ZERO },
                keep_alive: None,
            },
            rates: Arc::default(),
            catalog: Catalog::built_in().unwrap(),
            ledger,
            default_run: None,
            jwt: None,
            access: Vec::new(),
            tenancy: Tenancy::default(),
            tasks: TaskTracker::new(),
            main: tokio::runtime::Handle::current(),
            on_call: None,
            halt: CancellationToken::new(),
        });
        let manners = Manners { budget_status: 402, dev };
        let operator = web::Data::new(Operator {
            gateway: Arc::clone(&gateway),
            manners,
            document: document(gateway.mode, manners),
            admin_token: token.map(|token| token.to_owned().into()),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            max_body_bytes: MAX_BODY_BYTES,
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = HttpServer::new(move || {
            ActixApp::new().app_data(operator.clone()).configure(configure)
        })
        .workers(1)
        .disable_signals()
        .listen(listener)
        .unwrap();
        tokio::spawn(server.run());
        Self { gateway, base, client: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    pub(super) fn request(&self, what: &str) -> reqwest::RequestBuilder {
        self.bare(what).header("x-request-id", "test-1")
    }

    pub(super) fn bare(&self, what: &str) -> reqwest::RequestBuilder {
        let (method, path) = what.split_once(' ').unwrap();
        let url = format!("{}{path}", self.base);
        self.client.request(method.parse().unwrap(), url)
    }

    pub(super) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text: answer.text().await.unwrap(),
        }
    }

    /// Asks as the operator does: `app.ask("GET /runs", "")`.
    pub(super) async fn ask(&self, what: &str, body: &str) -> Answer {
        let request = self.request(what).bearer_auth(TOKEN);
        let request = if body.is_empty() {
            request
        } else {
            request.header("content-type", "application/json").body(body.to_owned())
        };
        self.send(request).await
    }

    /// Registers a run and answers its object.
    pub(super) async fn register(&self, body: &str) -> Value {
        self.ask("POST /runs", body).await.of(201)
    }

    /// Registers a running run and answers its id.
    pub(super) async fn running(&self, cap: &str) -> String {
        let body = format!(r#"{{"cost_limit_usd":"{cap}","status":"running"}}"#);
        self.register(&body).await["id"].as_str().unwrap().to_owned()
    }

    /// Reserves `cost` dollars for a call of this run.
    pub(super) async fn reserve(&self, run: &str, cost: &str) -> Grant {
        let id = RunId::parse(run).unwrap();
        let budgets = self.gateway.ledger.record(id).await.unwrap().unwrap().run.budgets;
        let ask = Ask {
            id: ReservationId::generate(),
            organization: OrganizationId::DEFAULT,
            run: Some(id),
            authority: Authority::RunId,
            heard: Heard::default(),
            budgets,
            amounts: Amounts { usd: usd(cost), tokens: Tokens::new(100), calls: 1 },
            facts: CallFacts {
                request_id: "req-a".to_owned(),
                model: "gpt-4o-mini".to_owned(),
                requested_model: None,
                provider: "openai".to_owned(),
                endpoint: "/v1/chat/completions",
                price_version: "p1".to_owned(),
                input_bound: Tokens::new(30),
                output_bound: Tokens::new(70),
            },
        };
        let turn = Arc::new(RunQueue::default()).arrive();
        self.gateway.ledger.admit(ask, &turn).await.unwrap().unwrap()
    }

    /// A call of this run that cost so much.
    pub(super) async fn spend(&self, run: &str, cost: &str) {
        self.reserve(run, cost).await.settle(outcome(cost));
        self.gateway.ledger.flush().await;
    }
}

pub(super) fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

/// The end of a call that cost so much.
pub(super) fn outcome(cost: &str) -> Outcome {
    let usage = Usage {
        uncached_input: Tokens::new(10),
        cached_input: Tokens::new(4),
        cache_write: Tokens::new(1),
        output: Tokens::new(20),
        reasoning: Tokens::new(5),
        ..Usage::default()
    };
    Outcome {
        charge: Charge { cost: usd(cost), usage, source: CostSource::Usage, flag: None },
        served_model: Some("gpt-4o-mini-2024-07-18".to_owned()),
        service_tier: None,
        status: 200,
        latency_ms: 12,
        ttfb_ms: Some(3),
    }
}
