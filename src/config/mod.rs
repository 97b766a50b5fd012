//! Settings: read from the environment once, checked together, typed ever after.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::domain::money::Usd;
use crate::domain::seal::EncryptionKeys;
use crate::domain::settlement::UnknownUsage;
use crate::domain::usage::Tokens;

mod rates;
mod read;
mod secure;
mod secret;
mod settings;
mod environment;

pub use environment::Environment;
pub use rates::{METERED_ENDPOINTS, RateLimits};
use read::{Reader, loopback};
pub use secret::{secret_file, secret_from, secret_from_file};
pub use secure::{ClientCertificates, JwksSource, JwtClaims, JwtSettings, TlsFiles};
pub use settings::{
    PROVIDER_PREFIXES, SECRET_FILES, SETTINGS, Setting, provider_settings, secret_settings,
    unknown_names,
};
use settings::{is_secret, without_login};

/// Who may spend for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunAuth {
    /// Whoever knows its id.
    RunId,
    /// Whoever has its token.
    Token,
}

impl RunAuth {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "run_id" => Some(Self::RunId),
            "token" => Some(Self::Token),
            _ => None,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl LogFormat {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// A provider's settings as they stand in the environment.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// One of [`PROVIDER_PREFIXES`].
    pub prefix: &'static str,
    /// Its key.
    pub api_key: Option<SecretString>,
    /// Where it lives, if not where the registry says. It may hold a login.
    pub base_url: Option<SecretString>,
    /// Whether the operator attests that it is in the EU.
    pub eu_endpoint: bool,
}

/// What the clients of the data plane may take up.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each field is the setting of its name in SETTINGS")]
pub struct ClientLimits {
    pub max_bodies_bytes: usize,
    pub max_connections: u32,
    pub max_connections_per_address: u32,
    pub head_timeout: Duration,
    pub write_timeout: Duration,
    pub idle_timeout: Duration,
}

/// Every setting, typed.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the setting of its name in SETTINGS")]
pub struct Config {
    pub listen_addr: SocketAddr,
    pub admin_listen_addr: SocketAddr,
    pub database_url: Option<SecretString>,
    pub data_dir: PathBuf,
    pub admin_token: Option<SecretString>,
    pub encryption_keys: Option<EncryptionKeys>,
    pub share_providers: bool,
    pub simulate_providers: bool,
    pub dev_cost_limit: Usd,
    pub dev_live: bool,
    pub dev_allow_remote: bool,
    pub run_auth: RunAuth,
    pub tls: Option<TlsFiles>,
    pub admin_tls: Option<TlsFiles>,
    pub jwt: Option<JwtSettings>,
    pub models_file: Option<PathBuf>,
    pub price_refresh: Duration,
    pub price_refresh_factor: u32,
    pub base_paths: Vec<String>,
    pub max_body_bytes: usize,
    pub max_response_bytes: usize,
    pub clients: ClientLimits,
    pub default_max_output: Tokens,
    pub min_output: Tokens,
    pub admission_wait: Duration,
    pub activation_wait: Duration,
    pub max_concurrency_per_run: u32,
    pub rates: RateLimits,
    pub lease: Duration,
    pub calls_retention_days: Option<u32>,
    pub budget_status: u16,
    pub unknown_usage: UnknownUsage,
    pub upstream_timeout: Duration,
    pub upstream_connect_timeout: Duration,
    pub upstream_idle_timeout: Duration,
    pub upstream_retries: u32,
    pub upstream_retry: Duration,
    pub keep_alive: Duration,
    pub shutdown_notice: Duration,
    pub shutdown_grace: Duration,
    pub workers: usize,
    pub log_format: LogFormat,
    pub rust_log: String,
    pub rungate_url: SecretString,
    pub providers: Vec<ProviderSettings>,
}

/// A setting that cannot be used, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct ConfigError {
    /// The environment variable.
    pub name: String,
    /// What is wrong and what would be right. Never the value of a secret.
    pub problem: String,
}

impl Config {
    /// Reads every setting through `get`.
    ///
    /// # Errors
    /// Everything that is wrong, together.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<ConfigError>> {
        let mut read = Reader { get, errors: Vec::new() };
        let cpus = std::thread::available_parallelism().map_or(2, usize::from);
        let config = Self {
            listen_addr: read.address("LISTEN_ADDR", loopback(8080)),
            admin_listen_addr: read.address("ADMIN_LISTEN_ADDR", loopback(8081)),
            database_url: read.database_url(),
            data_dir: read.text("DATA_DIR").unwrap_or_else(|| "./rungate-data".into()).into(),
            admin_token: read.secret("ADMIN_TOKEN"),
            encryption_keys: read.encryption_keys(),
            share_providers: read.flag("SHARE_PROVIDERS"),
            simulate_providers: read.flag("SIMULATE_PROVIDERS"),
            dev_cost_limit: read.parsed(
                "DEV_COST_LIMIT_USD",
                Usd::parse("1.00").unwrap_or_default(),
                "an amount of dollars such as 1.00",
                |text| Usd::parse(text).ok(),
            ),
            dev_live: read.flag("DEV_LIVE"),
            dev_allow_remote: read.flag("DEV_ALLOW_REMOTE"),
            run_auth: read.run_auth(),
            tls: read.tls(),
            admin_tls: read.admin_tls(),
            jwt: read.jwt(),
            models_file: read.text("MODELS_FILE").map(Into::into),
            price_refresh: read.seconds("PRICE_REFRESH_SECONDS", 0, 0),
            price_refresh_factor: read.count("PRICE_REFRESH_FACTOR", 4),
            base_paths: read.base_paths(),
            max_body_bytes: read.size("MAX_BODY_BYTES", 10_485_760),
            max_response_bytes: read.size("MAX_RESPONSE_BYTES", 67_108_864),
            clients: read.clients(),
            default_max_output: read.tokens("DEFAULT_MAX_OUTPUT_TOKENS", 16_384),
            min_output: read.tokens("MIN_OUTPUT_TOKENS", 256),
            admission_wait: read.seconds("ADMISSION_WAIT_SECONDS", 30, 0),
            activation_wait: read.seconds("ACTIVATION_WAIT_SECONDS", 8, 0),
            max_concurrency_per_run: read.count("MAX_CONCURRENCY_PER_RUN", 64),
            rates: read.rates(),
            lease: read.seconds("LEASE_SECONDS", 15, 2),
            calls_retention_days: read.retention("CALLS_RETENTION_DAYS"),
            budget_status: read.parsed("BUDGET_STATUS", 402, "402, 403 or 429", |text| {
                text.parse().ok().filter(|status| [402, 403, 429].contains(status))
            }),
            unknown_usage: read.parsed(
                "UNKNOWN_USAGE",
                UnknownUsage::Estimate,
                "`estimate` or `worst_case`",
                UnknownUsage::parse,
            ),
            upstream_timeout: read.seconds("UPSTREAM_TIMEOUT_SECONDS", 600, 1),
            upstream_connect_timeout: read.seconds("UPSTREAM_CONNECT_TIMEOUT_SECONDS", 10, 1),
            upstream_idle_timeout: read.seconds("UPSTREAM_IDLE_TIMEOUT_SECONDS", 120, 1),
            upstream_retries: u32::try_from(read.number("UPSTREAM_RETRIES", 2, 0, 10)).unwrap_or(2),
            upstream_retry: read.seconds("UPSTREAM_RETRY_SECONDS", 10, 0),
            keep_alive: read.seconds("KEEP_ALIVE_SECONDS", 15, 0),
            shutdown_notice: read.seconds("SHUTDOWN_NOTICE_SECONDS", 0, 0),
            shutdown_grace: read.seconds("SHUTDOWN_GRACE_SECONDS", 30, 0),
            workers: usize::try_from(read.number("WORKERS", cpus as u64, 1, 512)).unwrap_or(cpus),
            log_format: read.log_format(),
            rust_log: read.log_filter(),
            rungate_url: read
                .text("RUNGATE_URL")
                .unwrap_or_else(|| "http://127.0.0.1:8081".to_owned())
                .into(),
            providers: read.providers(),
        };
        if read.errors.is_empty() { Ok(config) } else { Err(read.errors) }
    }

    /// How URLs of the data plane begin.
    pub fn data_scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// How URLs of the control plane begin.
    pub fn admin_scheme(&self) -> &'static str {
        if self.admin_tls.is_some() { "https" } else { "http" }
    }

    /// Every setting with its value, secrets redacted, for `check-config`.
    pub fn redacted(get: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
        let given = |name: &str| get(name).filter(|value| !value.is_empty());
        let file = |name: &str| is_secret(name).then(|| given(&secret_file(name))).flatten();
        let shown = |name: &str, default: &str| match (given(name), file(name)) {
            (None, Some(path)) => secret::shown(path.trim()),
            (None, None) => format!("{default} (default)"),
            (Some(_), _) if is_secret(name) => "(set, redacted)".to_owned(),
            (Some(value), _) => without_login(name, value),
        };
        let mut rows: Vec<_> = SETTINGS
            .iter()
            .map(|setting| (setting.name.to_owned(), shown(setting.name, setting.default)))
            .collect();
        for name in provider_settings() {
            let value = shown(&name, "not set");
            rows.push((name, value));
        }
        rows
    }
}
