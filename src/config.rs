//! Settings: read from the environment once, checked together, typed ever after.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::money::Usd;
use crate::domain::settlement::UnknownUsage;
use crate::domain::usage::Tokens;

/// One setting, for `--help`, the README and the check of names in `.env`.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// What holds if it is not set, as text.
    pub default: &'static str,
    /// What it means, in one line.
    pub meaning: &'static str,
}

const fn setting(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, default, meaning }
}

/// Every setting but those of the providers, in the order of the documentation.
pub const SETTINGS: [Setting; 30] = [
    setting("LISTEN_ADDR", "127.0.0.1:8080", "data plane: what sandboxes reach"),
    setting(
        "ADMIN_LISTEN_ADDR",
        "127.0.0.1:8081",
        "control plane: orchestrators, operators, metrics; never for a sandbox",
    ),
    setting("DATABASE_URL", "private Postgres", "the Postgres that keeps the ledger"),
    setting("DATA_DIR", "./rungate-data", "private Postgres and generated token"),
    setting("ADMIN_TOKEN", "generated", "the operator's bearer token on the control plane"),
    setting(
        "SIMULATE_PROVIDERS",
        "false",
        "`serve` answers every model from the simulated provider, in the same process",
    ),
    setting("DEV_COST_LIMIT_USD", "1.00", "cap of a run that `dev` sees for the first time"),
    setting("DEV_LIVE", "false", "`dev` calls real providers, whose keys are then needed"),
    setting("DEV_ALLOW_REMOTE", "false", "`dev` may listen on addresses other than loopback"),
    setting(
        "RUN_AUTH",
        "run_id",
        "`run_id`: a valid run id is enough; `token`: every call must carry the run's token",
    ),
    setting("MODELS_FILE", "built in", "model catalogue (TOML) instead of the built-in one"),
    setting(
        "BASE_PATHS",
        "/v1,/inference/v1,/api/v1",
        "where the OpenAI endpoints are mounted, separated by commas",
    ),
    setting("MAX_BODY_BYTES", "10485760", "largest request body, decoded; larger gets 413"),
    setting("MAX_RESPONSE_BYTES", "67108864", "largest answer of a provider"),
    setting(
        "DEFAULT_MAX_OUTPUT_TOKENS",
        "16384",
        "output that is reserved for when the client asked for no maximum",
    ),
    setting(
        "MIN_OUTPUT_TOKENS",
        "256",
        "least output that a call is lowered to when the cap cannot afford it in full",
    ),
    setting("ADMISSION_WAIT_SECONDS", "30", "longest wait for money that is only reserved"),
    setting("ACTIVATION_WAIT_SECONDS", "8", "longest wait for a run that is not running yet"),
    setting(
        "MAX_CONCURRENCY_PER_RUN",
        "64",
        "calls at once of a run that names no limit, for each gateway; waiting ones count",
    ),
    setting("LEASE_SECONDS", "15", "how soon a dead gateway's calls are swept"),
    setting("BUDGET_STATUS", "402", "status of a spent cap: 402, 403 or 429"),
    setting(
        "UNKNOWN_USAGE",
        "estimate",
        "what a stream without usage costs: `estimate` or `worst_case`",
    ),
    setting("UPSTREAM_TIMEOUT_SECONDS", "600", "longest whole answer of a provider"),
    setting("UPSTREAM_CONNECT_TIMEOUT_SECONDS", "10", "longest connecting to a provider"),
    setting(
        "UPSTREAM_IDLE_TIMEOUT_SECONDS",
        "120",
        "longest silence of a provider within an answer",
    ),
    setting("SHUTDOWN_GRACE_SECONDS", "30", "draining after SIGTERM"),
    setting("WORKERS", "number of CPUs", "threads that serve the data plane"),
    setting("LOG_FORMAT", "text", "`text` or `json`"),
    setting("RUST_LOG", "info", "which log lines are written, as in the tracing crate"),
    setting("RUNGATE_URL", "http://127.0.0.1:8081", "the control plane that the CLI speaks to"),
];

/// How the providers' settings begin; `_API_KEY` and `_BASE_URL` follow.
pub const PROVIDER_PREFIXES: [&str; 9] = [
    "OPENAI",
    "ANTHROPIC",
    "MISTRAL",
    "AZURE_OPENAI",
    "GROQ",
    "DEEPSEEK",
    "CHUTES",
    "OPENROUTER",
    "TARGON",
];

/// Who may spend for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunAuth {
    /// Whoever knows its id.
    RunId,
    /// Whoever has its token.
    Token,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// A provider's settings as they stand in the environment.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// One of [`PROVIDER_PREFIXES`].
    pub prefix: &'static str,
    /// Its key.
    pub api_key: Option<SecretString>,
    /// Where it lives, if not where the registry says.
    pub base_url: Option<String>,
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
    pub simulate_providers: bool,
    pub dev_cost_limit: Usd,
    pub dev_live: bool,
    pub dev_allow_remote: bool,
    pub run_auth: RunAuth,
    pub models_file: Option<PathBuf>,
    pub base_paths: Vec<String>,
    pub max_body_bytes: usize,
    pub max_response_bytes: usize,
    pub default_max_output: Tokens,
    pub min_output: Tokens,
    pub admission_wait: Duration,
    pub activation_wait: Duration,
    pub max_concurrency_per_run: u32,
    pub lease: Duration,
    pub budget_status: u16,
    pub unknown_usage: UnknownUsage,
    pub upstream_timeout: Duration,
    pub upstream_connect_timeout: Duration,
    pub upstream_idle_timeout: Duration,
    pub shutdown_grace: Duration,
    pub workers: usize,
    pub log_format: LogFormat,
    pub rust_log: String,
    pub rungate_url: String,
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

/// Reads values one by one and remembers what was wrong.
struct Reader<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.get)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn secret(&self, name: &str) -> Option<SecretString> {
        self.text(name).map(SecretString::from)
    }

    fn wrong(&mut self, name: &str, problem: impl Into<String>) {
        self.errors.push(ConfigError { name: name.to_owned(), problem: problem.into() });
    }

    fn parsed<T>(
        &mut self,
        name: &str,
        default: T,
        right: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        let Some(text) = self.text(name) else { return default };
        parse(&text).unwrap_or_else(|| {
            self.wrong(name, format!("{text:?} is not {right}"));
            default
        })
    }

    fn address(&mut self, name: &str, default: SocketAddr) -> SocketAddr {
        self.parsed(name, default, "an address such as 127.0.0.1:8080", |text| {
            SocketAddr::from_str(text).ok()
        })
    }

    fn flag(&mut self, name: &str) -> bool {
        self.parsed(name, false, "true or false", |text| match text {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    fn number(&mut self, name: &str, default: u64, least: u64, most: u64) -> u64 {
        let right = format!("a whole number from {least} to {most}");
        self.parsed(name, default, &right, |text| {
            text.parse().ok().filter(|number| (least..=most).contains(number))
        })
    }

    fn seconds(&mut self, name: &str, default: u64, least: u64) -> Duration {
        Duration::from_secs(self.number(name, default, least, 86_400))
    }

    fn size(&mut self, name: &str, default: usize) -> usize {
        usize::try_from(self.number(name, default as u64, 1024, 1 << 32)).unwrap_or(default)
    }

    fn base_paths(&mut self) -> Vec<String> {
        let default = || ["/v1", "/inference/v1", "/api/v1"].map(str::to_owned).to_vec();
        let right = "a list of paths such as /v1,/api/v1, each beginning with a slash, none `/`";
        self.parsed("BASE_PATHS", default(), right, |text| {
            let paths: Vec<String> =
                text.split(',').map(|path| path.trim().trim_end_matches('/').to_owned()).collect();
            let plain = |path: &String| {
                path.len() > 1
                    && path.starts_with('/')
                    && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.".contains(&b))
            };
            paths.iter().all(plain).then_some(paths)
        })
    }

    fn providers(&mut self) -> Vec<ProviderSettings> {
        let mut providers = Vec::with_capacity(PROVIDER_PREFIXES.len());
        for prefix in PROVIDER_PREFIXES {
            let name = format!("{prefix}_BASE_URL");
            let base_url = self.text(&name).map(|url| url.trim_end_matches('/').to_owned());
            if let Some(url) = &base_url
                && !(url.starts_with("https://") || url.starts_with("http://"))
            {
                self.wrong(&name, "is not a URL that begins with https:// or http://");
            }
            let key_name = format!("{prefix}_API_KEY");
            let api_key = self.secret(&key_name);
            if api_key.as_ref().is_some_and(|key| !is_header_text(key.expose_secret())) {
                self.wrong(&key_name, "holds characters that no HTTP header can carry");
            }
            providers.push(ProviderSettings { prefix, api_key, base_url });
        }
        providers
    }
}

fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
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
            database_url: read.secret("DATABASE_URL"),
            data_dir: read.text("DATA_DIR").unwrap_or_else(|| "./rungate-data".into()).into(),
            admin_token: read.secret("ADMIN_TOKEN"),
            simulate_providers: read.flag("SIMULATE_PROVIDERS"),
            dev_cost_limit: read.parsed(
                "DEV_COST_LIMIT_USD",
                Usd::parse("1.00").unwrap_or_default(),
                "an amount of dollars such as 1.00",
                |text| Usd::parse(text).ok(),
            ),
            dev_live: read.flag("DEV_LIVE"),
            dev_allow_remote: read.flag("DEV_ALLOW_REMOTE"),
            run_auth: read.parsed("RUN_AUTH", RunAuth::RunId, "`run_id` or `token`", |text| {
                match text {
                    "run_id" => Some(RunAuth::RunId),
                    "token" => Some(RunAuth::Token),
                    _ => None,
                }
            }),
            models_file: read.text("MODELS_FILE").map(PathBuf::from),
            base_paths: read.base_paths(),
            max_body_bytes: read.size("MAX_BODY_BYTES", 10_485_760),
            max_response_bytes: read.size("MAX_RESPONSE_BYTES", 67_108_864),
            default_max_output: Tokens::new(read.number(
                "DEFAULT_MAX_OUTPUT_TOKENS",
                16_384,
                1,
                crate::domain::usage::MAX_TOKENS,
            )),
            min_output: Tokens::new(read.number("MIN_OUTPUT_TOKENS", 256, 1, 1 << 20)),
            admission_wait: read.seconds("ADMISSION_WAIT_SECONDS", 30, 0),
            activation_wait: read.seconds("ACTIVATION_WAIT_SECONDS", 8, 0),
            max_concurrency_per_run: u32::try_from(
                read.number("MAX_CONCURRENCY_PER_RUN", 64, 1, 65_536),
            )
            .unwrap_or(64),
            lease: read.seconds("LEASE_SECONDS", 15, 2),
            budget_status: read.parsed("BUDGET_STATUS", 402, "402, 403 or 429", |text| {
                text.parse().ok().filter(|status| [402, 403, 429].contains(status))
            }),
            unknown_usage: read.parsed(
                "UNKNOWN_USAGE",
                UnknownUsage::Estimate,
                "`estimate` or `worst_case`",
                |text| match text {
                    "estimate" => Some(UnknownUsage::Estimate),
                    "worst_case" => Some(UnknownUsage::WorstCase),
                    _ => None,
                },
            ),
            upstream_timeout: read.seconds("UPSTREAM_TIMEOUT_SECONDS", 600, 1),
            upstream_connect_timeout: read.seconds("UPSTREAM_CONNECT_TIMEOUT_SECONDS", 10, 1),
            upstream_idle_timeout: read.seconds("UPSTREAM_IDLE_TIMEOUT_SECONDS", 120, 1),
            shutdown_grace: read.seconds("SHUTDOWN_GRACE_SECONDS", 30, 0),
            workers: usize::try_from(read.number("WORKERS", cpus as u64, 1, 512)).unwrap_or(cpus),
            log_format: read.parsed("LOG_FORMAT", LogFormat::Text, "`text` or `json`", |text| {
                match text {
                    "text" => Some(LogFormat::Text),
                    "json" => Some(LogFormat::Json),
                    _ => None,
                }
            }),
            rust_log: read.text("RUST_LOG").unwrap_or_else(|| "info".into()),
            rungate_url: read
                .text("RUNGATE_URL")
                .unwrap_or_else(|| "http://127.0.0.1:8081".into()),
            providers: read.providers(),
        };
        if read.errors.is_empty() { Ok(config) } else { Err(read.errors) }
    }

    /// Every setting with its value, secrets redacted, for `check-config`.
    pub fn redacted(get: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
        let shown = |name: &str, default: &str| match get(name).filter(|value| !value.is_empty()) {
            None => format!("{default} (default)"),
            Some(_) if is_secret(name) => "(set, redacted)".to_owned(),
            Some(value) => value,
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

/// The names of all providers' settings.
pub fn provider_settings() -> impl Iterator<Item = String> {
    PROVIDER_PREFIXES
        .iter()
        .flat_map(|prefix| [format!("{prefix}_API_KEY"), format!("{prefix}_BASE_URL")])
}

/// Names that stand in a `.env` file and mean nothing here.
pub fn unknown_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names
        .filter(|name| {
            !SETTINGS.iter().any(|setting| setting.name == *name)
                && !provider_settings().any(|setting| setting == **name)
        })
        .collect()
}

fn is_secret(name: &str) -> bool {
    name.ends_with("_API_KEY") || name == "ADMIN_TOKEN" || name == "DATABASE_URL"
}
