//! What normalisation adds to the bytes of a text: never more than is counted, and nothing is
//! counted for what people write.

use proptest::prelude::*;
use rungate::domain::normal::Normalizing::{Composing, Decomposing, Not};
use rungate::domain::normal::Written::{Json, Plain, Structure};
use rungate::domain::normal::growth;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::canonical_combining_class;

fn every() -> impl Iterator<Item = char> {
    (0..=0x10_FFFF).filter_map(char::from_u32)
}

/// The longest that a text becomes by composing, and by decomposing or folding, in bytes.
fn longest(text: &str) -> (u64, u64) {
    let bytes = |form: &mut dyn Iterator<Item = char>| -> u64 {
        form.map(|part| part.len_utf8() as u64).sum()
    };
    let composed = bytes(&mut text.nfc()).max(bytes(&mut text.nfkc()));
    let apart = bytes(&mut text.nfd()).max(bytes(&mut text.nfkd()));
    (composed, apart.max(bytes(&mut text.chars().flat_map(char::to_lowercase))))
}

/// A text as a JSON string in which some characters are escaped.
fn json(text: &str, mut escaped: impl FnMut(char) -> bool) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            _ if !escaped(character) => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
    out
}

fn is_odd(character: char) -> bool {
    !character.is_ascii_graphic()
}

/// Holds a text against what is counted, written as it is and in JSON, in which the characters are
/// escaped that `escapes` says.
fn check(text: &str, escapes: u64) {
    let (composed, apart) = longest(text);
    let mut bits = escapes;
    let mixed = json(text, |_| {
        bits = bits.rotate_right(1);
        bits & 1 == 1
    });
    // A text may be sent in parts, each a string of its own.
    for (at, _) in text.char_indices() {
        let (before, after) = text.split_at(at);
        let [before, after] = [before, after].map(|part| json(part, |_| false));
        for normalizing in [Composing, Decomposing] {
            let counted = |part: &String| part.len() as u64 + growth(part, Json, normalizing);
            let real = if normalizing == Composing { composed } else { apart };
            assert!(real <= counted(&before) + counted(&after), "{before:?} {after:?}");
        }
    }
    let twice = serde_json::to_string(&mixed).unwrap();
    for (raw, written) in [(text, Plain), (&mixed, Json), (&mixed, Structure), (&twice, Structure)]
    {
        let bytes = raw.len() as u64;
        assert!(composed <= bytes + growth(raw, written, Composing), "{raw:?} {written:?}");
        assert!(apart <= bytes + growth(raw, written, Decomposing), "{raw:?} {written:?}");
        assert_eq!(growth(raw, written, Not), 0);
        // A structure may also be read as it is written.
        if written == Structure {
            let (composed, apart) = longest(raw);
            assert!(composed <= bytes + growth(raw, written, Composing), "{raw:?} as it is");
            assert!(apart <= bytes + growth(raw, written, Decomposing), "{raw:?} as it is");
        }
    }
}

#[test]
fn no_character_grows_by_more_than_is_counted() {
    for character in every() {
        let text = character.to_string();
        if character >= '\u{30000}' {
            // Nothing is kept of these.
            assert!(text.nfkd().eq([character]) && text.nfd().eq([character]), "{character:?}");
            assert!(character.to_lowercase().eq([character]), "{character:?}");
            assert_eq!(canonical_combining_class(character), 0, "{character:?}");
            continue;
        }
        let (composed, apart) = longest(&text);
        let bytes = text.len() as u64;
        // By itself to the byte.
        assert_eq!(growth(&text, Plain, Composing), composed.saturating_sub(bytes), "{text:?}");
        assert_eq!(growth(&text, Plain, Decomposing), apart.saturating_sub(bytes), "{text:?}");
        let escaped = json(&text, is_odd);
        assert!(apart <= escaped.len() as u64 + growth(&escaped, Json, Decomposing));
        assert!(composed <= escaped.len() as u64 + growth(&escaped, Json, Composing));
    }
}

#[test]
fn no_character_grows_by_more_beside_another() {
    for before in ["e", "\u{e9}", "\u{1ea1}", "\u{ac00}", "\u{304b}", "\u{1f82}"] {
        for character in every().take_while(|character| *character < '\u{30000}') {
            let text = format!("{before}{character}\u{301}");
            let (composed, _) = longest(&text);
            let most = text.len() as u64 + growth(&text, Plain, Composing);
            assert!(composed <= most, "{text:?}");
        }
    }
}

/// Why the bytes of what is decomposed bound those of what is composed.
#[test]
fn no_composition_is_longer_than_what_it_is_made_of() {
    for character in every() {
        let apart: Vec<char> = character.to_string().nfd().collect();
        let Some((last, rest)) = apart.split_last() else { continue };
        let rest: String = rest.iter().copied().nfc().collect();
        if rest.chars().chain([*last]).nfc().eq([character]) && !rest.is_empty() {
            assert!(character.len_utf8() <= rest.len() + last.len_utf8(), "{character:?}");
        }
    }
}

#[test]
fn what_people_write_gains_nothing() {
    for text in [
        "plain \\u0041 text, \"quoted\" \n",
        "Fran\u{e7}ois a d\u{e9}j\u{e0} mang\u{e9} \u{2013} \u{ab} na\u{ef}ve \u{bb}\u{2026}",
        "Ti\u{1ebf}ng Vi\u{1ec7}t c\u{f3} d\u{1ea5}u",
        "Ich wei\u{df}: \u{c4}pfel, \u{d6}l \u{20ac} 5 \u{201e}ja\u{201c}",
        "\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}, \u{439}\u{451}\u{436}\u{438}\u{43a}",
        "\u{d55c}\u{ad6d}\u{c5b4} \u{ac12}\u{c744} \u{c77d}\u{b294}\u{b2e4}.",
        "\u{30ac}\u{30e9}\u{30b9}\u{306e}\u{3070}\u{3089}\u{3001}\u{3074}\u{304b}\u{3002}",
        "\u{304b}\u{3099}e\u{301}",
        "\u{4f60}\u{597d}\u{ff0c}\u{4e16}\u{754c}\u{ff01}\u{ff08}\u{4e2d}\u{6587}\u{ff09}",
        "\u{645}\u{631}\u{62d}\u{628}\u{627} \u{628}\u{643}",
        "\u{928}\u{92e}\u{938}\u{94d}\u{924}\u{947} \u{926}\u{941}\u{928}\u{93f}\u{92f}\u{93e}",
        "\u{e2a}\u{e27}\u{e31}\u{e2a}\u{e14}\u{e35}",
        "\u{5e9}\u{5b8}\u{5dc}\u{5d5}\u{5b9}\u{5dd}",
        "\u{1f600} \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{2764}\u{fe0f} \u{1f1e9}\u{1f1ea}",
    ] {
        assert_eq!(growth(text, Plain, Composing), 0, "{text}");
        let raw = serde_json::to_string(text).unwrap();
        assert_eq!(growth(&raw, Json, Composing), 0, "{text}");
        assert_eq!(growth(&json(text, is_odd), Json, Composing), 0, "{text}");
    }
}

#[test]
fn what_grows_is_counted() {
    for (text, composing, decomposing) in [
        ("\u{1d160}", 8, 8),
        ("\u{fdfa}", 30, 30),
        ("\u{e9}", 0, 1),
        ("\u{e0}\u{323}", 1, 1),
        ("\u{d55c}", 0, 6),
        ("\u{130}", 0, 1),
        ("a\u{344}b\u{344}", 4, 4),
    ] {
        assert_eq!(growth(text, Plain, Composing), composing, "{text:?}");
        assert_eq!(growth(text, Plain, Decomposing), decomposing, "{text:?}");
    }
    assert_eq!(growth(r#""\ufdfa""#, Json, Composing), 25);
    assert_eq!(growth(r#""\\ufdfa""#, Json, Composing), 0);
    assert_eq!(growth(r#""\\ufdfa""#, Structure, Composing), 27);
}

/// Characters that do something, among some that do nothing.
fn character() -> impl Strategy<Value = char> {
    let odd: Vec<char> = every()
        .filter(|character| {
            let text = character.to_string();
            let after = format!("\u{e0}{character}");
            growth(&text, Plain, Decomposing) > 0 || growth(&after, Plain, Composing) > 0
        })
        .collect();
    prop_oneof![
        6 => prop::sample::select(odd),
        1 => any::<char>(),
        1 => prop::sample::select(vec!['a', 'e', ' ', '\\', '"', 'u', '0', '\n']),
        1 => prop::sample::select(vec!['\u{1100}', '\u{1161}', '\u{11a8}', '\u{ac00}', '\u{300}']),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_text_grows_by_more_than_is_counted(
        escapes: u64,
        characters in prop::collection::vec(character(), 0..12),
    ) {
        let text: String = characters.into_iter().collect();
        check(&text, escapes);
    }
}
