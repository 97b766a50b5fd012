//! `rungate models import`: a catalogue from LiteLLM's price map.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::written::{matches, write};
use crate::catalog::Catalog;
use crate::catalog::import::{Imported, import};
use crate::catalog::price_map;
use crate::cli::exit::{Exit, Failure};
use crate::cli::print;
use crate::config::Config;
use crate::server;

/// Which map, which of its rows, and where to.
#[derive(Args, Debug)]
pub(in crate::cli) struct Options {
    /// The price map; - is standard input
    file: PathBuf,
    /// Only models of this provider, by its name here, such as openai; may be given several times
    #[arg(long = "provider", value_name = "NAME")]
    providers: Vec<String>,
    /// Only this model; a * at the end stands for any rest; may be given several times
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// Write the catalogue to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the catalogue, and on standard error what was left out and why.
///
/// # Errors
/// If the map cannot be read, or none of its rows can be used; nothing is written then.
pub(in crate::cli) fn run(options: &Options, config: &Config) -> anyhow::Result<()> {
    let older = server::load_catalog(config)?;
    let shown = print::plain(&options.file.display().to_string());
    let text = read(&options.file).with_context(|| format!("{shown} cannot be read"))?;
    let listings = price_map::read(&text).with_context(|| format!("{shown} cannot be used"))?;
    let imported = import(listings, &older, |provider, name| options.want(provider, name))?;
    tell(&imported);
    if imported.taken == 0 {
        let what = format!("no row of {shown} can be used; nothing was written");
        return Err(Failure::new(Exit::Failed, what).into());
    }
    let version = Catalog::parse("the imported catalogue", &imported.text)?.version().to_owned();
    write(&imported.text, options.output.as_deref())?;
    print::err(format_args!("price version {version}"));
    Ok(())
}

fn read(path: &Path) -> std::io::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
}

impl Options {
    /// Whether a model of a provider is asked for. Of a row that cannot be used, both may be
    /// unknown; it then is if nothing else was asked for.
    fn want(&self, provider: &str, name: &str) -> bool {
        let any = |filters: &[String], name: &str| {
            filters.is_empty() || filters.iter().any(|filter| matches(filter, name))
        };
        any(&self.providers, provider) && any(&self.models, name)
    }
}

fn tell(imported: &Imported) {
    let mut sums: BTreeMap<&str, usize> = BTreeMap::new();
    for (key, why) in &imported.left_out {
        print::err(format_args!(
            "left out: {}: {}",
            print::plain(key),
            print::plain(&why.to_string())
        ));
        *sums.entry(why.group()).or_default() += 1;
    }
    let sums: Vec<String> = sums.iter().map(|(group, rows)| format!("{rows} {group}")).collect();
    let why = if sums.is_empty() { String::new() } else { format!(" ({})", sums.join(", ")) };
    print::err(format_args!(
        "{} rows taken, {} left out{why}, {} not asked for",
        imported.taken,
        imported.left_out.len(),
        imported.passed_over
    ));
}
