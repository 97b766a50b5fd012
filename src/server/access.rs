//! Which providers are configured, and how they are reached.

use std::net::SocketAddr;

use secrecy::ExposeSecret as _;

use crate::config::{Config, ProviderSettings};
use crate::gateway::Mode;
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
        return REGISTRY.iter().map(|provider| Access::new(provider, Some(&base), None)).collect();
    }
    let mut configured = Vec::new();
    for provider in &REGISTRY {
        let settings =
            config.providers.iter().find(|known| known.prefix == provider.settings_prefix);
        let Some(settings) = settings else { continue };
        if mode == Mode::Dev && points_at_us(config, provider, settings) {
            continue;
        }
        if settings.api_key.is_some() || settings.base_url.is_some() {
            let (base, key) = (settings.base_url.as_deref(), settings.api_key.as_ref());
            configured.push(Access::new(provider, base, key)?);
        }
    }
    Ok(configured)
}

/// Whether a developer's environment still points the SDK's variables at this gateway, which
/// would then call itself.
fn points_at_us(config: &Config, provider: &Provider, settings: &ProviderSettings) -> bool {
    let own_key =
        settings.api_key.as_ref().is_some_and(|key| key.expose_secret().starts_with(OWN_KEYS));
    let own_address = settings.base_url.as_ref().is_some_and(|url| {
        let port = config.listen_addr.port();
        [format!("//127.0.0.1:{port}"), format!("//localhost:{port}"), format!("//[::1]:{port}")]
            .iter()
            .any(|own| url.contains(own))
    });
    if own_key || own_address {
        tracing::warn!(
            "{prefix}_API_KEY or {prefix}_BASE_URL is this gateway's own; {name} is left out",
            prefix = provider.settings_prefix,
            name = provider.name
        );
    }
    own_key || own_address
}
