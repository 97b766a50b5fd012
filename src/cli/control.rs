//! A client of the control plane. What goes wrong becomes one line that says what to do.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take that nobody asked to wait for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// One control plane, and the right to ask it.
pub(super) struct ControlPlane {
    client: Client,
    url: String,
    authorization: Option<HeaderValue>,
}

/// A request.
pub(super) struct Ask<'a> {
    /// Its method.
    pub(super) method: Method,
    /// The path, which begins with a slash, and the query.
    pub(super) path: &'a str,
    /// The body, in JSON.
    pub(super) body: Option<String>,
    /// How long the control plane was asked to wait.
    pub(super) wait: Duration,
}

impl<'a> Ask<'a> {
    /// Asks for what is there.
    pub(super) fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: None, wait: Duration::ZERO }
    }

    /// Asks for something to be done.
    pub(super) fn send(method: Method, path: &'a str, body: String) -> Self {
        Self { method, path, body: Some(body), wait: Duration::ZERO }
    }
}

/// The control plane's refusals.
#[derive(Deserialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Deserialize)]
struct RefusalBody {
    message: String,
    code: String,
}

impl ControlPlane {
    /// A client of the control plane at `url`. Proxies and redirects are for others: the token
    /// goes to this address and nowhere else.
    pub(super) fn new(url: &str, token: Option<SecretString>) -> anyhow::Result<Self> {
        let url = url.trim_end_matches('/').to_owned();
        let is_url = url.starts_with("http://") || url.starts_with("https://");
        if !is_url || reqwest::Url::parse(&url).is_err() {
            bail!("RUNGATE_URL is not a URL such as http://127.0.0.1:8081");
        }
        let authorization = token.map(|token| -> anyhow::Result<HeaderValue> {
            let text = SecretString::from(format!("Bearer {}", token.expose_secret()));
            let mut value = HeaderValue::from_str(text.expose_secret())
                .context("ADMIN_TOKEN holds characters that no HTTP header can carry")?;
            value.set_sensitive(true);
            Ok(value)
        });
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .context("the HTTP client cannot be made")?;
        Ok(Self { client, url, authorization: authorization.transpose()? })
    }

    /// Asks, and reads the whole answer.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> anyhow::Result<String> {
        let request = self.request(&ask).timeout(ANSWER_TIMEOUT + ask.wait);
        let answer = self.accept(request).await?;
        answer.text().await.map_err(|_| self.broke_off())
    }

    /// Asks for rows, a line each, and hands on what comes as it comes.
    pub(super) async fn lines(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let request = self.request(&Ask::get(path)).header(ACCEPT, "application/x-ndjson");
        let mut answer = self.accept(request).await?;
        while let Some(chunk) = answer.chunk().await.map_err(|_| self.broke_off())? {
            each(&chunk)?;
        }
        Ok(())
    }

    fn request(&self, ask: &Ask<'_>) -> reqwest::RequestBuilder {
        let mut request =
            self.client.request(ask.method.clone(), format!("{}{}", self.url, ask.path));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        match &ask.body {
            Some(body) => request.header(CONTENT_TYPE, "application/json").body(body.clone()),
            None => request,
        }
    }

    async fn accept(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Response> {
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.text().await.unwrap_or_default();
        Err(match (status, serde_json::from_str::<Refusal>(&body)) {
            (StatusCode::UNAUTHORIZED, _) if self.authorization.is_none() => anyhow!(
                "the control plane at {} wants a token; set ADMIN_TOKEN to the one that `rungate \
                 serve` was given or keeps in its DATA_DIR",
                self.url
            ),
            (StatusCode::UNAUTHORIZED, _) => anyhow!(
                "the control plane at {} refused the token; set ADMIN_TOKEN to the one that \
                 `rungate serve` was given or keeps in its DATA_DIR",
                self.url
            ),
            (_, Ok(Refusal { error })) => {
                anyhow!("{} ({})", super::table::plain(&error.message), error.code)
            }
            (_, Err(_)) => anyhow!(
                "{} answered {status}, and not as a control plane does; check RUNGATE_URL",
                self.url
            ),
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let why = if error.is_timeout() { "did not answer in time" } else { "cannot be reached" };
        anyhow!(
            "the control plane at {} {why}; start `rungate serve`, or set RUNGATE_URL to where it \
             runs",
            self.url
        )
    }

    fn broke_off(&self) -> anyhow::Error {
        anyhow!("the answer of the control plane at {} broke off; try again", self.url)
    }
}
