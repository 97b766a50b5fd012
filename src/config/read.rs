//! Reading settings one by one, remembering everything that is wrong.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tracing_subscriber::EnvFilter;

use crate::domain::seal::EncryptionKeys;
use crate::domain::usage::{MAX_TOKENS, Tokens};

use super::rates::{self, RateLimits};
use super::secret::{secret_file, secret_from_file};
use super::settings::PROVIDER_PREFIXES;
use super::{ClientLimits, ConfigError, LogFormat, ProviderSettings};

/// Reads values one by one and remembers what was wrong.
pub(super) struct Reader<'a> {
    pub(super) get: &'a dyn Fn(&str) -> Option<String>,
    pub(super) errors: Vec<ConfigError>,
}

impl Reader<'_> {
    pub(super) fn text(&self, name: &str) -> Option<String> {
        (self.get)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// A secret, given by its setting or by the file that its other setting names.
    pub(super) fn secret(&mut self, name: &str) -> Option<SecretString> {
        let file = secret_file(name);
        match (self.text(name), self.text(&file)) {
            (given, None) => given.map(SecretString::from),
            (Some(_), Some(_)) => {
                self.wrong(name, format!("is set, and so is {file}; set one of the two"));
                None
            }
            (None, Some(path)) => {
                let read = secret_from_file(Path::new(&path));
                read.map_err(|problem| self.wrong(&file, problem)).ok()
            }
        }
    }

    pub(super) fn wrong(&mut self, name: &str, problem: impl Into<String>) {
        self.errors.push(ConfigError { name: name.to_owned(), problem: problem.into() });
    }

    pub(super) fn parsed<T>(
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

    pub(super) fn address(&mut self, name: &str, default: SocketAddr) -> SocketAddr {
        self.parsed(name, default, "an address such as 127.0.0.1:8080", |text| {
            SocketAddr::from_str(text).ok()
        })
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        self.parsed(name, false, "true or false", |text| match text {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    pub(super) fn number(&mut self, name: &str, default: u64, least: u64, most: u64) -> u64 {
        let right = format!("a whole number from {least} to {most}");
        self.parsed(name, default, &right, |text| {
            text.parse().ok().filter(|number| (least..=most).contains(number))
        })
    }

    pub(super) fn count(&mut self, name: &str, default: u32) -> u32 {
        u32::try_from(self.number(name, u64::from(default), 1, 65_536)).unwrap_or(default)
    }

    pub(super) fn tokens(&mut self, name: &str, default: u64) -> Tokens {
        Tokens::new(self.number(name, default, 1, MAX_TOKENS))
    }

    pub(super) fn seconds(&mut self, name: &str, default: u64, least: u64) -> Duration {
        Duration::from_secs(self.number(name, default, least, 86_400))
    }

    /// A number of days; `None` for ever. Reports of the last month look at single calls.
    pub(super) fn retention(&mut self, name: &str) -> Option<u32> {
        let right = "0, or a whole number from 31 to 36500";
        let days = self.parsed(name, 0, right, |text| {
            text.parse().ok().filter(|days| *days == 0 || (31..=36_500).contains(days))
        });
        (days > 0).then_some(days)
    }

    pub(super) fn size(&mut self, name: &str, default: usize) -> usize {
        usize::try_from(self.number(name, default as u64, 1024, 1 << 32)).unwrap_or(default)
    }

    pub(super) fn clients(&mut self) -> ClientLimits {
        ClientLimits {
            max_bodies_bytes: self.size("MAX_BODIES_BYTES", 268_435_456),
            max_connections: self.count("MAX_CONNECTIONS", 8192),
            max_connections_per_address: self.count("MAX_CONNECTIONS_PER_ADDRESS", 4096),
            head_timeout: self.seconds("CLIENT_HEAD_TIMEOUT_SECONDS", 15, 1),
            write_timeout: self.seconds("CLIENT_WRITE_TIMEOUT_SECONDS", 60, 1),
            idle_timeout: self.seconds("CLIENT_IDLE_TIMEOUT_SECONDS", 75, 1),
        }
    }

    pub(super) fn rates(&mut self) -> RateLimits {
        let right = "`1` or one of up to 4096 parts such as `1/3`";
        let gateways = self.parsed("RATE_LIMIT_SHARE", NonZeroU32::MIN, right, rates::share);
        let name = "ENDPOINT_RATE_LIMITS";
        let endpoints = self.text(name).map_or(Ok(Vec::new()), |text| rates::endpoints(&text));
        let endpoints = endpoints.unwrap_or_else(|error| {
            self.wrong(name, error.to_string());
            Vec::new()
        });
        RateLimits { gateways, endpoints }
    }

    /// The URL is a secret, so what is wrong with it is said without it.
    pub(super) fn database_url(&mut self) -> Option<SecretString> {
        let url = self.secret("DATABASE_URL")?;
        let begins = |scheme: &&str| url.expose_secret().starts_with(scheme);
        if !["postgres://", "postgresql://"].iter().any(begins) {
            self.wrong("DATABASE_URL", "does not begin with postgres:// or postgresql://");
        }
        Some(url)
    }

    /// What is wrong with the keys is said without them.
    pub(super) fn encryption_keys(&mut self) -> Option<EncryptionKeys> {
        let list = self.secret("ENCRYPTION_KEY")?;
        let keys = EncryptionKeys::parse(list.expose_secret());
        keys.map_err(|error| self.wrong("ENCRYPTION_KEY", error.to_string())).ok()
    }

    pub(super) fn log_format(&mut self) -> LogFormat {
        self.parsed("LOG_FORMAT", LogFormat::Text, "`text` or `json`", LogFormat::parse)
    }

    pub(super) fn log_filter(&mut self) -> String {
        let right = "a filter such as `info` or `rungate=debug,warn`";
        self.parsed("RUST_LOG", "info".to_owned(), right, |text| {
            EnvFilter::try_new(text).is_ok().then(|| text.to_owned())
        })
    }

    pub(super) fn base_paths(&mut self) -> Vec<String> {
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

    pub(super) fn providers(&mut self) -> Vec<ProviderSettings> {
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
            providers.push(ProviderSettings {
                prefix,
                api_key,
                base_url: base_url.map(Into::into),
                eu_endpoint: self.flag(&format!("{prefix}_EU_ENDPOINT")),
            });
        }
        providers
    }
}

fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}
