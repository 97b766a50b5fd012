//! Vocabularies that an operator brings, in the format of Hugging Face's `tokenizer.json`.
//!
//! The file decides how a text is cut before its words are looked up, also by expressions that
//! backtrack, so nothing is known of the time that takes. What bounds it stands here: a text is
//! counted in pieces, and what is left when the time is over counts as its bytes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokenizers::{NormalizerWrapper, Tokenizer};

use crate::domain::normal::{Normalizing, Written, growth};

/// How long one prompt may be counted.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// The longest text that is counted in one piece, in bytes.
const PIECE: usize = 16 << 10;
/// The largest file, in bytes. Those of current models have 2 to 35 MB.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// A vocabulary in memory.
pub struct Vocabulary {
    path: PathBuf,
    tokenizer: Tokenizer,
    normalizing: Normalizing,
}

impl Vocabulary {
    /// Reads a file; takes about a second for 100,000 words.
    ///
    /// # Errors
    /// With why, if it cannot be read or is none.
    pub fn read(path: &Path) -> Result<Self, String> {
        let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
        if size > MAX_FILE_BYTES {
            return Err(format!("it has more than {MAX_FILE_BYTES} bytes"));
        }
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let mut tokenizer = Tokenizer::from_bytes(bytes)
            .map_err(|error| format!("it is no tokenizer.json: {error}"))?;
        // Both are for whoever trains: here they would hide tokens, or add some.
        let whole = tokenizer.with_truncation(None).map(|_| ());
        whole.map_err(|error| error.to_string())?;
        tokenizer.with_padding(None);
        // A provider may take `<|end|>` in a text for the one token, or for the text that it is,
        // which is more.
        tokenizer.set_encode_special_tokens(true);
        let normalizing = tokenizer.get_normalizer().map_or(Normalizing::Not, normalizing);
        Ok(Self { path: path.to_owned(), tokenizer, normalizing })
    }

    /// What is done to a text before it is cut.
    pub(super) const fn normalizing(&self) -> Normalizing {
        self.normalizing
    }

    /// The number of tokens of `text`, special tokens in it counted as ordinary text. What is not
    /// counted by `end` counts as its bytes, and so does what cannot be cut into pieces.
    pub(super) fn count(&self, text: &str, end: Instant) -> u64 {
        let (mut tokens, mut rest) = (0_u64, text);
        while !rest.is_empty() {
            if Instant::now() >= end {
                return tokens.saturating_add(self.bytes(rest));
            }
            let clean = cut(rest);
            let (piece, behind) = rest.split_at(clean.unwrap_or(rest.floor_char_boundary(PIECE)));
            let counted = clean.and_then(|_| self.tokenizer.encode_fast(piece, false).ok());
            let counted = counted.map(|counted| counted.len() as u64);
            tokens = tokens.saturating_add(counted.unwrap_or_else(|| self.bytes(piece)));
            rest = behind;
        }
        tokens
    }

    /// The most bytes that a text has once it is normalised.
    fn bytes(&self, text: &str) -> u64 {
        (text.len() as u64).saturating_add(growth(text, Written::Plain, self.normalizing))
    }
}

/// What a normaliser does to the length of a text. A replacement, such as that of spaces by
/// SentencePiece, gives one token for each character all the same.
fn normalizing(normalizer: &NormalizerWrapper) -> Normalizing {
    match normalizer {
        NormalizerWrapper::NFC(_) | NormalizerWrapper::NFKC(_) => Normalizing::Composing,
        NormalizerWrapper::NFD(_)
        | NormalizerWrapper::NFKD(_)
        | NormalizerWrapper::BertNormalizer(_)
        | NormalizerWrapper::StripAccents(_)
        | NormalizerWrapper::Lowercase(_)
        | NormalizerWrapper::Nmt(_)
        | NormalizerWrapper::Precompiled(_) => Normalizing::Decomposing,
        NormalizerWrapper::StripNormalizer(_)
        | NormalizerWrapper::Replace(_)
        | NormalizerWrapper::Prepend(_)
        | NormalizerWrapper::ByteLevel(_) => Normalizing::Not,
        NormalizerWrapper::Sequence(sequence) => {
            let each = sequence.as_ref().iter().map(normalizing);
            each.max().unwrap_or(Normalizing::Not)
        }
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vocabulary({})", self.path.display())
    }
}

/// Where the first piece of a text ends: the last place within its length at which words end for
/// every pre-tokeniser in use, so that the pieces have as many tokens as the whole. `None` if there
/// is no such place.
///
/// That is behind a line's end that is followed by something to read, and before a single space
/// between two words: of GPT-2's expression and all that follow it, and of SentencePiece, each word
/// begins with the space before it.
fn cut(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.len() <= PIECE {
        return Some(bytes.len());
    }
    let windows = bytes.get(..=PIECE)?.windows(3).enumerate().rev();
    let mut places = windows.filter_map(|(at, window)| match window {
        [_, b'\n', next] if next.is_ascii_graphic() || !next.is_ascii() => Some(at + 2),
        [before, b' ', next] if before.is_ascii_alphanumeric() && next.is_ascii_alphabetic() => {
            Some(at + 1)
        }
        _ => None,
    });
    places.next()
}

/// The files that a catalogue names, each read once.
pub(super) struct Vocabularies<'a> {
    /// What the paths in it are relative to.
    folder: &'a Path,
    read: RefCell<HashMap<PathBuf, Arc<Vocabulary>>>,
}

impl<'a> Vocabularies<'a> {
    /// Of the catalogue file of this name.
    pub(super) fn beside(file: &'a str) -> Self {
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        Self { folder, read: RefCell::default() }
    }

    /// The vocabulary in a file.
    ///
    /// # Errors
    /// With why, if it cannot be read or is none.
    pub(super) fn get(&self, path: &str) -> Result<Arc<Vocabulary>, String> {
        let path = self.folder.join(path);
        if let Some(known) = self.read.borrow().get(&path) {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new(Vocabulary::read(&path)?);
        self.read.borrow_mut().insert(path, Arc::clone(&read));
        Ok(read)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_only_where_words_end() {
        assert_eq!(cut("short"), Some(5));
        let long = |middle: &str| format!("{}{middle}{}", "x".repeat(PIECE - 100), "y".repeat(200));
        let at = |middle: &str| cut(&long(middle)).map(|end| end - (PIECE - 100));
        for (middle, expected) in [
            ("a b", Some(1)),
            ("a b c d", Some(5)),
            ("。\né", Some(4)),
            ("a  b", None),
            ("a 1", None),
            (". b", None),
            ("a\n b", None),
            ("", None),
        ] {
            assert_eq!(at(middle), expected, "{middle:?}");
        }
        let text = "日本 語\n".repeat(PIECE);
        assert!(text.is_char_boundary(cut(&text).unwrap()));
    }
}
