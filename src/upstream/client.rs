//! The HTTP/1.1 client of one worker: its connections, their pool, their deadline.
//!
//! On hyper's pooled client, without the layers that a general client has above it: there are no
//! redirects, proxies, cookies or retries here, and the address is parsed once, at the start.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use tower_service::Service;

use super::outgoing::Outgoing;

/// Idle connections kept to each provider by each worker.
const POOL_IDLE_PER_HOST: usize = 256;
/// How long an idle connection is kept; below what common servers keep theirs.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// When a silent connection is asked whether its other end is still there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// What the gateway calls itself.
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("rungate/", env!("CARGO_PKG_VERSION")));

/// Whom to trust: the system's roots, loaded once and shared by all workers.
#[derive(Clone)]
pub struct Trust(ClientConfig);

/// The roots could not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("the system's root certificates cannot be loaded")]
pub struct NoRoots(#[source] rustls::Error);

impl Trust {
    /// Loads the system's roots.
    ///
    /// # Errors
    /// If there are none that can be used.
    pub fn of_system() -> Result<Self, NoRoots> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.try_with_platform_verifier())
            .map_err(NoRoots)?;
        Ok(Self(config.with_no_client_auth()))
    }
}

/// A client for one worker. Its connections are driven by the worker that made them, so each
/// worker has its own and none is woken for another's bytes.
#[derive(Clone)]
pub struct Client(Arc<legacy::Client<Connect, Outgoing>>);

impl Client {
    /// A client without connections, whose connecting ends after `connect`, TLS included.
    pub fn new(trust: Trust, connect: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        let inner = HttpsConnectorBuilder::new()
            .with_tls_config(trust.0)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_PER_HOST)
            .build(Connect(Arc::new(InTime { inner, limit: connect })));
        Self(Arc::new(client))
    }

    /// Sends a request, signed with the gateway's name.
    pub(super) async fn send(
        &self,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, legacy::Error> {
        request.headers_mut().insert(http::header::USER_AGENT, USER_AGENT);
        self.0.request(request).await
    }
}

/// Whether connecting took too long.
pub(super) fn is_timeout(error: &legacy::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if error.is::<tokio::time::error::Elapsed>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// How connections are made: shared, because the library takes a copy along with each request.
#[derive(Clone)]
struct Connect(Arc<InTime>);

/// Connects, or fails when its time is over.
struct InTime {
    inner: HttpsConnector<HttpConnector>,
    limit: Duration,
}

type Connected = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
type BoxError = Box<dyn Error + Send + Sync>;

impl Service<Uri> for Connect {
    type Response = Connected;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Connected, BoxError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let InTime { inner, limit } = &*self.0;
        let (mut inner, limit) = (inner.clone(), *limit);
        Box::pin(async move {
            let connecting = async {
                std::future::poll_fn(|context| inner.poll_ready(context)).await?;
                inner.call(uri).await
            };
            tokio::time::timeout(limit, connecting).await?
        })
    }
}
