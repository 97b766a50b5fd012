//! A listener and whoever may come in by it: how many, and with how much patience.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Request, Response};
use actix_service::{
    IntoServiceFactory as _, Service as _, ServiceFactoryExt as _, apply_fn_factory, map_config,
};
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, Server, fn_service};
use actix_web::{App, Error, web};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config::Config;
use crate::http::connection::{Connection, Served};
use crate::limits::connections::{Connections, Place};

use super::StartError;
use super::io::Io;
use super::socket::{Patience, Socket};
use super::tls::Tls;

/// How long a stopping server waits at least for clients that read their answers, in seconds. By
/// then every call has ended.
const STOP_SECONDS: u64 = 2;
/// How long a client whose connection is closed may take to take note of it.
const DISCONNECT: Duration = Duration::from_secs(1);
/// Connections of the control plane, whose clients are trusted but may be many.
const MAX_CONTROL_CONNECTIONS: usize = 1024;
/// How many connections that are turned away are told so at once; the others are only closed.
const MAX_TURNED_AWAY: usize = 256;
/// Files for whatever else the process has open: the database, the listeners, the log.
const OTHER_FILES: u64 = 256;

/// What a client is told for whom there is no room.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\n\
    content-length: 178\r\n\
    retry-after: 1\r\n\
    x-error-origin: gateway\r\n\
    connection: close\r\n\r\n\
    {\"error\":{\"message\":\"This gateway has too many open connections. Nothing was sent; try \
    again shortly.\",\"type\":\"server_error\",\"code\":\"unavailable\",\"param\":null,\
    \"request_id\":null}}";

/// A listener before it serves.
pub(super) struct Door {
    listener: TcpListener,
    address: SocketAddr,
    connections: Arc<Connections>,
    patience: Patience,
    /// How long it waits for its connections once it is stopped, in seconds.
    stops_within: u64,
    tls: Option<Arc<Tls>>,
}

/// A client who is let in, and from where.
type LetIn = (Socket, Option<SocketAddr>);

impl Door {
    /// The data plane's.
    pub(super) fn of_data(
        listener: TcpListener,
        config: &Config,
        tls: Option<Arc<Tls>>,
    ) -> Result<Self, StartError> {
        let per_address = as_usize(config.clients.max_connections_per_address);
        let wanted = as_usize(config.clients.max_connections);
        // Every connection may have another one, to a provider, behind it.
        let possible = usize::try_from(files().saturating_sub(OTHER_FILES) / 2);
        let most = wanted.min(possible.unwrap_or(usize::MAX)).max(1);
        if most < wanted {
            tracing::warn!(
                wanted,
                connections = most,
                "start.connections: fewer than MAX_CONNECTIONS, because this process may open too \
                 few files (ulimit -n)"
            );
        }
        let door = Self::new(listener, config, Connections::new(most, per_address), tls)?;
        let stops_within = config.shutdown_grace.as_secs().max(STOP_SECONDS);
        Ok(Self { stops_within, ..door })
    }

    /// The control plane's. Nobody on the data plane takes its places.
    pub(super) fn of_control(
        listener: TcpListener,
        config: &Config,
        tls: Option<Arc<Tls>>,
    ) -> Result<Self, StartError> {
        let most = MAX_CONTROL_CONNECTIONS;
        Self::new(listener, config, Connections::new(most, most), tls)
    }

    fn new(
        listener: TcpListener,
        config: &Config,
        connections: Arc<Connections>,
        tls: Option<Arc<Tls>>,
    ) -> Result<Self, StartError> {
        let address = listener.local_addr().map_err(StartError::Serve)?;
        let patience = Patience {
            head: config.clients.head_timeout,
            idle: config.clients.idle_timeout,
            write: config.clients.write_timeout,
        };
        Ok(Self { listener, address, connections, patience, stops_within: STOP_SECONDS, tls })
    }

    /// Serves what `configure` mounts.
    pub(super) fn serve(
        self,
        workers: usize,
        configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    ) -> Result<Server, StartError> {
        let Self { listener, address, connections, patience, stops_within, tls } = self;
        let builder = Server::build();
        let stopping = builder.graceful_shutdown_signal();
        let turned_away = Arc::new(AtomicUsize::new(0));
        let factory = move || {
            let connections = Arc::clone(&connections);
            let turned_away = Arc::clone(&turned_away);
            let tls = tls.clone();
            let accept = fn_service(move |stream: TcpStream| {
                let connections = Arc::clone(&connections);
                let turned_away = Arc::clone(&turned_away);
                let tls = tls.clone();
                async move {
                    let (place, peer) = place_of(&stream, &connections);
                    // Boxed, so that no plain connection that is let in has room for the rest.
                    let let_in = match (place, tls) {
                        (Some(place), None) => {
                            Ok((Socket::new(Io::Plain(stream), None, patience, place), peer))
                        }
                        (Some(place), Some(tls)) => {
                            Box::pin(shake_hands(stream, place, peer, &tls, patience)).await
                        }
                        (None, tls) => {
                            Err(Box::pin(turn_away(stream, tls.is_some(), &turned_away)).await)
                        }
                    };
                    let_in.map_err(DispatchError::Io)
                }
            });
            let app = App::new().configure(&configure).into_factory();
            let app = app.map_err(|error: Error| error.error_response());
            let app = apply_fn_factory(app, |request: Request, app| {
                let serving = request.conn_data::<Rc<Connection>>().map(Connection::begin);
                let answering = app.call(request);
                async move {
                    let answer: Response<BoxBody> = answering.await?.into();
                    Ok(answer.map_body(|_, body| Served::new(body, serving)))
                }
            });
            let stopping = stopping.clone();
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .keep_alive(patience.idle)
                .client_request_timeout(patience.head)
                .client_disconnect_timeout(DISCONNECT)
                .h1_allow_half_closed(false)
                .local_addr(address)
                .on_connect_ext(|socket: &Socket, data| {
                    data.insert(Rc::clone(socket.connection()));
                })
                .h1(map_config(app, |()| AppConfig::default()));
            accept.and_then(http)
        };
        let server = builder
            .workers(workers)
            .shutdown_timeout(stops_within)
            .disable_signals()
            .listen("http", listener, factory)
            .map_err(StartError::Serve)?;
        Ok(server.run())
    }
}

/// A connection's place, if there is one, and where the connection is from.
fn place_of(
    stream: &TcpStream,
    connections: &Arc<Connections>,
) -> (Option<Place>, Option<SocketAddr>) {
    let peer = stream.peer_addr().ok();
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    // Only a delay would come of it if this failed.
    let _delayed = stream.set_nodelay(true);
    (connections.enter(address), peer)
}

/// A handshake has its place from the first byte on, and no more time than the head of a request.
async fn shake_hands(
    stream: TcpStream,
    place: Place,
    peer: Option<SocketAddr>,
    tls: &Arc<Tls>,
    patience: Patience,
) -> io::Result<LetIn> {
    let secured = tls.accept(stream, patience.head).await?;
    let io = Io::secured(secured.stream);
    Ok((Socket::new(io, secured.certificate, patience, place), peer))
}

/// Tells a client that there is no room, and waits a moment for him to read it: what he has sent
/// would otherwise make the kernel reset the connection under the answer. Under TLS he could not
/// be told without a handshake, which is more than somebody without a place gets.
async fn turn_away(mut stream: TcpStream, tls: bool, turned_away: &AtomicUsize) -> io::Error {
    let refused = io::ErrorKind::ConnectionRefused.into();
    metrics::counter!("rungate_connections_refused_total").increment(1);
    let add = |now: usize| (now < MAX_TURNED_AWAY).then_some(now + 1);
    if tls || turned_away.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_err() {
        return refused;
    }
    let told = async {
        let mut unread = [0_u8; 4096];
        let _gone = stream.write_all(NO_ROOM).await;
        let _gone = stream.shutdown().await;
        while matches!(stream.read(&mut unread).await, Ok(read) if read > 0) {}
    };
    let _listened_or_not = tokio::time::timeout(DISCONNECT, told).await;
    turned_away.fetch_sub(1, Ordering::AcqRel);
    refused
}

fn as_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// How many files this process may open.
fn files() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_without_a_place_is_told_is_an_answer_of_its_length() {
        let text = std::str::from_utf8(NO_ROOM).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        let _json: serde_json::Value = serde_json::from_str(body).unwrap();
    }
}
