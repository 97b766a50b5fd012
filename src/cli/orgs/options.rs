//! What the commands about organizations take.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use uuid::Uuid;

use crate::domain::id::OrchestratorKeyId;
use crate::domain::organization::Role;

use super::super::answer::Output;
use super::super::lists::Paging;
use super::super::organization::{DEFAULT, Of};
use super::super::values::{path_name, standard_input};
use super::settings::Set;

/// What to do with organizations.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum OrgsCommand {
    /// Make an organization
    Create(Create),
    /// List organizations, in the order in which they were made
    List(List),
    /// Show what an organization has set, what its month has cost, and its credits
    Show(Show),
    /// Change what an organization has set
    #[command(after_help = SET)]
    Set(Box<Set>),
    /// Look after the people of an organization
    #[command(subcommand)]
    Members(MembersCommand),
    /// Look after the keys with which an organization registers runs
    #[command(subcommand)]
    OrchestratorKeys(OrchestratorKeysCommand),
    /// List who changed what, when and from where, the newest first
    Audit(Audit),
}

const SET: &str = "\
What is not named stays. --clear takes a default or a rate away:
  rungate orgs set shop --monthly-limit 50 --eu-only true
  rungate orgs set shop --default-cost-limit 0.75 --rate-limit-rpm 600
  rungate orgs set shop --clear rate-limit-rpm
When the month's limit was reached, raise it and close the circuit:
  rungate orgs set shop --monthly-limit 80 --reset-circuit
Defaults, like rates, are put as a whole: those that stay are read first, so let nobody else
change them meanwhile.";

/// The organization, by its place on the command line or by the option of other commands.
#[derive(Args, Debug)]
pub(in crate::cli) struct Which {
    /// The organization: its id, its name, or `default` [default: default]
    #[arg(value_name = "ORG", conflicts_with = "org_option")]
    org: Option<String>,
    /// The same, as the other commands take it
    #[arg(long = "org", id = "org_option", value_name = "ORG")]
    org_option: Option<String>,
}

impl Which {
    /// Its id or name.
    pub(super) fn org(&self) -> &str {
        self.org.as_deref().or(self.org_option.as_deref()).unwrap_or(DEFAULT)
    }
}

/// What to make.
#[derive(Args, Debug, Serialize)]
pub(in crate::cli) struct Create {
    /// What it is called; no other is
    name: String,
    /// Its id [default: a new one]
    #[arg(long, value_name = "UUID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) output: Output,
}

/// Which organizations to list.
#[derive(Args, Debug)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    pub(super) paging: Paging,
    #[command(flatten)]
    pub(super) output: Output,
}

/// Which organization to show.
#[derive(Args, Debug)]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    pub(super) which: Which,
    #[command(flatten)]
    pub(super) output: Output,
}

/// Whose changes.
#[derive(Args, Debug)]
pub(in crate::cli) struct Audit {
    /// Those of every organization, and of none
    #[arg(long, conflicts_with = "org")]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) of: Of,
    #[command(flatten)]
    pub(super) paging: Paging,
    #[command(flatten)]
    pub(super) output: Output,
}

/// What is below an organization, which of it, and how to answer.
#[derive(Args, Debug)]
pub(in crate::cli) struct Page {
    #[command(flatten)]
    pub(super) of: Of,
    #[command(flatten)]
    pub(super) paging: Paging,
    #[command(flatten)]
    pub(super) output: Output,
}

/// What to do with the people of an organization.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum MembersCommand {
    /// List members by their names
    List(Page),
    /// Add a member, who signs in with this name and his password
    #[command(after_help = ADD)]
    Add(Add),
    /// Remove a member
    Remove(Remove),
}

const ADD: &str = "\
The password has at least 12 characters on one line. It is read from a file or from standard input:
  rungate orgs members add ada --role owner --org shop --password-file ada.password
  pass show ada | rungate orgs members add ada --role owner --org shop";

/// Whom to add.
#[derive(Args, Debug)]
pub(in crate::cli) struct Add {
    /// What he signs in with: letters, digits and any of . _ @ + -
    #[arg(value_parser = path_name)]
    pub(super) name: String,
    /// What he may do: owner, everything; admin, everything but members; viewer, look
    #[arg(long, value_parser = roles())]
    pub(super) role: String,
    /// The file that holds his password; - stands for standard input
    #[arg(long, value_name = "FILE", default_value_os_t = standard_input())]
    pub(super) password_file: PathBuf,
    #[command(flatten)]
    pub(super) of: Of,
    #[command(flatten)]
    pub(super) output: Output,
}

/// Whom to remove.
#[derive(Args, Debug)]
pub(in crate::cli) struct Remove {
    /// What he signs in with
    #[arg(value_parser = path_name)]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) of: Of,
    #[command(flatten)]
    pub(super) output: Output,
}

/// What to do with the keys of orchestrators.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum OrchestratorKeysCommand {
    /// List keys, in the order in which they were made
    List(Page),
    /// Make a key, which is good for the runs of this organization; it is shown this once
    Create(CreateKey),
    /// Revoke a key for good
    Revoke(RevokeKey),
}

/// What to make.
#[derive(Args, Debug, Serialize)]
pub(in crate::cli) struct CreateKey {
    /// What its owner calls it
    name: String,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) of: Of,
    #[command(flatten)]
    #[serde(skip)]
    pub(super) output: Output,
}

/// What to revoke.
#[derive(Args, Debug)]
pub(in crate::cli) struct RevokeKey {
    /// The key's id
    #[arg(value_parser = key_id)]
    pub(super) id: OrchestratorKeyId,
    #[command(flatten)]
    pub(super) of: Of,
    #[command(flatten)]
    pub(super) output: Output,
}

fn roles() -> PossibleValuesParser {
    PossibleValuesParser::new(Role::ALL.map(Role::as_str))
}

fn key_id(text: &str) -> Result<OrchestratorKeyId, String> {
    let what = "is not a key's id, a UUID; `rungate orgs orchestrator-keys list` shows them";
    OrchestratorKeyId::parse(text).ok_or_else(|| what.to_owned())
}
