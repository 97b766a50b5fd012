//! `rungate orgs members` and `rungate orgs orchestrator-keys`.

use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::super::answer::{done, minted, show};
use super::super::control::{Ask, ControlPlane};
use super::super::lists::list_table;
use super::super::table::{self, text};
use super::super::values::secret;
use super::options::{Add, MembersCommand, OrchestratorKeysCommand, Page, Remove, RevokeKey};

/// What is below an organization's path.
const MEMBERS: &str = "/members";
const KEYS: &str = "/orchestrator-keys";

/// Lists, adds and removes members.
///
/// # Errors
/// If the password cannot be read; as for any request.
pub(super) async fn members(command: MembersCommand, plane: &ControlPlane) -> anyhow::Result<()> {
    match command {
        MembersCommand::List(page) => list(plane, &page, MEMBERS, members_table).await,
        MembersCommand::Add(Add { name, role, password_file, of, output }) => {
            let password = secret("--password-file", &password_file)?;
            let path = of.path(plane, MEMBERS).await?;
            let password = password.expose_secret();
            let body = json!({"name": name, "role": role, "password": password}).to_string();
            let answer = plane.ask(Ask::send(Method::POST, &path, body)).await?;
            show(&answer, output.json, |member| told("Member added", member))
        }
        MembersCommand::Remove(Remove { name, of, output }) => {
            let path = of.path(plane, &format!("{MEMBERS}/{name}")).await?;
            let answer = plane.ask(Ask::delete(&path)).await?;
            show(&answer, output.json, |member| told("Member removed", member))
        }
    }
}

/// Lists, makes and revokes orchestrator keys.
///
/// # Errors
/// As for any request.
pub(super) async fn orchestrator_keys(
    command: OrchestratorKeysCommand,
    plane: &ControlPlane,
) -> anyhow::Result<()> {
    match command {
        OrchestratorKeysCommand::List(page) => list(plane, &page, KEYS, keys_table).await,
        OrchestratorKeysCommand::Create(wanted) => {
            let path = wanted.of.path(plane, KEYS).await?;
            let ask = Ask::send(Method::POST, &path, serde_json::to_string(&wanted)?);
            let answer = plane.ask(ask).await?;
            show(&answer, wanted.output.json, |key| minted("Orchestrator key created", key))
        }
        OrchestratorKeysCommand::Revoke(RevokeKey { id, of, output }) => {
            let path = of.path(plane, &format!("{KEYS}/{id}")).await?;
            show(&plane.ask(Ask::delete(&path)).await?, output.json, key_card)
        }
    }
}

async fn list(
    plane: &ControlPlane,
    page: &Page,
    below: &str,
    as_text: fn(&Value) -> String,
) -> anyhow::Result<()> {
    let path = page.paging.of(&page.of.path(plane, below).await?)?;
    show(&plane.ask(Ask::get(&path)).await?, page.output.json, as_text)
}

fn told(what: &str, member: &Value) -> String {
    let fact = |name: &str| text(member.get(name));
    done(what, &[("Name", fact("name")), ("Role", fact("role"))])
}

fn members_table(list: &Value) -> String {
    list_table(list, &["NAME", "ROLE", "ADDED"], &["name", "role", "created_at"])
}

fn keys_table(list: &Value) -> String {
    const MEMBERS: [&str; 5] = ["id", "name", "key_prefix", "status", "created_at"];
    list_table(list, &["ID", "NAME", "KEY", "STATUS", "CREATED"], &MEMBERS)
}

fn key_card(key: &Value) -> String {
    table::card(key, &["id", "name", "key_prefix", "status", "created_at"])
}
