//! The HTTP/1.1 client of one worker: its connections, their pool, their deadline.
//!
//! On hyper's pooled client, without the layers that a general client has above it: there are no
//! redirects, proxies, cookies or retries here, and the address is parsed once, at the start.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use tower_service::Service;

use super::address::{ip_of, is_public};
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
///
/// Addresses that the operator chose and those that others did have pools of their own: a
/// connection that the one may make is never another's.
#[derive(Clone)]
pub struct Client {
    anywhere: Arc<legacy::Client<Connect, Outgoing>>,
    public: Arc<legacy::Client<Connect, Outgoing>>,
}

impl Client {
    /// A client without connections, whose connecting ends after `connect`, TLS included.
    pub fn new(trust: Trust, connect: Duration) -> Self {
        let pool = |anywhere| Arc::new(pool(trust.clone(), connect, anywhere));
        Self { anywhere: pool(true), public: pool(false) }
    }

    /// Sends a request, signed with the gateway's name. Unless it may go `anywhere`, its connection
    /// is made over TLS and to a public address, or not at all.
    pub(super) async fn send(
        &self,
        mut request: Request<Outgoing>,
        anywhere: bool,
    ) -> Result<Response<Incoming>, legacy::Error> {
        request.headers_mut().insert(http::header::USER_AGENT, USER_AGENT);
        let pool = if anywhere { &self.anywhere } else { &self.public };
        pool.request(request).await
    }
}

fn pool(trust: Trust, limit: Duration, anywhere: bool) -> legacy::Client<Connect, Outgoing> {
    let mut tcp = HttpConnector::new_with_resolver(Names { all: GaiResolver::new(), anywhere });
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    let tls = HttpsConnectorBuilder::new().with_tls_config(trust.0);
    let tls = if anywhere { tls.https_or_http() } else { tls.https_only() };
    let inner = tls.enable_http1().wrap_connector(tcp);
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(POOL_IDLE_PER_HOST)
        .build(Connect(Arc::new(InTime { inner, limit, anywhere })))
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
    inner: HttpsConnector<HttpConnector<Names>>,
    limit: Duration,
    anywhere: bool,
}

type Connected = <HttpsConnector<HttpConnector<Names>> as Service<Uri>>::Response;
type BoxError = Box<dyn Error + Send + Sync>;

impl Service<Uri> for Connect {
    type Response = Connected;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Connected, BoxError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let InTime { inner, limit, anywhere } = &*self.0;
        let (mut inner, limit) = (inner.clone(), *limit);
        // Names are looked at when they are resolved; an address is not resolved.
        let ip = uri.host().and_then(ip_of).filter(|ip| !anywhere && !is_public(*ip));
        Box::pin(async move {
            if ip.is_some() {
                return Err(not_public().into());
            }
            let connecting = async {
                std::future::poll_fn(|context| inner.poll_ready(context)).await?;
                inner.call(uri).await
            };
            tokio::time::timeout(limit, connecting).await?
        })
    }
}

/// What names lead to, at the moment of connecting: whoever owns a name may let it lead elsewhere
/// than when it was configured. The connection goes to what is answered here.
#[derive(Clone)]
struct Names {
    all: GaiResolver,
    anywhere: bool,
}

impl Service<Name> for Names {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<vec::IntoIter<SocketAddr>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.all.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (resolving, anywhere) = (self.all.call(name), self.anywhere);
        Box::pin(async move {
            let all = resolving.await?;
            let fit: Vec<_> = all.filter(|found| anywhere || is_public(found.ip())).collect();
            if fit.is_empty() { Err(not_public()) } else { Ok(fit.into_iter()) }
        })
    }
}

fn not_public() -> io::Error {
    io::Error::other("the provider's name leads to no public address; only the operator may use it")
}
