//! `rungate models refresh`: the catalogue with the prices that a provider lists now.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::written::{matches, write};
use crate::catalog::Target;
use crate::catalog::refresh::{Heard, News, What};
use crate::cli::exit::{Exit, Failure};
use crate::cli::print;
use crate::config::Config;
use crate::gateway::Mode;
use crate::gateway::prices::offers;
use crate::providers::{self, PRICE_LISTS};
use crate::server;
use crate::upstream::{Access, Client, Trust};

/// Whose prices, of which models, and where to.
#[derive(Args, Debug)]
pub(in crate::cli) struct Options {
    /// Whose list to ask for: chutes, openrouter or targon
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// Only this model; a * at the end stands for any rest; may be given several times
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// Write the catalogue to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the whole catalogue, and on standard error what is new in it.
///
/// # Errors
/// If the provider lists no prices or cannot be asked; nothing is written then.
pub(in crate::cli) async fn run(options: &Options, config: &Config) -> anyhow::Result<()> {
    let listed = PRICE_LISTS.into_iter().find(|(name, _)| *name == options.provider);
    let (name, unit) = listed.ok_or_else(|| {
        let names = PRICE_LISTS.map(|(name, _)| name).join(", ");
        Failure::new(Exit::Usage, format!("--provider must be one of {names}"))
    })?;
    let catalog = server::load_catalog(config)?;
    let access = access(name, config)?;
    let client = Client::new(Trust::of_system()?, config.upstream_connect_timeout);
    let offers =
        offers(&access, unit, &client).await.with_context(|| format!("{name} tells no prices"))?;
    let mut heard = Heard::default();
    let wanted = |target: &Target| {
        let is = |filter: &String| {
            matches(filter, &target.model) || matches(filter, &target.upstream_model)
        };
        options.models.is_empty() || options.models.iter().any(is)
    };
    let news = heard.hear(&catalog, name, &offers, config.price_refresh_factor, wanted);
    if news.is_empty() {
        let what = format!("the catalogue has no such model of {name}; nothing was written");
        return Err(Failure::new(Exit::Failed, what).into());
    }
    let refreshed = heard.apply(&catalog).context("the result is no catalogue")?;
    for news in &news {
        tell(news);
    }
    write(refreshed.text(), options.output.as_deref())?;
    print::err(format_args!("price version {}", refreshed.version()));
    Ok(())
}

/// The provider as it is configured; without a key, at its own address, since lists are public.
fn access(name: &'static str, config: &Config) -> anyhow::Result<Access> {
    let known = server::access::of(config, Mode::Serve, None)?;
    if let Some(access) = known.into_iter().find(|access| access.provider.name == name) {
        return Ok(access);
    }
    let provider = providers::find(name).context("the provider is not known")?;
    Ok(Access::new(provider, None, None)?)
}

fn tell(news: &News) {
    let model = print::plain(&news.model);
    match &news.what {
        What::Prices(prices) => print::err(format_args!(
            "{model}: {} input, {} cached input, {} cache write, {} output",
            prices.input.decimal(),
            prices.cached_input.decimal(),
            prices.cache_write.decimal(),
            prices.output.decimal()
        )),
        What::Kept(why) => {
            print::err(format_args!("{model}: kept as it is: {}", print::plain(&why.to_string())));
        }
        What::Unserved(why) => {
            print::err(format_args!("{model}: taken out: {}", print::plain(&why.to_string())));
        }
    }
}
