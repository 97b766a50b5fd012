//! An identity provider: keys, tokens, and where its keys are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Whom gateways trust in tests, and what they call themselves.
pub(super) const ISSUER: &str = "https://issuer.example/";
pub(super) const AUDIENCE: &str = "rungate";
/// What stands between the beginning of an RSA key in PKCS #8 and the key in PKCS #1.
const PKCS8_HEAD: usize = 26;

/// A key that signs.
pub(super) struct Signer {
    pub id: String,
    pub algorithm: Algorithm,
    pub key: EncodingKey,
    pub jwk: Value,
}

impl Signer {
    pub(super) fn new(id: &str, algorithm: Algorithm) -> Self {
        let (key, mut jwk) = match algorithm {
            Algorithm::RS256 => {
                let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
                let key = EncodingKey::from_rsa_der(&pair.serialize_der()[PKCS8_HEAD..]);
                let jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
                (key, serde_json::to_value(jwk).unwrap())
            }
            Algorithm::ES256 => {
                let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
                let (x, y) = pair.public_key_raw()[1..].split_at(32);
                let jwk = json!({"kty": "EC", "crv": "P-256", "x": text(x), "y": text(y)});
                (EncodingKey::from_ec_der(&pair.serialize_der()), jwk)
            }
            Algorithm::EdDSA => {
                let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
                let x = text(pair.public_key_raw());
                let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
                (EncodingKey::from_ed_der(&pair.serialize_der()), jwk)
            }
            other => panic!("no key for {other:?}"),
        };
        jwk["kid"] = json!(id);
        jwk["use"] = json!("sig");
        Self { id: id.to_owned(), algorithm, key, jwk }
    }

    pub(super) fn header(&self) -> Header {
        Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) }
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&self.header(), claims)
    }

    pub(super) fn sign_as(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.key).unwrap()
    }
}

/// Bytes in base64url.
pub(super) fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The claims of a good token, and `more`.
pub(super) fn claims(more: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "exp": now() + 600, "scope": "openid inference",
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// A JWK set of these keys.
pub(super) fn set(signers: &[&Signer]) -> String {
    let keys: Vec<_> = signers.iter().map(|signer| &signer.jwk).collect();
    json!({"keys": keys}).to_string()
}

/// What answers at the keys' URL.
#[derive(Clone)]
pub(super) struct KeyServer {
    pub url: String,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicU64>,
}

impl KeyServer {
    pub(super) async fn start(status: u16, body: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let server =
            Self { url, answer: Arc::new(Mutex::new((status, body))), asked: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4096];
                let _asked = stream.read(&mut head).await;
                serving.asked.fetch_add(1, Ordering::AcqRel);
                let (status, body) = serving.answer.lock().clone();
                let answer = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\
                     location: /elsewhere\r\n\r\n{body}",
                    body.len()
                );
                let _gone = stream.write_all(answer.as_bytes()).await;
            }
        });
        server
    }

    /// From now on it answers this.
    pub(super) fn answer(&self, status: u16, body: String) {
        *self.answer.lock() = (status, body);
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }
}

/// The settings of a gateway that trusts the issuer.
pub(super) fn trusting<'a>(source: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
    vec![source, ("JWT_ISSUER", ISSUER), ("JWT_AUDIENCE", AUDIENCE), ("RUN_AUTH", "token")]
}
