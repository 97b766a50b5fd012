//! Credentials of the data plane: what they look like and how they are recognised.
//!
//! A secret exists in the clear only in the answer that hands it out; everything else sees its
//! SHA-256. The secrets are 256 random bits, so a plain hash is as good as a slow one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::id::RunId;

/// How every run token begins.
pub const RUN_TOKEN_PREFIX: &str = "rg-run-";
/// How every inference key begins.
pub const INFERENCE_KEY_PREFIX: &str = "rg-key-";

/// How every orchestrator key begins.
pub const ORCHESTRATOR_KEY_PREFIX: &str = "rg-orc-";

/// How the credentials of this gateway and the keys of common providers begin.
/// A signed token begins with a JSON object in base64: `{"`.
const BEGINNINGS: [&str; 6] =
    [RUN_TOKEN_PREFIX, INFERENCE_KEY_PREFIX, ORCHESTRATOR_KEY_PREFIX, "rg-adm-", "sk-", "eyJ"];
/// How many characters of a key's random part are shown, so that its owner can tell it from others.
const SHOWN: usize = 4;
const SECRET_BYTES: usize = 32;
const MAX_CREDENTIAL_BYTES: usize = 256;
const MAX_SIGNED_BYTES: usize = 8192;

/// The SHA-256 of a secret, which is all that is ever stored or compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a whole credential, prefix included.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Reads a stored hash; one of another length matches nothing.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The hash as stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// Whether a text that somebody sent may hold a credential, so that no log may repeat it.
pub fn may_hold_credential(text: &str) -> bool {
    BEGINNINGS.into_iter().any(|beginning| text.contains(beginning))
}

/// A fresh run token: the secret to hand out once, and the hash to keep.
#[derive(Debug)]
pub struct NewRunToken {
    /// Shown once, in the answer that made it.
    pub secret: SecretString,
    /// What is stored.
    pub hash: TokenHash,
}

/// Randomness could not be had from the operating system.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

impl NewRunToken {
    /// Makes a token of 256 random bits.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn generate() -> Result<Self, NoRandomness> {
        let secret = random_secret(RUN_TOKEN_PREFIX)?;
        Ok(Self { hash: TokenHash::of(secret.expose_secret()), secret })
    }
}

/// A fresh key of an organization: the secret to hand out once, and what is kept of it.
#[derive(Debug)]
pub struct NewKeySecret {
    /// Shown once, in the answer that made it.
    pub secret: SecretString,
    /// What is stored.
    pub hash: TokenHash,
    /// Its beginning, which may be shown for ever.
    pub prefix: String,
}

impl NewKeySecret {
    /// Makes an inference key of 256 random bits.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn inference() -> Result<Self, NoRandomness> {
        Self::generate(INFERENCE_KEY_PREFIX)
    }

    /// Makes an orchestrator key of 256 random bits.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn orchestrator() -> Result<Self, NoRandomness> {
        Self::generate(ORCHESTRATOR_KEY_PREFIX)
    }

    fn generate(kind: &str) -> Result<Self, NoRandomness> {
        let secret = random_secret(kind)?;
        let text = secret.expose_secret();
        let prefix = text.chars().take(kind.len() + SHOWN).collect();
        Ok(Self { hash: TokenHash::of(text), prefix, secret })
    }
}

/// A text of 256 random bits behind a prefix that tells what it is.
///
/// # Errors
/// If the operating system has no randomness to give.
pub fn random_secret(prefix: &str) -> Result<SecretString, NoRandomness> {
    let mut bytes = Zeroizing::new([0_u8; SECRET_BYTES]);
    getrandom::fill(&mut *bytes).map_err(|_| NoRandomness)?;
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes));
    Ok(format!("{prefix}{}", *text).into())
}

/// What a client presented, by its look. Nothing has been looked up yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A token of one run and attempt.
    RunToken(TokenHash),
    /// A key of an organization.
    InferenceKey(TokenHash),
    /// A run id standing where a key would.
    RunId(RunId),
    /// A signed token (JWT) of an identity provider.
    Signed(TokenHash),
    /// Something of somebody else's; its hash tells two of them apart.
    Foreign(TokenHash),
}

impl Credential {
    /// Recognises a credential.
    pub fn parse(text: &str) -> Self {
        let short = text.len() <= MAX_CREDENTIAL_BYTES;
        if short && text.starts_with(RUN_TOKEN_PREFIX) {
            Self::RunToken(TokenHash::of(text))
        } else if short && text.starts_with(INFERENCE_KEY_PREFIX) {
            Self::InferenceKey(TokenHash::of(text))
        } else if is_signed(text) {
            Self::Signed(TokenHash::of(text))
        } else {
            let run = RunId::parse(text).filter(|_| short);
            run.map_or_else(|| Self::foreign(text.as_bytes()), Self::RunId)
        }
    }

    /// A credential that is none of ours, whatever its bytes are.
    pub fn foreign(bytes: &[u8]) -> Self {
        Self::Foreign(TokenHash(Sha256::digest(bytes).into()))
    }
}

/// Whether a text has the form of a signed token (RFC 7515, section 3.1): three parts in base64url,
/// none of them empty.
fn is_signed(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.len() <= MAX_SIGNED_BYTES
        && text.split('.').count() == 3
        && text.split('.').all(|part| !part.is_empty() && part.bytes().all(letter))
}
