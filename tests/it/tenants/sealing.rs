//! What is sealed opens in its place alone, with its key alone.

use rungate::config::Config;
use rungate::domain::id::{OrganizationId, RunId};
use rungate::domain::seal::{EncryptionKeys, Place, SealError};
use secrecy::{ExposeSecret as _, SecretString};

use super::stage::KEYS;

fn keys(list: &str) -> EncryptionKeys {
    EncryptionKeys::parse(list).unwrap()
}

fn secret() -> SecretString {
    "sentinel-key".to_owned().into()
}

const PLACE: Place<'_> = Place {
    run: None,
    organization: OrganizationId::DEFAULT,
    provider: "openai",
    base_url: Some("https://llm.example/v1"),
};

#[test]
fn what_is_sealed_opens_in_its_place_alone() {
    let keys = keys(KEYS[0]);
    let sealed = keys.seal(&secret(), PLACE).unwrap();
    assert_eq!(keys.open(&sealed, PLACE).unwrap().expose_secret(), "sentinel-key");
    for elsewhere in [
        Place { organization: OrganizationId::generate(), ..PLACE },
        Place { run: Some(RunId::random()), ..PLACE },
        Place { provider: "groq", ..PLACE },
        Place { base_url: Some("https://llm.example/v2"), ..PLACE },
        Place { base_url: Some(""), ..PLACE },
        Place { base_url: None, ..PLACE },
    ] {
        let opened = keys.open(&sealed, elsewhere);
        assert_eq!(opened.err(), Some(SealError::Broken), "{elsewhere:?}");
    }
}

#[test]
fn what_was_changed_by_a_bit_does_not_open() {
    let keys = keys(KEYS[0]);
    let sealed = keys.seal(&secret(), PLACE).unwrap();
    for at in 0..sealed.bytes.len() {
        let mut changed = sealed.clone();
        changed.bytes[at] ^= 1;
        assert_eq!(keys.open(&changed, PLACE).err(), Some(SealError::Broken), "byte {at}");
        changed.bytes.truncate(at);
        assert_eq!(keys.open(&changed, PLACE).err(), Some(SealError::Broken), "{at} bytes");
    }
}

#[test]
fn nothing_of_a_secret_shows_and_no_two_seals_are_alike() {
    let keys = keys(KEYS[0]);
    let (one, other) = (keys.seal(&secret(), PLACE).unwrap(), keys.seal(&secret(), PLACE).unwrap());
    assert_ne!(one.bytes, other.bytes);
    assert_ne!(one.bytes[..12], other.bytes[..12], "a nonce is never used twice");
    for told in
        [format!("{one:?}"), format!("{keys:?}"), String::from_utf8_lossy(&one.bytes).into()]
    {
        assert!(!told.contains("sentinel") && !told.contains(KEYS[0]), "{told}");
    }
}

#[test]
fn the_first_key_seals_and_every_key_opens() {
    let old = keys(KEYS[0]);
    let sealed = old.seal(&secret(), PLACE).unwrap();
    let both = keys(&format!(" {} , {}", KEYS[1], KEYS[0]));
    assert_eq!(both.open(&sealed, PLACE).unwrap().expose_secret(), "sentinel-key");
    let resealed = both.seal(&secret(), PLACE).unwrap();
    assert_eq!(resealed.key_id, keys(KEYS[1]).first_id());
    assert_eq!(old.open(&resealed, PLACE).err(), Some(SealError::UnknownKey(resealed.key_id)));
}

#[test]
fn a_malformed_encryption_key_stops_the_start_and_is_not_told() {
    let whole = "hunter2hunter2hunter2hunter2hunter2hunter2";
    let short = "aHVudGVyMg==";
    for (list, which) in [
        (whole.to_owned(), 1),
        (short.to_owned(), 1),
        (format!("{},{short}", KEYS[0]), 2),
        (format!("{},", KEYS[0]), 2),
    ] {
        let read = |name: &str| (name == "ENCRYPTION_KEY").then(|| list.clone());
        let errors = Config::read(&read).unwrap_err();
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let expected = format!(
            "ENCRYPTION_KEY: key {which} of the list is not 32 bytes in base64; `openssl rand \
             -base64 32` makes one"
        );
        assert_eq!(told, [expected]);
    }
}
