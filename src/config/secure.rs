//! The settings of TLS, of clients' certificates and of signed tokens.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::read::Reader;
use super::{RunAuth, SETTINGS};

/// The TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, in PEM, the listener's own first.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// How clients show who they are, if they are asked.
    pub clients: Option<ClientCertificates>,
}

/// Which certificates of clients are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities that they are of, in PEM.
    pub authorities: PathBuf,
    /// What the authorities have revoked, in PEM.
    pub revoked: Option<PathBuf>,
    /// Whether nobody comes in without one.
    pub required: bool,
}

/// Signed tokens of an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// Where its keys are.
    pub keys: JwksSource,
    /// How often keys behind a URL are read again.
    pub refresh: Duration,
    /// What the claim `iss` must be.
    pub issuer: String,
    /// What the claim `aud` must be or contain.
    pub audience: String,
    /// How far apart clocks may be.
    pub leeway: Duration,
    /// The claims that are read.
    pub claims: JwtClaims,
}

/// Where the keys of signed tokens are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// In a file, which is read again when it changes.
    File(PathBuf),
    /// Behind a URL.
    Url(Url),
}

/// The names of the claims that are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtClaims {
    /// Names the organization.
    pub organization: String,
    /// Names the run.
    pub run: String,
    /// Holds the scopes.
    pub scope: String,
    /// The scope that a token must have.
    pub needed_scope: String,
}

impl Reader<'_> {
    pub(super) fn run_auth(&mut self) -> RunAuth {
        self.parsed("RUN_AUTH", RunAuth::RunId, "`run_id` or `token`", RunAuth::parse)
    }

    /// The data plane's TLS.
    pub(super) fn tls(&mut self) -> Option<TlsFiles> {
        let files = self.certificate("TLS_CERT_FILE", "TLS_KEY_FILE");
        let required =
            self.parsed("TLS_CLIENT_AUTH", true, "`required` or `optional`", |text| match text {
                "required" => Some(true),
                "optional" => Some(false),
                _ => None,
            });
        let authorities = self.text("TLS_CLIENT_CA_FILE").map(PathBuf::from);
        if authorities.is_none() {
            self.need("TLS_CLIENT_CA_FILE", &["TLS_CLIENT_AUTH", "TLS_CLIENT_CRL_FILE"]);
        }
        if files.is_none() {
            self.need("TLS_CERT_FILE", &["TLS_CLIENT_CA_FILE"]);
        }
        let revoked = self.text("TLS_CLIENT_CRL_FILE").map(PathBuf::from);
        let clients =
            authorities.map(|authorities| ClientCertificates { authorities, revoked, required });
        files.map(|files| TlsFiles { clients, ..files })
    }

    /// The control plane's TLS.
    pub(super) fn admin_tls(&mut self) -> Option<TlsFiles> {
        self.certificate("ADMIN_TLS_CERT_FILE", "ADMIN_TLS_KEY_FILE")
    }

    fn certificate(&mut self, certificate: &str, key: &str) -> Option<TlsFiles> {
        match (self.text(certificate), self.text(key)) {
            (Some(certificate), Some(key)) => {
                Some(TlsFiles { certificate: certificate.into(), key: key.into(), clients: None })
            }
            (None, None) => None,
            (Some(_), None) => {
                self.need(key, &[certificate]);
                None
            }
            (None, Some(_)) => {
                self.need(certificate, &[key]);
                None
            }
        }
    }

    /// Which signed tokens are good, if any are.
    pub(super) fn jwt(&mut self) -> Option<JwtSettings> {
        let keys = self.jwks();
        let claim =
            |name: &str, default: &str| self.text(name).unwrap_or_else(|| default.to_owned());
        let claims = JwtClaims {
            organization: claim("JWT_ORGANIZATION_CLAIM", "organization_id"),
            run: claim("JWT_RUN_CLAIM", "run_id"),
            scope: claim("JWT_SCOPE_CLAIM", "scope"),
            needed_scope: claim("JWT_SCOPE", "inference"),
        };
        let refresh = self.seconds("JWT_JWKS_REFRESH_SECONDS", 300, 1);
        let leeway = Duration::from_secs(self.number("JWT_LEEWAY_SECONDS", 30, 0, 600));
        let (issuer, audience) = (self.text("JWT_ISSUER"), self.text("JWT_AUDIENCE"));
        let Some(keys) = keys else {
            if self.text("JWT_JWKS_FILE").or(self.text("JWT_JWKS_URL")).is_none() {
                self.need("JWT_JWKS_FILE or JWT_JWKS_URL", &JWT_SETTINGS);
            }
            return None;
        };
        for name in ["JWT_ISSUER", "JWT_AUDIENCE"] {
            if self.text(name).is_none() {
                self.wrong(name, "is needed beside JWT_JWKS_FILE and JWT_JWKS_URL");
            }
        }
        let (issuer, audience) = (issuer?, audience?);
        Some(JwtSettings { keys, refresh, issuer, audience, leeway, claims })
    }

    fn jwks(&mut self) -> Option<JwksSource> {
        match (self.text("JWT_JWKS_FILE"), self.text("JWT_JWKS_URL")) {
            (None, None) => None,
            (Some(file), None) => {
                self.need("JWT_JWKS_URL", &["JWT_JWKS_REFRESH_SECONDS"]);
                Some(JwksSource::File(file.into()))
            }
            (None, Some(url)) => {
                let url = Url::parse(&url).ok().filter(is_safe);
                if url.is_none() {
                    let problem = "is not a URL that begins with https:// (http:// is for \
                        loopback alone) and holds no login";
                    self.wrong("JWT_JWKS_URL", problem);
                }
                url.map(JwksSource::Url)
            }
            (Some(_), Some(_)) => {
                self.wrong("JWT_JWKS_URL", "is set, and so is JWT_JWKS_FILE; set one of the two");
                None
            }
        }
    }

    /// Complains of each of these settings that is set without the one that it needs.
    fn need(&mut self, needed: &str, names: &[&str]) {
        for name in names {
            let of_itself = SETTINGS.iter().find(|known| known.name == *name);
            let of_itself = of_itself.map(|known| known.default);
            if self.text(name).is_some_and(|text| Some(text.as_str()) != of_itself) {
                self.wrong(name, format!("is set without {needed}"));
            }
        }
    }
}

/// What means nothing without keys.
const JWT_SETTINGS: [&str; 8] = [
    "JWT_ISSUER",
    "JWT_AUDIENCE",
    "JWT_JWKS_REFRESH_SECONDS",
    "JWT_LEEWAY_SECONDS",
    "JWT_ORGANIZATION_CLAIM",
    "JWT_RUN_CLAIM",
    "JWT_SCOPE_CLAIM",
    "JWT_SCOPE",
];

/// Whoever can change the keys on their way can make any token.
fn is_safe(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = address.is_ok_and(|address| address.is_loopback()) || host == "localhost";
    let has_login = !url.username().is_empty() || url.password().is_some();
    !has_login && (url.scheme() == "https" || (url.scheme() == "http" && loopback))
}
