//! A client of the control plane. What goes wrong becomes one line that says what to do.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::exit::{Exit, Failure};
use super::print::plain;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take that nobody asked to wait for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How a line begins that is no row.
const FAULT: &[u8] = b"{\"error\":";
/// How a gateway begins that has no such endpoint, because it is older than this command.
const NO_ENDPOINT: &str = "There is no such endpoint";

/// One control plane, and the right to ask it.
pub(super) struct ControlPlane {
    client: Client,
    url: String,
    /// The same without a login, for messages.
    shown: String,
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

    /// Asks for something to be taken away.
    pub(super) fn delete(path: &'a str) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
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
        let (url, shown) = addresses(url).ok_or_else(|| {
            let what = "RUNGATE_URL is not a URL such as http://127.0.0.1:8081";
            Failure::new(Exit::Settings, what)
        })?;
        let authorization = token.map(|token| -> anyhow::Result<HeaderValue> {
            let text = SecretString::from(format!("Bearer {}", token.expose_secret()));
            let mut value = HeaderValue::from_str(text.expose_secret()).map_err(|_| {
                let what = "ADMIN_TOKEN holds characters that no HTTP header can carry";
                Failure::new(Exit::Settings, what)
            })?;
            value.set_sensitive(true);
            Ok(value)
        });
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .context("the HTTP client cannot be made")?;
        Ok(Self { client, url, shown, authorization: authorization.transpose()? })
    }

    /// Asks, and reads the whole answer.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> anyhow::Result<String> {
        let limit = ANSWER_TIMEOUT.saturating_add(ask.wait);
        let request = self.request(&ask).timeout(limit);
        let answer = self.accept(ask.path, request).await?;
        answer.text().await.map_err(|_| self.broke_off().into())
    }

    /// Asks for an answer of this kind, and hands on its parts as they come.
    pub(super) async fn parts(
        &self,
        path: &str,
        kind: &'static str,
        mut each: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let request = self.request(&Ask::get(path)).header(ACCEPT, kind);
        let mut answer = self.in_time(self.accept(path, request)).await??;
        while let Some(part) = self.in_time(answer.chunk()).await?.map_err(|_| self.broke_off())? {
            each(&part)?;
        }
        Ok(())
    }

    /// Asks for rows, a line each, and hands on those that came, each with its end.
    pub(super) async fn lines(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut begun: Vec<u8> = Vec::new();
        let take = |part: &[u8]| -> anyhow::Result<()> {
            begun.extend_from_slice(part);
            let whole = begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let rest = begun.split_off(whole);
            for line in begun.split_inclusive(|byte| *byte == b'\n') {
                // What went wrong after the answer had begun is told in its last line.
                if line.starts_with(FAULT)
                    && let Ok(Refusal { error }) = serde_json::from_slice(line)
                {
                    return Err(refusal(path, &error).into());
                }
                each(line)?;
            }
            begun = rest;
            Ok(())
        };
        self.parts(path, "application/x-ndjson", take).await?;
        if begun.is_empty() { Ok(()) } else { Err(self.broke_off().into()) }
    }

    /// A wait for something that comes without being waited for.
    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let done = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
        done.map_err(|_| self.unreachable("did not answer in time"))
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

    async fn accept(
        &self,
        path: &str,
        request: reqwest::RequestBuilder,
    ) -> anyhow::Result<Response> {
        let answer = request.send().await.map_err(|error| {
            self.unreachable(match error.is_timeout() {
                true => "did not answer in time",
                false => "cannot be reached",
            })
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.text().await.unwrap_or_default();
        Err(match serde_json::from_str::<Refusal>(&body) {
            _ if status == StatusCode::UNAUTHORIZED => self.unauthorized(),
            Ok(Refusal { error }) => refusal(path, &error),
            Err(_) => self.foreign(status),
        }
        .into())
    }

    fn unauthorized(&self) -> Failure {
        let does = match self.authorization {
            None => "wants a token",
            Some(_) => "refused the token",
        };
        let what = format!(
            "the control plane at {} {does}; set ADMIN_TOKEN to the one that `rungate serve` was \
             given or keeps in its DATA_DIR",
            self.shown
        );
        Failure::new(Exit::Token, what)
    }

    /// Somebody else answers at this address.
    fn foreign(&self, status: StatusCode) -> Failure {
        let what = format!(
            "{} answered {status}, and not as a control plane does; set RUNGATE_URL to the control \
             plane that `rungate serve` names",
            self.shown
        );
        Failure::new(Exit::Unreachable, what)
    }

    fn unreachable(&self, why: &str) -> Failure {
        let what = format!(
            "the control plane at {} {why}; start `rungate serve`, or set RUNGATE_URL to where it \
             runs",
            self.shown
        );
        Failure::new(Exit::Unreachable, what)
    }

    fn broke_off(&self) -> Failure {
        let what =
            format!("the answer of the control plane at {} broke off; try again", self.shown);
        Failure::new(Exit::Unreachable, what)
    }
}

/// An answer as a value. Amounts are texts in it, so that nothing is lost.
///
/// # Errors
/// If it is no JSON, so that somebody else must have given it.
pub(super) fn parsed(answer: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(answer).map_err(|_| {
        let what = "the answer is not in JSON; set RUNGATE_URL to the control plane that `rungate \
                    serve` names";
        Failure::new(Exit::Unreachable, what)
    })?)
}

/// A path with those members of a query that have a value.
///
/// # Errors
/// Never: the URL that it is tried on is one.
pub(super) fn with_query(path: &str, members: &[(&str, Option<&str>)]) -> anyhow::Result<String> {
    let given: Vec<_> =
        members.iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
    let url = reqwest::Url::parse_with_params("http://x/", given).context("the query is wrong")?;
    Ok(match url.query() {
        Some(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path.to_owned(),
    })
}

/// A URL without a slash at its end, and the same without a login.
fn addresses(text: &str) -> Option<(String, String)> {
    let parsed = reqwest::Url::parse(text).ok()?;
    let is_base = matches!(parsed.scheme(), "http" | "https")
        && parsed.query().is_none()
        && parsed.fragment().is_none();
    let mut shown = parsed.clone();
    shown.set_username("").ok()?;
    shown.set_password(None).ok()?;
    let trimmed = |url: reqwest::Url| url.as_str().trim_end_matches('/').to_owned();
    is_base.then(|| (trimmed(parsed), trimmed(shown)))
}

/// What the control plane refused at this path, and what to type next.
fn refusal(path: &str, refusal: &RefusalBody) -> Failure {
    let no_endpoint = refusal.message.starts_with(NO_ENDPOINT);
    let (exit, next) = match refusal.code.as_str() {
        "run_not_found" => (Exit::NotFound, "`rungate runs list` shows the runs that there are"),
        "run_conflict" => (Exit::Failed, "`rungate runs show` shows what is registered"),
        "invalid_model" => (Exit::Failed, "`rungate models` lists them"),
        "not_found" if path.starts_with("/organizations/") && !no_endpoint => {
            (Exit::NotFound, listed_by(path))
        }
        "not_found" => (Exit::Failed, "is RUNGATE_URL a control plane of this version?"),
        "unavailable" => (Exit::Unreachable, ""),
        _ => (Exit::Failed, ""),
    };
    let mut line = plain(refusal.message.trim_end_matches('.'));
    line.push_str(&format!(" ({})", plain(&refusal.code)));
    if !next.is_empty() {
        line.push_str(&format!("; {next}"));
    }
    Failure::new(exit, line)
}

/// What shows that which a path below an organization might have named.
fn listed_by(path: &str) -> &'static str {
    const LISTS: [(&str, &str); 4] = [
        ("/inference/keys/", "`rungate keys list --org ORG` shows its keys"),
        ("/inference/providers/", "`rungate providers list --org ORG` shows its providers"),
        ("/orchestrator-keys/", "`rungate orgs orchestrator-keys list --org ORG` shows them"),
        ("/members/", "`rungate orgs members list --org ORG` shows its members"),
    ];
    let list = LISTS.into_iter().find(|(part, _)| path.contains(part));
    list.map_or("`rungate orgs list` shows the organizations that there are", |(_, list)| list)
}
