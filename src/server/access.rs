//! Which providers are configured, and how they are reached.

use std::net::{IpAddr, SocketAddr};

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::config::{Config, ProviderSettings};
use crate::domain::id::RunId;
use crate::gateway::Mode;
use crate::gateway::reach::Tenancy;
use crate::providers::{Provider, REGISTRY};
use crate::upstream::{Access, AccessError};

/// How our own credentials begin.
const OWN_KEYS: &str = "rg-";

/// The access to every provider that is configured. With a simulated provider that is all of them,
/// without keys.
///
/// # Errors
/// If a provider's settings cannot be used.
pub fn of(
    config: &Config,
    mode: Mode,
    simulator: Option<SocketAddr>,
) -> Result<Vec<Access>, AccessError> {
    if let Some(address) = simulator {
        let base = format!("http://{address}/v1");
        let access = |provider: &'static Provider| {
            let eu_endpoint = settings_of(config, provider).is_some_and(|known| known.eu_endpoint);
            Access::new(provider, Some(&base), None).map(|access| access.in_the_eu(eu_endpoint))
        };
        return REGISTRY.iter().map(access).collect();
    }
    let mut configured = Vec::new();
    for provider in &REGISTRY {
        let Some(settings) = settings_of(config, provider) else { continue };
        let base = settings.base_url.as_ref().map(ExposeSecret::expose_secret);
        let (mut base, mut key) = (base, settings.api_key.as_ref());
        if mode == Mode::Dev {
            let prefix = provider.settings_prefix;
            key = key.filter(|key| !ignored(is_ours(key), prefix, "API_KEY"));
            base = base.filter(|base| !ignored(leads_to_us(config, base), prefix, "BASE_URL"));
        }
        if base.is_none() && provider.default_base_url.is_none() {
            warn_of_no_address(provider, key.is_some());
        } else if key.is_some() || base.is_some() {
            configured.push(Access::new(provider, base, key)?.in_the_eu(settings.eu_endpoint));
        }
    }
    Ok(configured)
}

/// How organizations come to providers of their own.
pub fn tenancy(config: &Config, simulated: bool) -> Tenancy {
    Tenancy {
        keys: config.encryption_keys.clone(),
        shared: config.share_providers,
        simulated,
        listens: vec![config.listen_addr, config.admin_listen_addr],
    }
}

fn settings_of<'a>(config: &'a Config, provider: &Provider) -> Option<&'a ProviderSettings> {
    config.providers.iter().find(|known| known.prefix == provider.settings_prefix)
}

/// A key alone does not reach a provider that has an address for each customer.
fn warn_of_no_address(provider: &Provider, has_key: bool) {
    if has_key {
        let prefix = provider.settings_prefix;
        tracing::warn!(
            "start.no_address: {prefix}_API_KEY is set but {prefix}_BASE_URL is not, so the \
             provider is not configured"
        );
    }
}

/// A developer's environment may still point the variables of SDKs at this gateway. Such a value is
/// for its clients and not for itself; it says so and does without.
fn ignored(ours: bool, prefix: &str, setting: &str) -> bool {
    if ours {
        tracing::warn!(
            "start.own_setting: {prefix}_{setting} is this gateway's own; it is ignored"
        );
    }
    ours
}

/// Whether a key is a credential of ours: a token, or a run's id.
fn is_ours(key: &SecretString) -> bool {
    let key = key.expose_secret();
    key.starts_with(OWN_KEYS) || RunId::parse(key).is_some()
}

/// Whether a URL is that of one of our listeners, so that we would call ourselves.
fn leads_to_us(config: &Config, url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let address = name.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    let here = match address {
        // What is sent to the unspecified address stays on this machine.
        Some(address) => address.is_loopback() || address.is_unspecified(),
        None => name == "localhost" || name.ends_with(".localhost"),
    };
    [config.listen_addr, config.admin_listen_addr].iter().any(|ours| {
        let same_host = here || address == Some(ours.ip().to_canonical());
        same_host && url.port_or_known_default() == Some(ours.port())
    })
}
