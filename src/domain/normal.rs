//! How many bytes a text gains when a tokeniser normalises it first.
//!
//! A tokeniser makes no more than one token of a byte of what it reads; but some read a normal form
//! (Unicode Standard Annex #15) of what they are given: NFC or NFKC, as those of Qwen and the older
//! ones of Anthropic. A few characters are longer there, in UTF-8 up to three times in NFC
//! (U+1D160) and eleven times in NFKC (U+FDFA); see "maximum expansion factors" in Unicode's FAQ on
//! normalization.
//!
//! What is counted here is an upper bound that is nothing for text that is normal already. A text
//! falls apart before each character that no other can follow into a composition or be ordered with
//! – of combining class 0, and not `Maybe` in UAX #15's quick check, also once decomposed –, and is
//! normalised piece by piece. A piece of one character is as long as its own normal form. A longer
//! one has at most the bytes of its characters' full decompositions, since composing never takes
//! more bytes than what is composed; and a syllable of Hangul, whose parts nothing comes between,
//! always becomes itself again.

use std::sync::{LazyLock, OnceLock};

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick, is_nfkc_quick};

/// What a tokeniser does to a text before it cuts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Normalizing {
    /// Nothing that makes it longer.
    Not,
    /// It composes: NFC or NFKC, or nobody knows.
    Composing,
    /// It decomposes, folds case or does what no one has published: NFD, NFKD and their like.
    Decomposing,
}

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// As it is.
    Plain,
    /// As a JSON string, before and after which there may be others of the same text.
    Json,
    /// As JSON that may be read and written again on the way, so that a string within a string
    /// may be read as well.
    Structure,
}

/// From here on no character has another form. A test looks at each.
const FIRST_WITHOUT: usize = 0x3_0000;
const BLOCK: usize = 256;
/// An escape such as `\u00e9`, and half of a pair of them.
const ESCAPE: u64 = 6;
/// Around a JSON string, and no part of the text.
const QUOTES: u64 = 2;

/// The most bytes that `text`, which is written in some way, gains when it is normalised.
pub fn growth(text: &str, written: Written, normalizing: Normalizing) -> u64 {
    let escapes = written != Written::Plain;
    let quiet = || !escapes || memchr::memmem::find(text.as_bytes(), b"\\u").is_none();
    if normalizing == Normalizing::Not || (text.is_ascii() && quiet()) {
        return 0;
    }
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inner = inner.filter(|_| written == Written::Json);
    let mut walk = Walk { forms: forms(), normalizing, total: 0, piece: Piece::default() };
    // What is before a string may be continued by it.
    walk.piece.joined = inner.is_some();
    let text = inner.unwrap_or(text);
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        let rest = text.get(at..).unwrap_or_default();
        let read = match byte {
            b'\\' if escapes => walk.escape(rest.as_bytes(), written),
            0..=0x7f => walk.ascii(rest.as_bytes(), escapes),
            _ => walk.others(rest),
        };
        at += read.max(1);
    }
    walk.piece.joined |= inner.is_some();
    walk.end_piece();
    walk.total.saturating_sub(if inner.is_some() { QUOTES } else { 0 })
}

/// How many bytes at the beginning are ASCII that stands for itself.
fn ascii_run(bytes: &[u8], escapes: bool) -> usize {
    const STEP: usize = 32;
    let ends = |byte: u8| byte >= 0x80 || (escapes && byte == b'\\');
    let clean = |chunk: &&[u8]| !chunk.iter().fold(false, |found, byte| found | ends(*byte));
    let whole = bytes.chunks_exact(STEP).take_while(clean).count() * STEP;
    let tail = bytes.get(whole..).unwrap_or_default();
    whole + tail.iter().take_while(|byte| !ends(**byte)).count()
}

/// The piece at hand.
#[derive(Default)]
struct Piece {
    characters: u32,
    /// Whether there may be more of it than is seen.
    joined: bool,
    /// What it gains if it is one character.
    alone: u64,
    /// What it gains at most if it is composed of more.
    together: u64,
    /// What it gains if all of it is decomposed.
    apart: u64,
}

struct Walk {
    forms: &'static Forms,
    normalizing: Normalizing,
    total: u64,
    piece: Piece,
}

impl Walk {
    /// Takes in ASCII that stands for itself; answers how many bytes of it there are.
    fn ascii(&mut self, bytes: &[u8], escapes: bool) -> usize {
        self.add(1, Form::ASCII);
        ascii_run(bytes, escapes)
    }

    /// Takes in what is not ASCII; answers how many bytes of it there are.
    fn others(&mut self, text: &str) -> usize {
        let mut read = 0;
        for character in text.chars().take_while(|character| !character.is_ascii()) {
            let bytes = character.len_utf8();
            self.add(bytes as u64, self.forms.of(character));
            read += bytes;
        }
        read
    }

    /// Takes a character in that is written in `bytes`.
    fn add(&mut self, bytes: u64, form: Form) {
        if form.begins() {
            self.end_piece();
        }
        self.piece.characters += 1;
        self.piece.alone = form.alone().saturating_sub(bytes);
        self.piece.together += form.together().saturating_sub(bytes);
        self.piece.apart += form.apart().saturating_sub(bytes);
    }

    fn end_piece(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        self.total += match self.normalizing {
            Normalizing::Decomposing => piece.apart,
            _ if piece.characters == 1 && !piece.joined => piece.alone,
            _ => piece.together,
        };
    }

    /// Takes in what a backslash begins; answers how many bytes of it were read.
    fn escape(&mut self, bytes: &[u8], written: Written) -> usize {
        let digits = bytes.strip_prefix(b"\\u").and_then(|rest| rest.get(..4));
        let unit = digits.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u32::from_str_radix(digits, 16).ok()
        });
        if let Some(unit) = unit {
            // Half of a pair has no form; of no character beyond U+FFFF is one longer than both
            // halves are.
            let form =
                char::from_u32(unit).map_or(Form::HALF, |character| self.forms.of(character));
            self.add(ESCAPE, form);
            return 6;
        }
        if written == Written::Json && bytes.get(1).is_some_and(u8::is_ascii) {
            self.add(2, Form::ASCII);
            return 2;
        }
        // What follows may be an escape of the string within.
        1
    }
}

/// What a character becomes, in bytes of UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form(u32);

impl Form {
    const ASCII: Self = Self::new(1, 1, 1, true);
    const HALF: Self = Self::new(6, 6, 6, false);
    const CONTINUES: u32 = 1 << 31;

    const fn new(alone: u32, together: u32, apart: u32, begins: bool) -> Self {
        let continues = if begins { 0 } else { Self::CONTINUES };
        Self(alone | (together << 8) | (apart << 16) | continues)
    }

    /// Works it out.
    fn make(character: char) -> Self {
        let text = character.to_string();
        let lower: Vec<char> = character.to_lowercase().collect();
        let (apart, kept): (Vec<char>, Vec<char>) = (text.nfkd().collect(), text.nfd().collect());
        let first = |form: &[char]| form.first().is_none_or(|first| begins_a_piece(*first));
        let bytes = |form: &[char]| form.iter().map(|part| part.len_utf8()).sum::<usize>();
        let most = bytes(&apart).max(bytes(&kept)).max(bytes(&lower));
        let alone = text.nfc().collect::<String>().len().max(text.nfkc().collect::<String>().len());
        let together = if is_hangul(character) { alone } else { most };
        let small = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).min(0xff);
        let begins = first(&apart) && first(&kept);
        Self::new(small(alone), small(together), small(most), begins)
    }

    fn alone(self) -> u64 {
        u64::from(self.0 & 0xff)
    }

    fn together(self) -> u64 {
        u64::from((self.0 >> 8) & 0xff)
    }

    fn apart(self) -> u64 {
        u64::from((self.0 >> 16) & 0xff)
    }

    fn begins(self) -> bool {
        self.0 & Self::CONTINUES == 0
    }
}

/// Whether it is a whole syllable.
fn is_hangul(character: char) -> bool {
    ('\u{ac00}'..='\u{d7a3}').contains(&character)
}

/// Whether nothing before a character that cannot be decomposed is ordered or composed with it.
fn begins_a_piece(character: char) -> bool {
    let one = || std::iter::once(character);
    canonical_combining_class(character) == 0
        && is_nfc_quick(one()) != IsNormalized::Maybe
        && is_nfkc_quick(one()) != IsNormalized::Maybe
}

/// The forms of all characters, in blocks that are made when they are first met.
struct Forms {
    blocks: Vec<OnceLock<Box<[Form; BLOCK]>>>,
}

impl Forms {
    fn of(&self, character: char) -> Form {
        let code = character as usize;
        // Beyond the table each is four bytes, whatever is done to it.
        let plain = Form::new(4, 4, 4, true);
        let Some(block) = self.blocks.get(code / BLOCK) else { return plain };
        let block = block.get_or_init(|| Self::block(code - code % BLOCK));
        block.get(code % BLOCK).copied().unwrap_or(plain)
    }

    fn block(first: usize) -> Box<[Form; BLOCK]> {
        let mut block = Box::new([Form::ASCII; BLOCK]);
        for (form, code) in block.iter_mut().zip(first..) {
            let character = u32::try_from(code).ok().and_then(char::from_u32);
            *form = character.map_or(Form::HALF, Form::make);
        }
        block
    }
}

fn forms() -> &'static Forms {
    static FORMS: LazyLock<Forms> = LazyLock::new(|| {
        let blocks = (0..FIRST_WITHOUT / BLOCK).map(|_| OnceLock::new()).collect();
        Forms { blocks }
    });
    &FORMS
}
