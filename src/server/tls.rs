//! The TLS of a listener, beneath everything else that it does: its certificate and the
//! authorities of its clients, read from files and read again when they change.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{Config, TlsFiles};
use crate::http::connection::{Certificate, Verdict};
use crate::jobs::reload::Watched;

mod files;
mod names;
mod wire;

pub use files::TlsError;
pub(super) use wire::Wire;

/// What the files of a listener made.
struct Loaded {
    config: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// The TLS of a listener.
pub(super) struct Tls {
    files: TlsFiles,
    loaded: ArcSwap<Loaded>,
}

/// The TLS of both listeners, and the files to look after.
#[derive(Default)]
pub(super) struct Listeners {
    pub(super) data: Option<Arc<Tls>>,
    pub(super) admin: Option<Arc<Tls>>,
    pub(super) watched: Vec<Watched>,
}

impl Listeners {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// If it cannot be used.
    pub(super) fn open(config: &Config) -> Result<Self, TlsError> {
        let mut listeners = Self::default();
        if let Some(files) = &config.tls {
            listeners.data = Some(listeners.listener("data", files)?);
        }
        if let Some(files) = &config.admin_tls {
            listeners.admin = Some(listeners.listener("control", files)?);
        }
        Ok(listeners)
    }

    fn listener(&mut self, what: &'static str, files: &TlsFiles) -> Result<Arc<Tls>, TlsError> {
        let (tls, watched) = Tls::open(what, files)?;
        self.watched.push(watched);
        Ok(tls)
    }
}

/// A connection whose handshake is done.
pub(super) struct Secured {
    /// Where its bytes come and go.
    pub(super) stream: TlsStream<Wire>,
    /// What its client has shown.
    pub(super) certificate: Option<Certificate>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If they cannot be used.
    pub(super) fn open(
        what: &'static str,
        files: &TlsFiles,
    ) -> Result<(Arc<Self>, Watched), TlsError> {
        let paths = files::paths(files);
        let loaded = files::read(files)?;
        let tls = Arc::new(Self { files: files.clone(), loaded: ArcSwap::from_pointee(loaded) });
        let again = Arc::clone(&tls);
        let watched = Watched::new(what, paths, move || again.reload().map_err(io::Error::other));
        Ok((tls, watched))
    }

    /// Reads the files again. Connections that are open stay open.
    fn reload(&self) -> Result<(), TlsError> {
        self.loaded.store(Arc::new(files::read(&self.files)?));
        Ok(())
    }

    /// Shakes hands, or cuts who takes longer than `within`.
    pub(super) async fn accept(
        self: &Arc<Self>,
        stream: TcpStream,
        within: Duration,
    ) -> io::Result<Secured> {
        let loaded = self.loaded.load_full();
        let accepting = TlsAcceptor::from(Arc::clone(&loaded.config)).accept(Wire::new(stream));
        let stream = match tokio::time::timeout(within, accepting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "tls.handshake_failed");
                metrics::counter!("rungate_tls_handshakes_failed_total").increment(1);
                return Err(error);
            }
            Err(_) => {
                metrics::counter!("rungate_slow_clients_total", "kind" => "handshake").increment(1);
                return Err(io::ErrorKind::TimedOut.into());
            }
        };
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = self.certificate(shown, loaded);
        Ok(Secured { stream, certificate })
    }

    /// What a client has shown. The authorities that it was shown to may be other ones a moment
    /// later, and the certificate may expire, while the connection stays open.
    fn certificate(
        self: &Arc<Self>,
        shown: &[CertificateDer<'_>],
        checked_by: Arc<Loaded>,
    ) -> Option<Certificate> {
        let (own, rest) = shown.split_first()?;
        let own = own.clone().into_owned();
        let rest: Vec<_> = rest.iter().map(|one| one.clone().into_owned()).collect();
        let read = names::of(&own);
        let (tls, mut checked_by) = (Arc::clone(self), checked_by);
        let mut verdict = Verdict::Good;
        let check = move || {
            let now = UnixTime::now();
            let loaded = tls.loaded.load();
            if !Arc::ptr_eq(&loaded, &checked_by) {
                let clients = loaded.clients.as_ref();
                let good = clients
                    .is_some_and(|clients| clients.verify_client_cert(&own, &rest, now).is_ok());
                verdict = if good { Verdict::Good } else { Verdict::Bad };
                checked_by = Arc::clone(&loaded);
            }
            if now.as_secs() > read.not_after { Verdict::Bad } else { verdict }
        };
        Some(Certificate::new(read.names, check))
    }
}
