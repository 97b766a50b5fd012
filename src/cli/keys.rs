//! `rungate keys`: the inference keys of an organization.

use reqwest::Method;
use serde_json::{Map, Value};

use super::answer::{minted, show};
use super::control::{Ask, ControlPlane};
use super::lists::list_table;
use super::table;

mod options;

pub(super) use options::KeysCommand;
use options::{List, One};

/// What is below an organization's path.
const KEYS: &str = "/inference/keys";
/// The members of a key, in the order in which they are shown.
const KEY: &[&str] = &[
    "id",
    "name",
    "key_prefix",
    "status",
    "monthly_token_limit",
    "tokens_used_cycle",
    "daily_token_limit",
    "tokens_used_today",
    "monthly_limit_usd",
    "monthly_spent_usd",
    "lifetime_limit_usd",
    "lifetime_spent_usd",
    "rate_limit_rpm",
    "rate_limit_rps",
    "tokens_per_minute",
    "max_concurrency",
    "allowed_models",
    "allowed_endpoints",
    "require_run",
    "client_identity",
    "expires_at",
    "created_at",
    "rotated_at",
];

/// Does what was asked of the control plane.
///
/// # Errors
/// One line: there is no such organization or key, or as for any request.
pub(super) async fn run(command: KeysCommand, plane: &ControlPlane) -> anyhow::Result<()> {
    match command {
        KeysCommand::Create(wanted) => {
            let path = wanted.of.path(plane, KEYS).await?;
            let ask = Ask::send(Method::POST, &path, serde_json::to_string(&wanted)?);
            let answer = plane.ask(ask).await?;
            show(&answer, wanted.output.json, |answer| minted("API key created", answer))
        }
        KeysCommand::List(list) => list_keys(plane, &list).await,
        KeysCommand::Show(one) => {
            let path = path(plane, &one, "").await?;
            show(&plane.ask(Ask::get(&path)).await?, one.output.json, key_card)
        }
        KeysCommand::Suspend(one) => change(plane, &one, Method::POST, "/suspend").await,
        KeysCommand::Resume(one) => change(plane, &one, Method::POST, "/resume").await,
        KeysCommand::Revoke(one) => change(plane, &one, Method::DELETE, "").await,
        KeysCommand::Rotate(one) => {
            let path = path(plane, &one, "/rotate").await?;
            let answer = plane.ask(Ask::send(Method::POST, &path, "{}".to_owned())).await?;
            show(&answer, one.output.json, |answer| minted("API key rotated", answer))
        }
        KeysCommand::Update(update) => {
            let body = Value::Object(update.body()?).to_string();
            let path = path(plane, &update.one, "").await?;
            let answer = plane.ask(Ask::send(Method::PATCH, &path, body)).await?;
            show(&answer, update.one.output.json, key_card)
        }
    }
}

async fn path(plane: &ControlPlane, one: &One, below: &str) -> anyhow::Result<String> {
    one.of.path(plane, &format!("{KEYS}/{}{below}", one.id)).await
}

async fn change(
    plane: &ControlPlane,
    one: &One,
    method: Method,
    below: &str,
) -> anyhow::Result<()> {
    let path = path(plane, one, below).await?;
    let answer = plane.ask(Ask { method, ..Ask::get(&path) }).await?;
    show(&answer, one.output.json, key_card)
}

async fn list_keys(plane: &ControlPlane, list: &List) -> anyhow::Result<()> {
    let path = list.paging.of(&list.of.path(plane, KEYS).await?)?;
    show(&plane.ask(Ask::get(&path)).await?, list.output.json, keys_table)
}

fn key_card(key: &Value) -> String {
    table::card(key, KEY)
}

/// A page of keys.
fn keys_table(list: &Value) -> String {
    const MEMBERS: [&str; 7] = [
        "id",
        "name",
        "key_prefix",
        "status",
        "tokens_used_cycle",
        "monthly_token_limit",
        "rate_limit_rpm",
    ];
    let columns = ["ID", "NAME", "KEY", "STATUS", ">TOKENS", ">OF MONTHLY", ">RPM"];
    list_table(list, &columns, &MEMBERS)
}

impl options::Update {
    /// What is to be changed, and what taken away.
    fn body(&self) -> anyhow::Result<Map<String, Value>> {
        let mut body = match serde_json::to_value(self)? {
            Value::Object(body) => body,
            _ => Map::new(),
        };
        options::clear(&mut body, &self.clear)?;
        if body.is_empty() {
            return Err(options::nothing_to_change().into());
        }
        Ok(body)
    }
}
