//! A JWK set (RFC 7517), reduced to what may sign tokens here.

use std::collections::HashMap;

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Most keys of a set.
const MAX_KEYS: usize = 64;

/// A text that holds no key that could be used.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum BadKeys {
    /// It is no JWK set.
    #[error("this is no JWK set: an object with a list `keys`")]
    NoSet,
    /// It holds too many keys.
    #[error("this JWK set has more than {MAX_KEYS} keys")]
    TooMany,
    /// No key in it is of use.
    #[error("no key of this JWK set has a `kid` and is for RS256, ES256 or EdDSA (Ed25519)")]
    NoneOfUse,
}

/// Keys by their ids.
#[derive(Debug, Default)]
pub struct Keys {
    by_id: HashMap<String, Key>,
    read_from: Vec<Jwk>,
}

/// A key, and the one algorithm that it is for: what the token says of it does not count.
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&self.algorithm).finish()
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.read_from == other.read_from
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

impl Keys {
    /// Reads a set. Keys that are for something else are passed over; of two with one id the first
    /// counts.
    ///
    /// # Errors
    /// If nothing of use is in it.
    pub fn parse(text: &[u8]) -> Result<Self, BadKeys> {
        let set: Set = serde_json::from_slice(text).map_err(|_| BadKeys::NoSet)?;
        if set.keys.len() > MAX_KEYS {
            return Err(BadKeys::TooMany);
        }
        let mut keys = Self::default();
        for value in set.keys {
            let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
            let Some(id) = jwk.common.key_id.clone() else { continue };
            let Some(key) = usable(&jwk) else { continue };
            keys.by_id.entry(id).or_insert(key);
            keys.read_from.push(jwk);
        }
        if keys.by_id.is_empty() { Err(BadKeys::NoneOfUse) } else { Ok(keys) }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Key> {
        self.by_id.get(id)
    }
}

fn usable(jwk: &Jwk) -> Option<Key> {
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(of) if of.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(of) if of.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let common = &jwk.common;
    let fits = common.key_algorithm.is_none_or(|given| given == name);
    let signs = common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
    let operations = common.key_operations.as_ref();
    let verifies = operations.is_none_or(|all| all.contains(&KeyOperations::Verify));
    let key = DecodingKey::from_jwk(jwk).ok()?;
    (fits && signs && verifies).then_some(Key { algorithm, key })
}
