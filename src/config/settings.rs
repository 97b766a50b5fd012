//! The table of settings: their names, defaults and meanings.

use super::secret::secret_file;

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
pub const SETTINGS: [Setting; 64] = [
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
        "ENCRYPTION_KEY",
        "not set",
        "encrypts the provider keys of organizations: 32 bytes in base64; several, separated by \
         commas: the first encrypts, all decrypt",
    ),
    setting(
        "SHARE_PROVIDERS",
        "false",
        "every organization may call with the operator's provider keys where it has none; else \
         only the default one",
    ),
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
    setting(
        "TLS_CERT_FILE",
        "none",
        "certificate chain (PEM) of the data plane; with it, TLS only",
    ),
    setting("TLS_KEY_FILE", "none", "private key (PEM) of that certificate"),
    setting("TLS_CLIENT_CA_FILE", "none", "authorities (PEM) whose clients' certificates are good"),
    setting(
        "TLS_CLIENT_AUTH",
        "required",
        "`required`: no connection without a client certificate; `optional`: with or without",
    ),
    setting("TLS_CLIENT_CRL_FILE", "none", "revocation lists (PEM), one of each authority"),
    setting("ADMIN_TLS_CERT_FILE", "none", "certificate chain (PEM) of the control plane"),
    setting("ADMIN_TLS_KEY_FILE", "none", "private key (PEM) of that certificate"),
    setting("JWT_JWKS_FILE", "none", "keys (JWK set) of signed tokens; without keys none is good"),
    setting("JWT_JWKS_URL", "none", "where to get these keys instead: https, or http on loopback"),
    setting("JWT_JWKS_REFRESH_SECONDS", "300", "how often they are read again from the URL"),
    setting("JWT_ISSUER", "none", "what `iss` of a signed token must be; needed with keys"),
    setting("JWT_AUDIENCE", "none", "what `aud` must be or contain; needed with keys"),
    setting("JWT_LEEWAY_SECONDS", "30", "how far apart clocks may be for `exp` and `nbf`"),
    setting(
        "JWT_ORGANIZATION_CLAIM",
        "organization_id",
        "claim that names the organization; without it, the default one",
    ),
    setting("JWT_RUN_CLAIM", "run_id", "claim that names the run; without it, the request does"),
    setting("JWT_SCOPE_CLAIM", "scope", "claim with the scopes: a text with spaces, or a list"),
    setting("JWT_SCOPE", "inference", "scope that a signed token must have"),
    setting("MODELS_FILE", "built in", "model catalogue (TOML) instead of the built-in one"),
    setting(
        "PRICE_REFRESH_SECONDS",
        "0",
        "how often `serve` asks Chutes, OpenRouter and Targon for the prices of the catalogue's \
         models; 0 is never",
    ),
    setting(
        "PRICE_REFRESH_FACTOR",
        "4",
        "how many times dearer or cheaper than the catalogue a price may be and still be believed",
    ),
    setting(
        "BASE_PATHS",
        "/v1,/inference/v1,/api/v1",
        "where the OpenAI endpoints are mounted, separated by commas",
    ),
    setting("MAX_BODY_BYTES", "10485760", "largest request body, decoded; larger gets 413"),
    setting("MAX_RESPONSE_BYTES", "67108864", "largest answer of a provider"),
    setting(
        "MAX_BODIES_BYTES",
        "268435456",
        "bytes of all request bodies over 64 KiB at once; one run may hold a quarter of them",
    ),
    setting(
        "MAX_CONNECTIONS",
        "8192",
        "open connections of clients; fewer if the process may not open two files for each",
    ),
    setting(
        "MAX_CONNECTIONS_PER_ADDRESS",
        "4096",
        "open connections of one address (of IPv6, one /64); sandboxes or a balancer may share one",
    ),
    setting(
        "CLIENT_HEAD_TIMEOUT_SECONDS",
        "15",
        "longest that a client may take to send a request's head",
    ),
    setting(
        "CLIENT_WRITE_TIMEOUT_SECONDS",
        "60",
        "longest that a client may read nothing of an answer that waits for it",
    ),
    setting("CLIENT_IDLE_TIMEOUT_SECONDS", "75", "longest that an idle connection is kept"),
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
    setting(
        "RATE_LIMIT_SHARE",
        "1",
        "what this gateway enforces of every limit on pace: with three gateways `1/3`",
    ),
    setting(
        "ENDPOINT_RATE_LIMITS",
        "none",
        "requests a minute of one run or key to endpoints, as in `/v1/messages=60`, by commas",
    ),
    setting("LEASE_SECONDS", "15", "how soon a dead gateway's calls are swept"),
    setting(
        "CALLS_RETENTION_DAYS",
        "0",
        "a month's calls leave `calls` when all are that old, 31 at least; 0 keeps them for ever",
    ),
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
    setting(
        "UPSTREAM_RETRIES",
        "2",
        "most retries of a call whose provider cannot be reached or answers 429, 502, 503 or 529",
    ),
    setting("UPSTREAM_RETRY_SECONDS", "10", "how long after a call was sent it is still retried"),
    setting(
        "KEEP_ALIVE_SECONDS",
        "15",
        "silence before a stream's first byte after which its client gets a comment; 0 is never",
    ),
    setting(
        "SHUTDOWN_NOTICE_SECONDS",
        "0",
        "after SIGTERM `/readyz` fails, but calls are admitted, until load balancers have noticed",
    ),
    setting("SHUTDOWN_GRACE_SECONDS", "30", "draining after SIGTERM"),
    setting("WORKERS", "number of CPUs", "threads that serve the data plane"),
    setting("LOG_FORMAT", "text", "`text` or `json`"),
    setting(
        "RUST_LOG",
        "info",
        "which log lines are written, as in the tracing crate; `dev` writes warnings only unless \
         it is set",
    ),
    setting("RUNGATE_URL", "http://127.0.0.1:8081", "the control plane that the CLI speaks to"),
];

/// How a secret may be given by a file, for whoever reads about the settings.
pub const SECRET_FILES: &str = "a file that holds the secret, instead of the setting itself; for \
    `DATABASE_URL`, `ADMIN_TOKEN`, `ENCRYPTION_KEY` and every `<P>_API_KEY`";

/// How the providers' settings begin; `_API_KEY`, `_BASE_URL` and `_EU_ENDPOINT` follow.
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

/// The names of all providers' settings.
pub fn provider_settings() -> impl Iterator<Item = String> {
    PROVIDER_PREFIXES.iter().flat_map(|prefix| {
        ["API_KEY", "BASE_URL", "EU_ENDPOINT"].map(|setting| format!("{prefix}_{setting}"))
    })
}

/// The names of all settings that hold secrets. Each may be given by a file instead, which
/// [`secret_file`] names.
pub fn secret_settings() -> impl Iterator<Item = String> {
    let settings = SETTINGS.iter().map(|setting| setting.name.to_owned());
    settings.chain(provider_settings()).filter(|name| is_secret(name))
}

/// Names that stand in a `.env` file and mean nothing here.
pub fn unknown_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names
        .filter(|name| {
            !SETTINGS.iter().any(|setting| setting.name == *name)
                && !provider_settings().any(|setting| setting == **name)
                && !secret_settings().any(|setting| secret_file(&setting) == **name)
        })
        .collect()
}

/// What may be shown of a setting that may be a URL: not who logs in there, nor with what. Whatever
/// stands before the last `@` is hidden, because a password may hold any character.
pub(super) fn without_login(name: &str, value: String) -> String {
    if !name.ends_with("_BASE_URL") && name != "RUNGATE_URL" {
        return value;
    }
    let Some((before, rest)) = value.rsplit_once('@') else { return value };
    let scheme =
        before.split_once("://").map_or(String::new(), |(scheme, _)| format!("{scheme}://"));
    format!("{scheme}(redacted)@{rest}")
}

pub(super) fn is_secret(name: &str) -> bool {
    name.ends_with("_API_KEY") || ["ADMIN_TOKEN", "DATABASE_URL", "ENCRYPTION_KEY"].contains(&name)
}
