//! Two organizations with one of everything, and whoever asks for it.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::gateway::{ADMIN_TOKEN, TestGateway};
use crate::support::postgres::database;

/// The password of everybody.
pub(super) const PASSWORD: &str = "hunter2-and-hunter2";
/// An id of nothing.
pub(super) const NOTHING: &str = "99999999-2222-4333-8444-555555555555";

/// A credential.
#[derive(Clone, Debug)]
pub(super) enum Who {
    Nobody,
    Bearer(String),
    Member(&'static str),
}

/// An organization with one of everything.
pub(super) struct Tenant {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) key_secret: String,
    pub(super) orchestrator: String,
    pub(super) orchestrator_secret: String,
    pub(super) run: String,
    pub(super) run_token: String,
}

pub(super) struct Stage {
    pub(super) gateway: TestGateway,
    /// The database behind it.
    pub(super) database: String,
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::on(&database().await).await
    }

    /// On a database that others may be on, too.
    pub(super) async fn on(database: &str) -> Self {
        let settings = [("ENCRYPTION_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")];
        Self {
            gateway: TestGateway::serve(database, &settings).await,
            database: database.to_owned(),
        }
    }

    /// Asks, from an address of loopback that ends in this number.
    pub(super) async fn ask_from(
        &self,
        from: u8,
        who: &Who,
        what: &str,
        body: Option<&Value>,
    ) -> Answer {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 1, from));
        let http = reqwest::Client::builder().no_proxy().local_address(address);
        let request = self.request(&http.build().unwrap(), who, what);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        Answer::of(request.send().await.unwrap()).await
    }

    pub(super) async fn ask(&self, who: &Who, what: &str, body: Option<&Value>) -> Answer {
        let request = self.request(&self.gateway.client.http, who, what);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        Answer::of(request.send().await.unwrap()).await
    }

    fn request(&self, http: &reqwest::Client, who: &Who, what: &str) -> RequestBuilder {
        let (method, path) = what.split_once(' ').unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = http.request(method, format!("{}{path}", self.gateway.client.admin));
        let request = request.header("x-request-id", "test-1");
        match who {
            Who::Nobody => request,
            Who::Bearer(token) => request.bearer_auth(token),
            Who::Member(name) => request.basic_auth(name, Some(PASSWORD)),
        }
    }

    /// What the operator is answered, which must be this status.
    #[track_caller]
    pub(super) fn operate(
        &self,
        what: &str,
        body: Option<Value>,
        status: u16,
    ) -> impl Future<Output = Value> {
        let told = what.to_owned();
        async move {
            let answer = self.ask(&operator(), &told, body.as_ref()).await;
            assert_eq!(answer.status, status, "{told}: {}", answer.text);
            answer.json()
        }
    }

    /// An organization with one of everything, and members of these names and roles.
    pub(super) async fn tenant(&self, name: &str, members: &[(&str, &str)]) -> Tenant {
        let made = self.operate("POST /organizations", Some(json!({"name": name})), 201).await;
        let id = text(&made["id"]);
        let org = format!("/organizations/{id}");
        let settings = json!({"monthly_cost_limit_cents": 5000});
        self.operate(&format!("PUT {org}/inference/settings"), Some(settings), 200).await;
        let key = json!({"name": "app", "monthly_token_limit": 1000});
        let key = self.operate(&format!("POST {org}/inference/keys"), Some(key), 201).await;
        let named = json!({"name": "nightly"});
        let orchestrator =
            self.operate(&format!("POST {org}/orchestrator-keys"), Some(named), 201).await;
        let credit = json!({"amount_usd": "20"});
        self.operate(&format!("POST {org}/credits"), Some(credit), 201).await;
        for (name, role) in members {
            let member = json!({"name": name, "password": PASSWORD, "role": role});
            self.operate(&format!("POST {org}/members"), Some(member), 201).await;
        }
        let run = json!({"organization_id": id, "cost_limit_usd": "1", "status": "running"});
        let run = self.operate("POST /runs", Some(run), 201).await;
        Tenant {
            key: text(&key["key"]["id"]),
            key_secret: text(&key["secret"]),
            orchestrator: text(&orchestrator["key"]["id"]),
            orchestrator_secret: text(&orchestrator["secret"]),
            run: text(&run["id"]),
            run_token: text(&run["token"]),
            id,
        }
    }
}

pub(super) fn operator() -> Who {
    Who::Bearer(ADMIN_TOKEN.to_owned())
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
