//! Damage to inputs, of the kinds that parsers get wrong.

use proptest::prelude::*;
use proptest::sample::Index;

/// The longest input that is made, in bytes.
const MAX_BYTES: usize = 16 << 10;

/// One step of damage.
#[derive(Clone, Debug)]
pub(super) enum Damage {
    Set(Index, u8),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize, usize),
    Cut(Index),
}

/// Any damage; what is inserted comes from `words` as often as not.
pub(super) fn damage(words: &'static [&'static str]) -> impl Strategy<Value = Damage> {
    let word = prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let bytes = prop::collection::vec(any::<u8>(), 1..8);
    prop_oneof![
        4 => (any::<Index>(), word).prop_map(|(at, word)| Damage::Insert(at, word)),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        2 => (any::<Index>(), 1..40_usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        1 => (any::<Index>(), bytes).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => (any::<Index>(), 1..60_usize, 1..20_usize)
            .prop_map(|(at, count, times)| Damage::Repeat(at, count, times)),
        1 => any::<Index>().prop_map(Damage::Cut),
    ]
}

/// An input after all of this damage.
pub(super) fn apply(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        match damage {
            Damage::Set(at, byte) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Damage::Set(..) => {}
            Damage::Remove(at, count) => {
                let at = at.index(bytes.len() + 1);
                let end = (at + count).min(bytes.len());
                bytes.drain(at..end);
            }
            Damage::Insert(at, word) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, word.iter().copied());
            }
            Damage::Repeat(at, count, times) => {
                let at = at.index(bytes.len() + 1);
                let piece = bytes[at..(at + count).min(bytes.len())].repeat(*times);
                bytes.splice(at..at, piece);
            }
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
        }
        bytes.truncate(MAX_BYTES);
    }
    bytes
}

/// Inputs of a source, most of them damaged.
pub(super) fn damaged(
    source: impl Strategy<Value = Vec<u8>>,
    words: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> {
    (source, prop::collection::vec(damage(words), 0..6))
        .prop_map(|(bytes, damages)| apply(bytes, &damages))
}
