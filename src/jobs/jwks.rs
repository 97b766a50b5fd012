//! Where the keys of signed tokens come from: a file, or a URL that is asked now and then.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Url, redirect};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::JwksSource;
use crate::gateway::jwt::{BadKeys, Jwt, Keys};

use super::reload::Watched;

/// Largest set of keys, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// How long connecting and the whole answer may take together.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon it is tried again after a failure.
const AGAIN: Duration = Duration::from_secs(5);

/// Why keys could not be read.
#[derive(Debug, thiserror::Error)]
enum NoKeys {
    #[error("the keys' URL cannot be read")]
    Unreachable(#[from] reqwest::Error),
    #[error("the keys' URL answered {0}")]
    Status(u16),
    #[error("the answer is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error(transparent)]
    Bad(#[from] BadKeys),
}

/// Reads the keys of a file, if they are in one, and watches it.
///
/// # Errors
/// If the file cannot be read, or holds no key of use.
pub fn file(jwt: &Arc<Jwt>) -> io::Result<Option<Watched>> {
    let JwksSource::File(path) = jwt.source().clone() else { return Ok(None) };
    let (of, files) = (Arc::clone(jwt), vec![path.clone()]);
    let watched = Watched::new("jwks", files, move || {
        of.replace(Keys::parse(&std::fs::read(&path)?).map_err(io::Error::other)?);
        Ok(())
    });
    watched.read()?;
    Ok(Some(watched))
}

/// Reads the keys behind a URL, if they are behind one: at once, every so often, and when a token
/// wants them.
pub fn start(jwt: Option<&Arc<Jwt>>, tasks: &TaskTracker, stop: &CancellationToken) {
    let Some((jwt, JwksSource::Url(url))) = jwt.map(|jwt| (jwt, jwt.source().clone())) else {
        return;
    };
    let (jwt, until) = (Arc::clone(jwt), stop.clone());
    tasks.spawn(async move {
        loop {
            let outcome = tokio::select! {
                () = until.cancelled() => return,
                fetched = fetch(&url) => fetched.map(|keys| jwt.replace(keys)),
            };
            jwt.looked();
            let wait = tell(outcome, jwt.refresh());
            tokio::select! {
                () = until.cancelled() => return,
                () = sleep(wait) => {}
                () = jwt.wanted() => {}
            }
        }
    });
}

/// Tells how it went, and how long to wait now.
fn tell(outcome: Result<(), NoKeys>, every: Duration) -> Duration {
    let (outcome, wait) = match outcome {
        Ok(()) => ("done", every),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "jwks.failed: the keys that were read before hold on"
            );
            ("failed", every.min(AGAIN))
        }
    };
    metrics::counter!("rungate_reloads_total", "what" => "jwks", "outcome" => outcome).increment(1);
    wait
}

async fn fetch(url: &Url) -> Result<Keys, NoKeys> {
    // Made anew each time: it happens seldom, and no connection is kept for it.
    let client = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(PATIENCE)
        .build()?;
    let mut answer = client.get(url.clone()).send().await.map_err(reqwest::Error::without_url)?;
    if !answer.status().is_success() {
        return Err(NoKeys::Status(answer.status().as_u16()));
    }
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if text.len() + chunk.len() > MAX_BYTES {
            return Err(NoKeys::TooLong);
        }
        text.extend_from_slice(&chunk);
    }
    Ok(Keys::parse(&text)?)
}
