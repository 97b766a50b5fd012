//! Certificates made for a test, the files that they are in, and clients that trust them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use reqwest::{Certificate, Identity};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority, and a folder for files.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    pub folder: tempfile::TempDir,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(super) struct Certified {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let folder = tempfile::tempdir().unwrap();
        Self { issuer: Issuer::new(params, key), pem, folder }
    }

    /// A certificate of this number, for these names.
    pub(super) fn issue(&self, number: u64, names: Vec<SanType>) -> Certified {
        self.issue_until(number, names, 4000)
    }

    /// The same, good until the beginning of a year.
    pub(super) fn issue_until(&self, number: u64, names: Vec<SanType>, year: i32) -> Certified {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, format!("number {number}"));
        params.subject_alt_names = names;
        params.serial_number = Some(SerialNumber::from(number));
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Certified { certificate, key: key.serialize_pem() }
    }

    /// A certificate for the address that gateways listen on.
    pub(super) fn listener(&self, number: u64) -> Certified {
        self.issue(number, vec![SanType::IpAddress([127, 0, 0, 1].into())])
    }

    /// A list that revokes these numbers.
    pub(super) fn revoking(&self, numbers: &[u64]) -> String {
        let revoked = |number: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(numbers.len() as u64 + 1),
            issuing_distribution_point: None,
            revoked_certs: numbers.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// Where a file of this name is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file whole, as a rename does, and says where it is.
    pub(super) fn write(&self, name: &str, text: &str) -> String {
        let half = self.path("half");
        std::fs::write(&half, text).unwrap();
        std::fs::rename(&half, self.path(name)).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a certificate and its key.
    pub(super) fn put(&self, own: &Certified) -> (String, String) {
        (self.write("cert.pem", &own.certificate), self.write("key.pem", &own.key))
    }

    /// A client that trusts this authority and no other, and shows a certificate if it has one.
    pub(super) fn client(&self, own: Option<&Certified>) -> reqwest::Client {
        self.builder(own).pool_max_idle_per_host(0).build().unwrap()
    }

    /// The same, which keeps its connection.
    pub(super) fn keeping(&self, own: Option<&Certified>) -> reqwest::Client {
        self.builder(own).pool_max_idle_per_host(1).build().unwrap()
    }

    fn builder(&self, own: Option<&Certified>) -> reqwest::ClientBuilder {
        let builder = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .tls_certs_only([Certificate::from_pem(self.pem.as_bytes()).unwrap()]);
        match own {
            Some(own) => {
                let pem = format!("{}{}", own.key, own.certificate);
                builder.identity(Identity::from_pem(pem.as_bytes()).unwrap())
            }
            None => builder,
        }
    }

    /// Shakes hands over a socket.
    pub(super) async fn shake(
        &self,
        socket: TcpStream,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    }
}

/// The chain that a listener shows now.
pub(super) fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// A certificate as it is shown.
pub(super) fn der(own: &Certified) -> Vec<u8> {
    CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap().to_vec()
}
