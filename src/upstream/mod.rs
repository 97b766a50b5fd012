//! The HTTP client towards providers: one request, one connection pool, no redirects.
//!
//! It knows where to send and with which key; it does not know what is in a body or what it costs.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret as _, SecretString};

use crate::providers::{KeyHeader, Provider};

use outgoing::Outgoing;
pub use outgoing::Sent;

mod outgoing;
pub mod scrub;
pub mod retry_after;

/// Idle connections kept to each provider by each worker.
const POOL_IDLE_PER_HOST: usize = 256;
/// How long an idle connection is kept; below what common servers keep theirs.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(55);

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

/// A provider with the key and the address that the operator gave it.
#[derive(Clone)]
pub struct Access {
    /// Which provider.
    pub provider: &'static Provider,
    chat: Url,
    credential: Option<(HeaderName, HeaderValue)>,
    secrets: Vec<SecretString>,
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
        let chat = Url::parse(&format!("{base}/chat/completions"))
            .map_err(|_| AccessError::BaseUrl(prefix))?;
        let credential = key
            .map(|key| credential(provider.key_header, key).ok_or(AccessError::Key(prefix)))
            .transpose()?;
        let mut secrets: Vec<SecretString> = key.cloned().into_iter().collect();
        secrets.push(base.to_owned().into());
        if let Some(host) = chat.host_str() {
            secrets.push(host.to_owned().into());
        }
        Ok(Self { provider, chat, credential, secrets })
    }

    /// What must not appear in anything that a client reads: the key, the address, the host.
    pub fn secrets(&self) -> &[SecretString] {
        &self.secrets
    }

    /// Sends a chat completion; `sent` tells whether anything may have been written. Only these
    /// headers go upstream, whatever the client sent.
    ///
    /// # Errors
    /// If no answer began; the error says whether anything was sent.
    pub async fn send_chat(
        &self,
        client: &Client,
        body: Bytes,
        stream: bool,
        sent: Sent,
    ) -> Result<reqwest::Response, SendError> {
        const JSON: HeaderValue = HeaderValue::from_static("application/json");
        const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
        let mut request = client
            .post(self.chat.clone())
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, if stream { EVENTS } else { JSON })
            .body(reqwest::Body::wrap(Outgoing::new(body, sent.clone())));
        if let Some((name, value)) = &self.credential {
            request = request.header(name.clone(), value.clone());
        }
        request.send().await.map_err(|error| {
            let kind = match (sent.happened(), error.is_timeout()) {
                (true, _) => SendError::NoAnswer,
                (false, true) => SendError::ConnectTimeout,
                (false, false) => SendError::NotSent,
            };
            let error = error.without_url();
            tracing::warn!(
                provider = self.provider.name,
                error = &error as &dyn std::error::Error,
                "upstream.send_failed"
            );
            kind
        })
    }
}

/// The header that shows the key; `None` if no header can carry it.
fn credential(header: KeyHeader, key: &SecretString) -> Option<(HeaderName, HeaderValue)> {
    let key = key.expose_secret();
    let (name, text) = match header {
        KeyHeader::Bearer => (AUTHORIZATION, &*format!("Bearer {key}")),
        KeyHeader::ApiKey => (HeaderName::from_static("api-key"), key),
    };
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access({})", self.provider.name)
    }
}

/// A client for one worker. Its connections are driven by the worker that made them, so each
/// worker has its own and none is woken for another's bytes.
///
/// # Errors
/// If the TLS roots cannot be loaded.
pub fn client(deadlines: &Deadlines) -> Result<Client, reqwest::Error> {
    Client::builder()
        .connect_timeout(deadlines.connect)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .pool_max_idle_per_host(POOL_IDLE_PER_HOST)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .user_agent(concat!("rungate/", env!("CARGO_PKG_VERSION")))
        .referer(false)
        .build()
}
