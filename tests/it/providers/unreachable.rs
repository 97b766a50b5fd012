//! Providers that no connection comes about with: nothing was sent, so nothing costs anything.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::data_plane::endings::{Booked, check_booked};
use crate::data_plane::stage::{Stage, ask, ask_streamed};

/// Calls a provider at `base`, streamed and not: a failure of its own, a row without a cost.
async fn check(base: &str, settings: &[(&str, &str)], status: u16, code: &str) {
    let mut all = vec![("UPSTREAM_RETRIES", "0")];
    all.extend_from_slice(settings);
    let stage = Stage::at(base, &all).await;
    for body in [ask("hi"), ask_streamed("hi")] {
        let run = stage.run(json!({})).await;
        let answer = stage.client().ask(&run, &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{base}: {answer:?}");
        assert_eq!(answer.header("x-error-origin"), Some("upstream"), "{base}");
        assert_eq!(answer.header("x-should-retry"), None, "{base}");
        assert_eq!(answer.header("x-run-cost-usd"), Some("0"), "{base}");
        let host = base.split(['/', ':']).nth(3).unwrap();
        assert!(!answer.text.contains(host), "{base}: {}", answer.text);
        check_booked(base, &stage, &run, ("hi", ""), Booked::Nothing, &[status]).await;
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_costs_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    check(&base, &[], 502, "upstream_error").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_an_address_costs_nothing() {
    // RFC 6761: nobody has an address under this name.
    check("http://no-such-host.invalid/v1", &[], 502, "upstream_error").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_speaks_no_tls_costs_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("https://{}/v1", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&heard);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut chunk = [0_u8; 4096];
            let read = stream.read(&mut chunk).unwrap_or(0);
            record.lock().extend_from_slice(&chunk[..read]);
            let _left = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    check(&base, &[], 502, "upstream_error").await;
    let heard = String::from_utf8_lossy(&heard.lock()).into_owned();
    assert!(!heard.is_empty() && !heard.contains("POST"), "nothing came in the clear: {heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_never_ends_its_handshake_costs_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("https://{}/v1", silent.local_addr().unwrap());
    let settings = [("UPSTREAM_CONNECT_TIMEOUT_SECONDS", "1")];
    check(&base, &settings, 504, "upstream_timeout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_certificate_nobody_signed_is_told_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("https://{}/v1", listener.local_addr().unwrap());
    let (met, heard) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&met), Arc::clone(&heard));
    std::thread::spawn(move || {
        let config = self_signed();
        while let Ok((stream, _)) = listener.accept() {
            counts.0.fetch_add(1, Ordering::SeqCst);
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let read = StreamOwned::new(connection, stream).read(&mut [0_u8; 1]);
            counts.1.fetch_add(read.unwrap_or(0), Ordering::SeqCst);
        }
    });
    check(&base, &[], 502, "upstream_error").await;
    assert_eq!((met.load(Ordering::SeqCst), heard.load(Ordering::SeqCst)), (2, 0));
}

fn self_signed() -> Arc<ServerConfig> {
    const CERTIFICATE: &[u8] = include_bytes!("../../../fixtures/tls/certificate.der");
    const KEY: &[u8] = include_bytes!("../../../fixtures/tls/key.der");
    let certificates = vec![CertificateDer::from(CERTIFICATE)];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KEY));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    Arc::new(config)
}
