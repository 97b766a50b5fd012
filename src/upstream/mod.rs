//! The HTTP client towards providers: one request, one connection pool, no redirects.
//!
//! It knows where to send and with which key; it does not know what is in a body or what it costs.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::providers::{Format, KeyHeader, Provider};

pub use client::{Client, NoRoots, Trust};
pub use list::ListError;
use outgoing::Outgoing;
pub use outgoing::Sent;

pub mod address;
mod client;
mod list;
mod outgoing;
pub mod scrub;
pub mod retry_after;

/// Below the path of messages: where they are counted.
const COUNT_TOKENS: &str = "/count_tokens";
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// What follows an address of Azure that is a resource's alone, as its portal shows it: the v1 API
/// (`learn.microsoft.com/azure`, "Azure OpenAI v1 API").
const BARE_PATH: &str = "/openai/v1";
const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// How long a provider may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until the whole answer is there.
    pub whole: Duration,
    /// Between two bytes of an answer.
    pub idle: Duration,
}

/// A provider with the key and the address that somebody gave it.
#[derive(Clone)]
pub struct Access {
    /// Which provider.
    pub provider: &'static Provider,
    /// Whether whoever configured it attests that it is in the EU. Its address says nothing of it.
    pub eu_endpoint: bool,
    /// Whether its address may lead anywhere, private networks included; else a connection is made
    /// only to a public address, over TLS.
    anywhere: bool,
    endpoints: Vec<Endpoint>,
    models: Uri,
    secrets: Vec<SecretString>,
}

/// Where calls of a format go, and what shows who sends them.
#[derive(Clone)]
struct Endpoint {
    format: Format,
    uri: Uri,
    /// Where calls are counted instead of served, for nothing.
    counts: Option<Uri>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What is sent.
#[derive(Clone)]
pub struct Outbound {
    /// The format that it is written in.
    pub format: Format,
    /// The body.
    pub body: Bytes,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the input is to be counted, and nothing else.
    pub counts: bool,
    /// Features of Anthropic's that the client opted into.
    pub betas: Option<HeaderValue>,
}

/// An address or a key that cannot be used. The message names no secret.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AccessError {
    /// The base URL is malformed.
    #[error("{prefix}_BASE_URL is not a usable URL", prefix = .0)]
    BaseUrl(&'static str),
    /// There is no base URL, neither a setting nor one of the provider's own.
    #[error("{prefix}_BASE_URL is not set; the provider has no address of its own", prefix = .0)]
    NoBaseUrl(&'static str),
    /// The key cannot stand in a header.
    #[error("{prefix}_API_KEY holds characters that no HTTP header can carry", prefix = .0)]
    Key(&'static str),
}

/// Why no answer began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No connection came about: nothing was sent.
    NotSent,
    /// No connection came about in time: nothing was sent.
    ConnectTimeout,
    /// Something was sent and no answer came.
    NoAnswer,
}

impl Access {
    /// A provider under the operator's address and key.
    ///
    /// # Errors
    /// If either cannot be used.
    pub fn new(
        provider: &'static Provider,
        base_url: Option<&str>,
        key: Option<&SecretString>,
    ) -> Result<Self, AccessError> {
        let prefix = provider.settings_prefix;
        let base = base_url.or(provider.default_base_url).ok_or(AccessError::NoBaseUrl(prefix))?;
        let base = base.trim_end_matches('/');
        let bad = || AccessError::BaseUrl(prefix);
        let mut url = Url::parse(base).map_err(|_| bad())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad());
        }
        let login = take_login(&mut url);
        if provider.default_base_url.is_none() && url.path() == "/" {
            url.set_path(BARE_PATH);
        }
        let endpoints = provider.formats.iter().map(|format| {
            let base = url.as_str().trim_end_matches('/');
            let at = |path: &str| {
                Uri::try_from(format!("{base}{}{path}", format.path())).map_err(|_| bad())
            };
            let counts = match format {
                Format::Messages => Some(at(COUNT_TOKENS)?),
                Format::Chat | Format::Embeddings | Format::Responses => None,
            };
            let uri = at("")?;
            let key_header = key.map(|key| {
                credential(key_header(provider, *format), key).ok_or(AccessError::Key(prefix))
            });
            let mut headers: Vec<_> = login.clone().into_iter().collect();
            headers.extend(key_header.transpose()?);
            if *format == Format::Messages {
                headers.push((ANTHROPIC_VERSION, HeaderValue::from_static("2023-06-01")));
            }
            Ok(Endpoint { format: *format, uri, counts, headers })
        });
        let endpoints = endpoints.collect::<Result<_, AccessError>>()?;
        let models = format!("{}/models", url.as_str().trim_end_matches('/'));
        let models = Uri::try_from(models).map_err(|_| bad())?;
        let mut secrets: Vec<SecretString> = key.cloned().into_iter().collect();
        secrets.push(base.to_owned().into());
        if let Some(host) = url.host_str() {
            secrets.push(host.to_owned().into());
        }
        Ok(Self { provider, eu_endpoint: false, anywhere: true, endpoints, models, secrets })
    }

    /// The same, attested to be in the EU or not.
    #[must_use]
    pub fn in_the_eu(mut self, eu_endpoint: bool) -> Self {
        self.eu_endpoint = eu_endpoint;
        self
    }

    /// The same, connected to only over TLS and at public addresses, whatever its name leads to.
    #[must_use]
    pub fn in_public(mut self) -> Self {
        self.anywhere = false;
        self
    }

    /// What must not appear in anything that a client reads: the key, the address, the host.
    pub fn secrets(&self) -> &[SecretString] {
        &self.secrets
    }

    /// Sends a call; `sent` tells whether anything may have been written. Only these headers go
    /// upstream, whatever the client sent.
    ///
    /// # Errors
    /// If no answer began; the error says whether anything was sent.
    pub async fn send(
        &self,
        client: &Client,
        call: Outbound,
        sent: Sent,
    ) -> Result<Response<Incoming>, SendError> {
        let Outbound { format, body, stream, counts, betas } = call;
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.format == format);
        let endpoint = endpoint.ok_or(SendError::NotSent)?;
        let uri = if counts { endpoint.counts.as_ref() } else { Some(&endpoint.uri) };
        let uri = uri.ok_or(SendError::NotSent)?;
        const JSON: HeaderValue = HeaderValue::from_static("application/json");
        const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
        let mut request = Request::new(Outgoing::new(body, sent.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ACCEPT, if stream { EVENTS } else { JSON });
        for (name, value) in &endpoint.headers {
            headers.append(name.clone(), value.clone());
        }
        if let Some(betas) = betas {
            headers.insert(ANTHROPIC_BETA, betas);
        }
        client.send(request, self.anywhere).await.map_err(|error| {
            let kind = match (sent.happened(), client::is_timeout(&error)) {
                (true, _) => SendError::NoAnswer,
                (false, true) => SendError::ConnectTimeout,
                (false, false) => SendError::NotSent,
            };
            tracing::warn!(
                provider = self.provider.name,
                error = &error as &dyn std::error::Error,
                "upstream.send_failed"
            );
            kind
        })
    }
}

/// Takes the login out of an address: the header that shows it (RFC 7617), if there is one.
fn take_login(url: &mut Url) -> Option<(HeaderName, HeaderValue)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let name = decoded(url.username());
    let password = url.password().map(decoded).unwrap_or_default();
    // An address that cannot have a login has none to take.
    let _gone = url.set_username("").and_then(|()| url.set_password(None));
    if name.is_empty() && password.is_empty() {
        return None;
    }
    let login = Zeroizing::new(format!("{name}:{password}"));
    let login = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(&*login)));
    let mut value = HeaderValue::from_str(&login).ok()?;
    value.set_sensitive(true);
    Some((AUTHORIZATION, value))
}

/// Anthropic's own format has a header of its own for the key.
fn key_header(provider: &Provider, format: Format) -> KeyHeader {
    match format {
        Format::Messages => KeyHeader::XApiKey,
        Format::Chat | Format::Embeddings | Format::Responses => provider.key_header,
    }
}

/// The header that shows the key; `None` if no header can carry it.
fn credential(header: KeyHeader, key: &SecretString) -> Option<(HeaderName, HeaderValue)> {
    let key = key.expose_secret();
    let (name, text) = match header {
        KeyHeader::Bearer => (AUTHORIZATION, format!("Bearer {key}")),
        KeyHeader::ApiKey => (HeaderName::from_static("api-key"), key.to_owned()),
        KeyHeader::XApiKey => (HeaderName::from_static("x-api-key"), key.to_owned()),
    };
    let text = Zeroizing::new(text);
    // The header's own copy is not zeroised; it is marked, so that no Debug shows it.
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access({})", self.provider.name)
    }
}
