//! `rungate models`: which models there are, and what they cost.

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::Config;
use crate::gateway::Mode;
use crate::http::catalogue_view::TargetView;
use crate::server::{self, StartError};

use super::control::{Ask, ControlPlane};
use super::exit::{Exit, Failure};
use super::figures::{dollars, whole, window};
use super::table::{Table, text};
use super::{look, print};

pub(super) mod import;
pub(super) mod refresh;
mod written;

/// Which models to list, or what to do about their prices.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Options {
    #[command(subcommand)]
    pub(super) command: Option<ModelsCommand>,
    /// Only those of this provider, such as openai
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Only those whose name holds this text
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Read the catalogue of MODELS_FILE, or the built-in one, without asking a gateway
    #[arg(long)]
    pub(super) local: bool,
    /// Print the answer in JSON
    #[arg(long)]
    json: bool,
}

/// What makes a catalogue.
#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// Make a catalogue from LiteLLM's price map, model_prices_and_context_window.json
    Import(import::Options),
    /// Put the prices that a provider lists now into the catalogue
    Refresh(refresh::Options),
}

/// A page of models, each as it came.
#[derive(Deserialize, Serialize)]
struct List {
    data: Vec<Box<RawValue>>,
    price_version: Option<String>,
    next: Option<String>,
}

/// The models that a gateway serves.
///
/// # Errors
/// As for any request to the control plane.
pub(super) async fn ask(options: &Options, plane: &ControlPlane) -> anyhow::Result<()> {
    let answer = plane.ask(Ask::get("/models")).await?;
    if options.json && options.provider.is_none() && options.search.is_none() {
        return print::text(&answer);
    }
    let list = serde_json::from_str(&answer).map_err(|_| {
        let what = "the answer is no list of models; does a gateway of this version run there? \
                    `rungate models --local` needs none";
        Failure::new(Exit::Failed, what)
    })?;
    show(options, list)
}

/// The models of the catalogue that a gateway would load here.
///
/// # Errors
/// If the catalogue, or a setting of a provider, cannot be used.
pub(super) fn read(options: &Options, config: &Config) -> anyhow::Result<()> {
    let catalog = server::load_catalog(config)?;
    let access = server::access::of(config, Mode::Serve, None).map_err(StartError::Access)?;
    let targets = catalog.models().flat_map(|model| &model.targets);
    let rows = targets.map(|target| {
        let is_here = access.iter().any(|access| access.provider == target.provider);
        let configured = config.simulate_providers || is_here;
        serde_json::value::to_raw_value(&TargetView::of(target, configured))
    });
    let data = rows.collect::<Result<_, _>>()?;
    show(options, List { data, price_version: Some(catalog.version().to_owned()), next: None })
}

fn show(options: &Options, mut list: List) -> anyhow::Result<()> {
    let mut shown = Vec::new();
    list.data.retain(|raw| {
        let row: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        let wanted = options.wants(&row);
        if wanted {
            shown.push(row);
        }
        wanted
    });
    if options.json {
        return print::text(&serde_json::to_string(&list)?);
    }
    let version = list.price_version.as_deref().unwrap_or("-");
    print::text(&table(&shown, version))
}

impl Options {
    fn wants(&self, row: &Value) -> bool {
        let member = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
        let provider = self.provider.as_deref().is_none_or(|name| member("provider") == name);
        let search = self.search.as_deref().is_none_or(|text| {
            let name = member("model").to_lowercase();
            name.contains(&text.to_lowercase())
        });
        provider && search
    }
}

fn table(rows: &[Value], version: &str) -> String {
    let columns = ["MODEL", ">CONTEXT", "PRICING (per 1M tokens)", "PROVIDER", "NOTES"];
    let mut table = Table::new(&columns);
    for row in rows {
        table.add([
            text(row.get("model")),
            window(whole(row, "context_window")),
            prices(row, is_embedding(row)),
            text(row.get("provider")),
            notes(row),
        ]);
    }
    let models = if rows.len() == 1 { "model" } else { "models" };
    let foot = format!("{} {models}, price version {}", rows.len(), print::plain(version));
    format!("{}\n\n{}", table.render(), look::dim(&foot))
}

fn is_embedding(row: &Value) -> bool {
    row.get("kind").and_then(Value::as_str) == Some("embedding")
}

/// The prices of the four classes; those of caches only where they are not the input's.
fn prices(of: &Value, only_input: bool) -> String {
    let price = |class: &str| text(of.get(format!("{class}_usd_per_million")));
    let input = price("input");
    let mut shown = format!("{} input", dollars(&input));
    if only_input {
        return shown;
    }
    shown.push_str(&format!(" / {} output", dollars(&price("output"))));
    for (class, name) in [("cached_input", "cached"), ("cache_write", "cache write")] {
        let other = price(class);
        if other != input && other != "-" {
            shown.push_str(&format!(" / {} {name}", dollars(&other)));
        }
    }
    shown
}

fn notes(row: &Value) -> String {
    let flag = |name: &str| row.get(name).and_then(Value::as_bool);
    let mut notes = Vec::new();
    if is_embedding(row) {
        notes.push("embedding".to_owned());
    }
    if flag("example_price") == Some(true) {
        notes.push("example price".to_owned());
    }
    if flag("configured") == Some(false) {
        notes.push("not configured".to_owned());
    }
    if let Some(long) = row.get("long_context").filter(|long| !long.is_null()) {
        let prices = prices(long, is_embedding(row));
        notes.push(format!("above {}: {prices}", window(whole(long, "above"))));
    }
    for (tier, of) in row.get("tiers").and_then(Value::as_object).into_iter().flatten() {
        notes.push(format!("{}: {}", print::plain(tier), prices(of, false)));
    }
    notes.join(", ")
}
