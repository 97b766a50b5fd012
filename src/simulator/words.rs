//! Text out of nothing: a hash, a small generator of numbers, and words that are one token each.
//!
//! Every piece here is exactly one token of both OpenAI vocabularies, and stays one when pieces
//! follow each other as [`Words`] lets them, so a text of N pieces has N tokens and nobody has to
//! count it. It does not know what a request or an answer looks like.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const ODD: u64 = 0xd6e8_feb8_6659_fd93;

/// The fewest pieces of a JSON text.
pub(super) const SHORTEST_JSON: u64 = 5;
/// What opens a JSON text, token by token.
const JSON_OPENING: [&str; 3] = ["{\"", "answer", "\":\""];
const JSON_CLOSING: &str = "\"}";

/// First words of a sentence.
#[rustfmt::skip]
const STARTERS: [&str; 16] = [
    " The", " This", " That", " It", " We", " They", " There", " When",
    " If", " In", " As", " For", " Each", " Some", " One", " So",
];

#[rustfmt::skip]
const WORDS: [&str; 208] = [
    " time", " year", " people", " way", " day", " man", " thing", " woman",
    " life", " child", " world", " school", " state", " family", " student", " group",
    " country", " problem", " hand", " part", " place", " case", " week", " company",
    " system", " program", " question", " work", " government", " number", " night", " point",
    " home", " water", " room", " mother", " area", " money", " story", " fact",
    " month", " lot", " right", " study", " book", " eye", " job", " word",
    " business", " issue", " side", " kind", " head", " house", " service", " friend",
    " father", " power", " hour", " game", " line", " end", " member", " law",
    " car", " city", " community", " name", " team", " minute", " idea", " body",
    " information", " back", " face", " others", " level", " office", " door", " health",
    " person", " art", " war", " history", " party", " result", " change", " morning",
    " reason", " research", " girl", " moment", " air", " teacher", " force", " education",
    " be", " have", " do", " say", " get", " make", " go", " know",
    " take", " see", " come", " think", " look", " want", " give", " use",
    " find", " tell", " ask", " seem", " feel", " try", " leave", " call",
    " good", " new", " first", " last", " long", " great", " little", " own",
    " other", " old", " big", " high", " different", " small", " large", " next",
    " early", " young", " important", " few", " public", " bad", " same", " able",
    " to", " of", " in", " for", " on", " with", " at", " by",
    " from", " up", " about", " into", " over", " after", " the", " a",
    " this", " that", " it", " not", " or", " an", " will", " my",
    " one", " all", " would", " there", " their", " what", " so", " out",
    " if", " who", " which", " me", " when", " can", " like", " just",
    " him", " before", " your", " some", " could", " them", " than", " then",
    " now", " only", " its", " also", " two", " how", " our", " well",
    " even", " because", " any", " these", " most", " us", " is", " are",
];

/// A hash of `bytes` that starts from `seed`: the same on every machine and in every version.
pub(super) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut state = fold(seed ^ GOLDEN, bytes.len() as u64 ^ ODD);
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), GOLDEN).wrapping_add(ODD);
    }
    let tail = rest.iter().fold(0, |tail, byte| tail << 8 | u64::from(*byte));
    fold(state ^ tail, ODD)
}

fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product >> 64) as u64 ^ product as u64
}

/// Numbers that look random: splitmix64.
#[derive(Clone)]
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    /// The next number.
    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number below `end`; 0 if that is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(end)) >> 64) as u64
    }

    /// One of `list`.
    pub(super) fn pick(&mut self, list: &[&'static str]) -> &'static str {
        let index = self.below(list.len() as u64) as usize;
        list.get(index).copied().unwrap_or(" time")
    }

    /// A word without the space before it.
    pub(super) fn word(&mut self) -> &'static str {
        self.pick(&WORDS).trim_start()
    }
}

/// A text, piece by piece.
#[derive(Clone)]
pub(super) struct Words {
    numbers: Numbers,
    /// How many pieces the text has when nothing cuts it.
    natural: u64,
    /// How many pieces may be given out.
    limit: u64,
    given: u64,
    /// Words until the sentence may end; at 0 a full stop is due.
    sentence: u64,
    /// Whether the next word must not be followed by another mark.
    marked: bool,
    json: bool,
}

impl Words {
    /// A text of `natural` tokens, of which the first `limit` are given out.
    pub(super) fn new(numbers: Numbers, natural: u64, limit: u64, json: bool) -> Self {
        let natural = if json { natural.max(SHORTEST_JSON) } else { natural };
        Self {
            numbers,
            natural,
            limit: natural.min(limit),
            given: 0,
            sentence: 0,
            marked: true,
            json,
        }
    }

    /// How many tokens are given out in all.
    pub(super) fn tokens(&self) -> u64 {
        self.limit
    }

    /// Whether the limit cuts the text short.
    pub(super) fn is_cut(&self) -> bool {
        self.limit < self.natural
    }

    /// The next piece, which is one token.
    pub(super) fn next_piece(&mut self) -> Option<&'static str> {
        if self.given == self.limit {
            return None;
        }
        let position = self.given;
        self.given += 1;
        // Two marks in a row would be one token, so the piece before the last is always a word.
        let left = self.natural - position;
        if self.json {
            return Some(self.json_piece(position, left));
        }
        Some(match (position, left) {
            (0, _) => self.starter().trim_start(),
            (_, 1) => ".",
            (_, 2) => self.plain(),
            _ => self.running(),
        })
    }

    fn json_piece(&mut self, position: u64, left: u64) -> &'static str {
        if let Some(opening) = JSON_OPENING.get(position as usize) {
            return opening;
        }
        match (position, left) {
            (_, 1) => JSON_CLOSING,
            (3, _) => self.starter().trim_start(),
            _ => self.plain(),
        }
    }

    fn starter(&mut self) -> &'static str {
        self.sentence = 4 + self.numbers.below(12);
        self.marked = false;
        self.numbers.pick(&STARTERS)
    }

    fn plain(&mut self) -> &'static str {
        self.numbers.pick(&WORDS)
    }

    /// A piece in the middle of a text: a word, or a mark after one.
    fn running(&mut self) -> &'static str {
        if self.marked && self.sentence == 0 {
            return self.starter();
        }
        if self.sentence == 0 {
            self.marked = true;
            return ".";
        }
        if !self.marked && self.numbers.below(12) == 0 {
            self.marked = true;
            return ",";
        }
        self.sentence -= 1;
        self.marked = false;
        self.plain()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tokenizer::Tokenizer;

    const VOCABULARIES: [Tokenizer; 2] = [Tokenizer::O200k, Tokenizer::Cl100k];

    fn text(seed: u64, natural: u64, limit: u64, json: bool) -> (String, u64) {
        let mut words = Words::new(Numbers(seed), natural, limit, json);
        let (mut text, mut pieces) = (String::new(), 0);
        while let Some(piece) = words.next_piece() {
            text.push_str(piece);
            pieces += 1;
        }
        assert_eq!(pieces, words.tokens());
        (text, pieces)
    }

    #[test]
    fn every_piece_is_one_token() {
        let words = WORDS.iter().chain(&STARTERS).copied();
        let first = STARTERS.iter().map(|word| word.trim_start());
        let marks = JSON_OPENING.into_iter().chain([JSON_CLOSING, ".", ","]);
        let wrong: Vec<_> = words
            .chain(first)
            .chain(marks)
            .filter(|piece| VOCABULARIES.iter().any(|vocabulary| vocabulary.count(piece) != 1))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn a_text_has_as_many_tokens_as_pieces() {
        for seed in 0..300 {
            let natural = 1 + seed % 170;
            for (limit, json) in [(u64::MAX, false), (u64::MAX, true), (9, false), (9, true)] {
                let (text, pieces) = text(seed, natural, limit, json);
                for vocabulary in VOCABULARIES {
                    assert_eq!(vocabulary.count(&text), pieces, "{seed} {text:?}");
                }
            }
        }
    }

    #[test]
    fn a_shorter_limit_gives_the_beginning_of_the_same_text() {
        let (whole, _) = text(7, 60, u64::MAX, false);
        for limit in 0..60 {
            let (part, pieces) = text(7, 60, limit, false);
            assert!(whole.starts_with(&part));
            assert_eq!(pieces, limit);
        }
        assert!(whole.ends_with('.'));
    }

    #[test]
    fn json_texts_are_json() {
        for natural in 0..50 {
            let (text, _) = text(natural, natural, u64::MAX, true);
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
            assert!(parsed.is_ok(), "{text}");
        }
    }

    #[test]
    fn the_hash_is_fixed_and_sees_every_byte() {
        let base = hash(1, b"0123456789abc");
        assert_eq!(base, hash(1, b"0123456789abc"));
        for other in [&b"0123456789abd"[..], b"1123456789abc", b"0123456789ab", b""] {
            assert_ne!(base, hash(1, other));
        }
        assert_ne!(base, hash(2, b"0123456789abc"));
    }
}
