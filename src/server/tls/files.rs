//! From files to what shakes hands.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use crate::config::{ClientCertificates, TlsFiles};

use super::Loaded;

/// The only protocol that is spoken inside.
const ALPN: &[u8] = b"http/1.1";

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("{path} holds no {what} that can be read, in PEM", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// A certificate does not fit its key, or cannot be used.
    #[error("{path} cannot be used with its key", path = .0.display())]
    Certificate(PathBuf, #[source] rustls::Error),
    /// An authority's certificate cannot be used.
    #[error("{path} holds an authority that cannot be used", path = .0.display())]
    Authority(PathBuf, #[source] rustls::Error),
    /// The authorities and the revocation lists cannot be used.
    #[error("{path} and its revocation lists cannot be used", path = .0.display())]
    Clients(PathBuf, #[source] VerifierBuilderError),
}

/// All files of a listener.
pub(super) fn paths(files: &TlsFiles) -> Vec<PathBuf> {
    let clients = files.clients.as_ref();
    let authorities = clients.map(|clients| clients.authorities.clone());
    let revoked = clients.and_then(|clients| clients.revoked.clone());
    let own = [files.certificate.clone(), files.key.clone()];
    own.into_iter().chain(authorities).chain(revoked).collect()
}

pub(super) fn read(files: &TlsFiles) -> Result<Loaded, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = all::<CertificateDer<'_>>(&files.certificate, "certificate")?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::Read {
        path: files.key.clone(),
        what: "private key",
        source,
    })?;
    let clients = files.clients.as_ref().map(|clients| verifier(clients, &provider)).transpose()?;
    let wrong = |error| TlsError::Certificate(files.certificate.clone(), error);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?;
    let config = match &clients {
        Some(clients) => config.with_client_cert_verifier(Arc::clone(clients)),
        None => config.with_no_client_auth(),
    };
    let mut config = config.with_single_cert(chain, key).map_err(wrong)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    if clients.is_some() {
        // A resumed session would bring its certificate along without its being looked at again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Loaded { config: Arc::new(config), clients })
}

fn verifier(
    clients: &ClientCertificates,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let path = &clients.authorities;
    let mut roots = RootCertStore::empty();
    for authority in all::<CertificateDer<'_>>(path, "certificate")? {
        roots.add(authority).map_err(|error| TlsError::Authority(path.clone(), error))?;
    }
    let revoked = clients.revoked.as_ref();
    let revoked = revoked
        .map(|path| all::<CertificateRevocationListDer<'_>>(path, "revocation list"))
        .transpose()?;
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .with_crls(revoked.unwrap_or_default());
    let builder = if clients.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| TlsError::Clients(path.clone(), error))
}

/// Everything of a kind that a file holds: at least one.
fn all<T: pem::PemObject>(path: &Path, what: &'static str) -> Result<Vec<T>, TlsError> {
    let wrong = |source| TlsError::Read { path: path.to_owned(), what, source };
    let found = T::pem_file_iter(path).map_err(wrong)?.collect::<Result<Vec<_>, _>>();
    let found = found.map_err(wrong)?;
    if found.is_empty() { Err(wrong(pem::Error::NoItemsFound)) } else { Ok(found) }
}
