//! The prices of now: asked of the providers that list them, and put into the catalogue.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::catalog::Catalog;
use crate::catalog::offer::{NoList, Offers};
use crate::catalog::refresh::{Heard, News, What};
use crate::domain::price::UsdPerMillionTokens;
use crate::providers::{PRICE_LISTS, PricedBy};
use crate::storage::new_file::{NewFile, SHARED};
use crate::upstream::{Access, Client, ListError};

use super::Gateway;

/// Keeps the prices of a gateway up to date.
pub struct Refresher {
    configured: Arc<Catalog>,
    client: Client,
    factor: u32,
    folder: PathBuf,
    heard: Mutex<Heard>,
}

/// Why a provider's prices are not known.
#[derive(Debug, thiserror::Error)]
pub enum NoPrices {
    /// There is no answer.
    #[error(transparent)]
    List(#[from] ListError),
    /// The answer is something else.
    #[error(transparent)]
    Form(#[from] NoList),
}

/// Asks a provider what it charges.
///
/// # Errors
/// If it gives no list.
pub async fn offers(access: &Access, unit: PricedBy, client: &Client) -> Result<Offers, NoPrices> {
    Ok(Offers::read(&access.list_models(client).await?, unit)?)
}

impl Refresher {
    /// Of the catalogue that the gateway has now. Each version that comes to be is kept in `folder`
    /// under its name, so that whoever reads a call's price version can look its prices up.
    pub fn new(gateway: &Gateway, client: Client, factor: u32, folder: PathBuf) -> Self {
        let heard = Mutex::default();
        Self { configured: gateway.catalog(), client, factor, folder, heard }
    }

    /// Asks every configured provider that lists prices, and puts what is believed into force.
    pub async fn refresh(&self, gateway: &Gateway) {
        for (name, unit) in PRICE_LISTS {
            let Some(access) = gateway.environment_access(name) else { continue };
            match offers(access, unit, &self.client).await {
                Ok(offers) => self.take_in(gateway, name, &offers),
                Err(error) => tracing::warn!(
                    provider = name,
                    error = &error as &dyn std::error::Error,
                    "prices.refresh_failed: the prices stay as they are"
                ),
            }
        }
    }

    fn take_in(&self, gateway: &Gateway, provider: &'static str, offers: &Offers) {
        let mut heard = self.heard.lock();
        let mut next = heard.clone();
        let news = next.hear(&self.configured, provider, offers, self.factor, |_| true);
        for news in &news {
            tell(provider, news);
        }
        if news.iter().all(|news| matches!(news.what, What::Kept(_))) {
            return;
        }
        match next.apply(&self.configured) {
            Ok(catalog) => {
                *heard = next;
                if catalog.version() == gateway.catalog().version() {
                    return;
                }
                self.keep(&catalog);
                tracing::info!(provider, price_version = catalog.version(), "prices.in_force");
                gateway.set_catalog(catalog);
            }
            Err(error) => tracing::error!(
                provider,
                error = &error as &dyn std::error::Error,
                "prices.refused: the prices stay as they are"
            ),
        }
    }

    /// Writes a version down, for later readers of the ledger. It is in force all the same if that
    /// fails: the log has its prices too.
    fn keep(&self, catalog: &Catalog) {
        let path = self.folder.join(format!("{}.toml", catalog.version()));
        let write = || {
            if path.exists() {
                return Ok(());
            }
            std::fs::create_dir_all(&self.folder)?;
            NewFile::begin(&path)?.finish(catalog.text(), SHARED)
        };
        if let Err(error) = write() {
            tracing::warn!(
                file = %path.display(),
                error = &error as &dyn std::error::Error,
                "prices.not_kept: this version's prices are only in the log"
            );
        }
    }
}

fn tell(provider: &'static str, news: &News) {
    let model = news.model.as_str();
    let text = |price: UsdPerMillionTokens| price.decimal().normalize().to_string();
    match &news.what {
        What::Prices(prices) => tracing::info!(
            provider,
            model,
            input_usd_per_million = text(prices.input),
            cached_input_usd_per_million = text(prices.cached_input),
            cache_write_usd_per_million = text(prices.cache_write),
            output_usd_per_million = text(prices.output),
            "prices.changed"
        ),
        What::Kept(why) => {
            tracing::warn!(provider, model, %why, "prices.kept: the old ones stay");
        }
        What::Unserved(why) => {
            tracing::error!(provider, model, %why, "prices.unserved: it cannot be priced any more");
        }
    }
}
