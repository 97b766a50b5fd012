//! `rungate orgs`: organizations, what they have set, their people, and who changed what.

use reqwest::Method;
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::{Output, done, show};
use super::control::{Ask, ControlPlane, parsed};
use super::lists::list_table;
use super::table::text;
use super::{organization, print};

mod options;
mod settings;
mod people;
mod shown;

pub(super) use options::OrgsCommand;
use options::{Create, List, Which};

/// What is below an organization's path.
const SETTINGS: &str = "/inference/settings";

/// Does what was asked of the control plane.
///
/// # Errors
/// One line: there is no such organization, or as for any request.
pub(super) async fn run(command: OrgsCommand, plane: &ControlPlane) -> anyhow::Result<()> {
    match command {
        OrgsCommand::Create(wanted) => create(plane, &wanted).await,
        OrgsCommand::List(List { paging, output }) => {
            let path = paging.of("/organizations")?;
            show(&plane.ask(Ask::get(&path)).await?, output.json, orgs_table)
        }
        OrgsCommand::Show(options::Show { which, output }) => show_org(plane, &which, output).await,
        OrgsCommand::Set(set) => {
            let change = settings::Change::of(&set)?;
            let path = format!("{}{SETTINGS}", organization::path(plane, set.which.org()).await?);
            let body = Value::Object(change.over(plane, &path).await?).to_string();
            let answer = plane.ask(Ask::send(Method::PUT, &path, body)).await?;
            show(&answer, set.output.json, settings::card)
        }
        OrgsCommand::Members(command) => people::members(command, plane).await,
        OrgsCommand::OrchestratorKeys(command) => people::orchestrator_keys(command, plane).await,
        OrgsCommand::Audit(audit) => {
            let path = match audit.all {
                true => "/audit".to_owned(),
                false => audit.of.path(plane, "/audit").await?,
            };
            let path = audit.paging.of(&path)?;
            show(&plane.ask(Ask::get(&path)).await?, audit.output.json, shown::changes_table)
        }
    }
}

async fn create(plane: &ControlPlane, wanted: &Create) -> anyhow::Result<()> {
    let ask = Ask::send(Method::POST, "/organizations", serde_json::to_string(wanted)?);
    show(&plane.ask(ask).await?, wanted.output.json, |made| {
        let fact = |name: &str| text(made.get(name));
        done("Organization created", &[("ID", fact("id")), ("Name", fact("name"))])
    })
}

/// Shows an organization with its settings and its credits, which are answers of their own.
async fn show_org(plane: &ControlPlane, which: &Which, output: Output) -> anyhow::Result<()> {
    let path = organization::path(plane, which.org()).await?;
    let settings = format!("{path}{SETTINGS}");
    let credits = format!("{path}/credits?limit=1");
    let organization = plane.ask(Ask::get(&path)).await?;
    let settings = plane.ask(Ask::get(&settings)).await?;
    let credits = plane.ask(Ask::get(&credits)).await?;
    if output.json {
        let answers =
            [("organization", organization), ("settings", settings), ("credits", credits)];
        return print::text(&shown::together(answers)?);
    }
    let answers = (parsed(&organization)?, parsed(&settings)?, parsed(&credits)?);
    print::text(&shown::org_card(&answers.0, &answers.1, &answers.2))
}

/// A page of organizations.
fn orgs_table(list: &Value) -> String {
    const MEMBERS: [&str; 5] = ["id", "name", "configured", "circuit", "created_at"];
    list_table(list, &["ID", "NAME", "CONFIGURED", "CIRCUIT", "CREATED"], &MEMBERS)
}

/// An answer within another, as it came.
fn raw(answer: String) -> anyhow::Result<Box<RawValue>> {
    // What is no JSON is told as of any answer.
    parsed(&answer)?;
    Ok(RawValue::from_string(answer)?)
}
