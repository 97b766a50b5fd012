//! Codex's `config.toml`: it reads where the gateway is from there and from no variable.

use std::collections::BTreeMap;

use serde::Serialize;

use super::variables::Sandbox;

/// What Codex calls the gateway. Names of its own providers cannot be taken.
const NAME: &str = "gw";

#[derive(Serialize)]
struct Codex<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    model_provider: &'static str,
    /// Codex offers the provider's own search unless it is told not to, and the gateway refuses it.
    web_search: &'static str,
    model_providers: BTreeMap<&'static str, Provider>,
}

#[derive(Serialize)]
struct Provider {
    /// Codex wants one to show.
    name: &'static str,
    base_url: String,
    env_key: &'static str,
    wire_api: &'static str,
    /// Without it Codex tries a WebSocket first and waits for it to fail.
    supports_websockets: bool,
}

/// The file's text. It names the variable that holds the key, never the key.
///
/// # Errors
/// Never for the texts that get here.
pub(super) fn config(sandbox: &Sandbox) -> Result<String, toml::ser::Error> {
    let provider = Provider {
        name: "rungate",
        base_url: format!("{}/v1", sandbox.gateway.url),
        env_key: "OPENAI_API_KEY",
        wire_api: "responses",
        supports_websockets: false,
    };
    toml::to_string(&Codex {
        model: sandbox.model.as_deref(),
        model_provider: NAME,
        web_search: "disabled",
        model_providers: BTreeMap::from([(NAME, provider)]),
    })
}
