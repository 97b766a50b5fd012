//! Secrets at rest: sealed with AES-256-GCM under the operator's encryption keys, and bound to the
//! place that they are kept in, so that what is moved to another row does not open there.
//!
//! A sealed secret is a random nonce of 12 bytes, the ciphertext and a tag of 16 bytes. The id of
//! the key that made it stands beside it; it is no secret.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::id::{OrganizationId, RunId};

const KEY_BYTES: usize = 32;
/// How much of the hash of a key is its id, in bytes.
const ID_BYTES: usize = 8;
const TAG_BYTES: usize = 16;

/// The operator's encryption keys. The first one seals, each of them opens.
#[derive(Clone)]
pub struct EncryptionKeys(Arc<[EncryptionKey]>);

struct EncryptionKey {
    id: String,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

/// A list of keys that cannot be read. It says which of them, and nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {0} of the list is not 32 bytes in base64; `openssl rand -base64 32` makes one")]
pub struct MalformedKey(usize);

/// A sealed secret, as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Which key sealed it.
    pub key_id: String,
    /// The nonce, the ciphertext and the tag.
    pub bytes: Vec<u8>,
}

/// Where a provider's key is kept, and for which address. It opens nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Whose key it is.
    pub organization: OrganizationId,
    /// The run that brought it, if one did.
    pub run: Option<RunId>,
    /// The provider's name.
    pub provider: &'a str,
    /// Where it is sent, if not to the provider's own address.
    pub base_url: Option<&'a str>,
}

/// Why a secret does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Its key is not among the operator's.
    #[error("no key of ENCRYPTION_KEY has the id {0}")]
    UnknownKey(String),
    /// It was changed, or is not where it was put.
    #[error("the ciphertext is broken, or belongs to another row")]
    Broken,
    /// The operating system gave no randomness, or the library failed.
    #[error("nothing can be encrypted right now")]
    Failed,
}

impl EncryptionKeys {
    /// Reads a list of keys in base64, separated by commas.
    ///
    /// # Errors
    /// If one of them is not 32 bytes.
    pub fn parse(list: &str) -> Result<Self, MalformedKey> {
        let keys = list.split(',').enumerate().map(|(index, text)| {
            let decoded = BASE64_STANDARD.decode(text.trim()).map(Zeroizing::new);
            let mut bytes = Zeroizing::new([0; KEY_BYTES]);
            match decoded {
                Ok(decoded) if decoded.len() == KEY_BYTES => bytes.copy_from_slice(&decoded),
                Ok(_) | Err(_) => return Err(MalformedKey(index + 1)),
            }
            Ok(EncryptionKey { id: id_of(&bytes), bytes })
        });
        keys.collect::<Result<Vec<_>, _>>().map(|keys| Self(keys.into()))
    }

    /// The id of the key that seals.
    pub fn first_id(&self) -> &str {
        self.0.first().map_or("", |key| key.id.as_str())
    }

    /// Seals a secret for its place.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn seal(&self, secret: &SecretString, place: Place<'_>) -> Result<Sealed, SealError> {
        let key = self.0.first().ok_or(SealError::Failed)?;
        let plain = secret.expose_secret().as_bytes();
        // It is as long as it gets from the start, so that no copy is left behind when it grows;
        // what is clear in it is overwritten with what is not.
        let mut sealed = Zeroizing::new(Vec::with_capacity(plain.len() + TAG_BYTES));
        sealed.extend_from_slice(plain);
        let nonce = key
            .cipher()?
            .seal_in_place_append_tag(Aad::from(place.bytes()), &mut *sealed)
            .map_err(|_| SealError::Failed)?;
        let bytes = [nonce.as_ref().as_slice(), &sealed].concat();
        Ok(Sealed { key_id: key.id.clone(), bytes })
    }

    /// Opens a secret in its place.
    ///
    /// # Errors
    /// If its key is not known, or it was not sealed for this place.
    pub fn open(&self, sealed: &Sealed, place: Place<'_>) -> Result<SecretString, SealError> {
        let key = self.0.iter().find(|key| key.id == sealed.key_id);
        let key = key.ok_or_else(|| SealError::UnknownKey(sealed.key_id.clone()))?;
        let broken = |_| SealError::Broken;
        let (nonce, rest) = sealed.bytes.split_at_checked(NONCE_LEN).ok_or(SealError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(broken)?;
        let mut opened = Zeroizing::new(rest.to_vec());
        let cipher = key.cipher()?;
        let plain = cipher.open_in_place(nonce, Aad::from(place.bytes()), &mut opened);
        let text = std::str::from_utf8(plain.map_err(broken)?).map_err(|_| SealError::Broken)?;
        Ok(text.to_owned().into())
    }
}

impl EncryptionKey {
    /// The library wipes its own copy when it frees it.
    fn cipher(&self) -> Result<RandomizedNonceKey, SealError> {
        RandomizedNonceKey::new(&AES_256_GCM, &*self.bytes).map_err(|_| SealError::Failed)
    }
}

impl Place<'_> {
    /// What the tag covers besides the ciphertext. No two places have the same bytes: those of runs
    /// begin otherwise, ids have a fixed length, and a provider's name has no NUL.
    fn bytes(self) -> Vec<u8> {
        let kind: &[u8] = match self.run {
            None => b"rungate provider key 1\0",
            Some(_) => b"rungate provider key of a run 1\0",
        };
        let mut bytes = kind.to_vec();
        bytes.extend_from_slice(self.organization.uuid().as_bytes());
        if let Some(run) = self.run {
            bytes.extend_from_slice(run.uuid().as_bytes());
        }
        bytes.extend_from_slice(self.provider.as_bytes());
        bytes.push(0);
        if let Some(base_url) = self.base_url {
            bytes.push(1);
            bytes.extend_from_slice(base_url.as_bytes());
        }
        bytes
    }
}

/// The key is 256 random bits, so a part of its hash tells nothing of it.
fn id_of(key: &[u8; KEY_BYTES]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"rungate encryption key\0");
    hash.update(key);
    hex::encode(hash.finalize().iter().take(ID_BYTES).copied().collect::<Vec<u8>>())
}

impl fmt::Debug for EncryptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.0.iter().map(|key| key.id.as_str());
        f.debug_list().entries(ids).finish()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({})", self.key_id)
    }
}
