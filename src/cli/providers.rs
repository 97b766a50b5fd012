//! `rungate providers`: whom an organization calls, and with which keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{Output, done, show};
use super::control::{Ask, ControlPlane};
use super::lists::list_table;
use super::organization::Of;
use super::table::{self, text};
use super::values::{path_name, secret};

pub(super) mod reencrypt;

/// What is below an organization's path.
const PROVIDERS: &str = "/inference/providers";
/// The members of a configuration, in the order in which they are shown.
const PROVIDER: [&str; 6] =
    ["provider", "enabled", "has_key", "base_url", "eu_endpoint", "updated_at"];

/// What to do with the providers of organizations.
#[derive(Debug, Subcommand)]
pub(super) enum ProvidersCommand {
    #[command(flatten)]
    Configured(ConfiguredCommand),
    /// Encrypt every provider key anew, under the first key of ENCRYPTION_KEY
    #[command(long_about = REENCRYPT)]
    Reencrypt(reencrypt::Reencrypt),
}

/// What to do through the control plane.
#[derive(Debug, Subcommand)]
pub(super) enum ConfiguredCommand {
    /// List the providers that an organization has configured; no key is shown
    List(List),
    /// Configure a provider of an organization, or change it
    #[command(after_help = PUT)]
    Put(Put),
    /// Take away what an organization has configured of a provider, its key too
    Delete(Delete),
}

const REENCRYPT: &str = "\
Encrypt every provider key anew, under the first key of ENCRYPTION_KEY.

To replace an encryption key: put the new one before the old one and restart every gateway; run \
this; then take the old one away. It runs beside gateways, may be broken off, and changes nothing \
when it is run again. Exit 1 if a key does not open; it stays as it is.";

const PUT: &str = "\
What is not named stays, the key too. A new --base-url needs the key again, for it is kept for the
address that it was given for, and --eu-endpoint is false again.
  rungate providers put openai --org shop --api-key-file openai.key
  pass show openai | rungate providers put openai --org shop --api-key-file -
  rungate providers put openai --org shop --enabled false";

/// Whose providers.
#[derive(Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    output: Output,
}

/// What to configure.
#[derive(Args, Debug, Serialize)]
pub(super) struct Put {
    /// The provider's name, as in openai/gpt-4o-mini
    #[arg(value_parser = path_name)]
    provider: String,
    /// The file that holds its key; - stands for standard input
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    api_key_file: Option<PathBuf>,
    /// Whether it may be called [default: true at first]
    #[arg(long, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    /// Where it is, if not at its own address
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    /// Let it be at its own address again
    #[arg(long, conflicts_with = "base_url")]
    #[serde(skip)]
    no_base_url: bool,
    /// Attests that its address is in the EU, or that it is not
    #[arg(long, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    eu_endpoint: Option<bool>,
    #[command(flatten)]
    #[serde(skip)]
    of: Of,
    #[command(flatten)]
    #[serde(skip)]
    output: Output,
}

/// What to take away.
#[derive(Args, Debug)]
pub(super) struct Delete {
    /// The provider's name
    #[arg(value_parser = path_name)]
    provider: String,
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    output: Output,
}

/// Does what was asked of the control plane.
///
/// # Errors
/// If the key cannot be read; there is no such organization; as for any request.
pub(super) async fn run(command: ConfiguredCommand, plane: &ControlPlane) -> anyhow::Result<()> {
    match command {
        ConfiguredCommand::List(List { of, output }) => {
            let path = of.path(plane, PROVIDERS).await?;
            show(&plane.ask(Ask::get(&path)).await?, output.json, providers_table)
        }
        ConfiguredCommand::Put(put) => {
            let mut body = serde_json::to_value(&put)?;
            if let Some(members) = body.as_object_mut() {
                if let Some(file) = &put.api_key_file {
                    let key = secret("--api-key-file", file)?;
                    members.insert("api_key".to_owned(), json!(key.expose_secret()));
                }
                if put.no_base_url {
                    members.insert("base_url".to_owned(), Value::Null);
                }
            }
            let path = put.of.path(plane, PROVIDERS).await?;
            let answer = plane.ask(Ask::send(Method::PUT, &path, body.to_string())).await?;
            show(&answer, put.output.json, provider_card)
        }
        ConfiguredCommand::Delete(Delete { provider, of, output }) => {
            let path = of.path(plane, &format!("{PROVIDERS}/{provider}")).await?;
            show(&plane.ask(Ask::delete(&path)).await?, output.json, |gone| {
                done("Provider deleted", &[("Provider", text(gone.get("provider")))])
            })
        }
    }
}

fn providers_table(list: &Value) -> String {
    let columns = ["PROVIDER", "ENABLED", "HAS KEY", "BASE URL", "EU ENDPOINT", "CHANGED"];
    list_table(list, &columns, &PROVIDER)
}

fn provider_card(provider: &Value) -> String {
    table::card(provider, &PROVIDER)
}
