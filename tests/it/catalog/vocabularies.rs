//! Vocabularies that an operator brings.

use std::fs;
use std::path::Path;

use rungate::catalog::tokenizer::Counting;
use rungate::catalog::{Catalog, CatalogError};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::GOOD;

/// A byte-level BPE made by hand: all bytes, and a few words. It also asks for texts to be cut off
/// and filled up, as files of small models do.
const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tokenizers/tiny.json");

/// A catalogue in a folder of its own, whose row has this line instead of its tokenizer.
fn catalogue(folder: &TempDir, line: &str) -> Result<Catalog, CatalogError> {
    let path = folder.path().join("models.toml");
    Catalog::parse(path.to_str().unwrap(), &GOOD.replace("tokenizer = \"o200k\"", line))
}

/// The expression by which current models (Qwen 2, Llama 3 and later ones) cut texts into words.
const WORDS: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// The file as it is, and as current models would have it.
fn files() -> [String; 2] {
    let tiny = fs::read_to_string(TINY).unwrap();
    let mut current: Value = serde_json::from_str(&tiny).unwrap();
    current["normalizer"] = json!({"type": "NFC"});
    current["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
    ]});
    [tiny, current.to_string()]
}

/// How the gateway counts with a file.
fn counting(file: &str) -> Counting {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tiny.json"), file).unwrap();
    let catalog = catalogue(&folder, "tokenizer_file = \"tiny.json\"").unwrap();
    catalog.resolve("acme/one", |_| true).unwrap().tokenizer.clone()
}

#[test]
fn a_row_counts_with_the_file_beside_the_catalogue() {
    let tiny = counting(&files()[0]);
    assert_eq!(tiny.name(), "file");
    for (text, tokens) in [
        ("", 0),
        ("hello", 1),
        ("hello world", 2),
        ("hello the world word", 4),
        ("日", 1),
        ("語", 3),
        // As the text that it is, though the file says that it is one token.
        ("<|end|>", 7),
        ("hellohello hello", 4),
    ] {
        assert_eq!(tiny.count(text), tokens, "{text}");
    }
}

/// How many tokens the library makes of a text in one piece, without what only training asks for.
fn whole(file: &str) -> impl Fn(&str) -> u64 {
    let mut whole: tokenizers::Tokenizer = file.parse().unwrap();
    whole.with_truncation(None).unwrap();
    whole.with_padding(None);
    move |text| whole.encode_fast(text, false).unwrap().len() as u64
}

#[test]
fn a_long_text_is_counted_in_pieces_as_if_it_were_whole() {
    let prose = "hello world, the word: 42 (日 本) \"hello\"!\n\n\thello the 語\nworld's  word. ";
    for file in files() {
        let (counting, whole) = (counting(&file), whole(&file));
        for text in [prose.repeat(600), "hello world ".repeat(4_000), "日本語。\n".repeat(4_000)]
        {
            // Several pieces, and still counted in a moment.
            assert!(text.len() > 40_000);
            assert_eq!(counting.count(&text), whole(&text), "{}", &text[..30]);
        }
    }
}

#[test]
fn whatever_the_text_it_counts_as_no_more_than_its_bytes_and_no_less_than_its_tokens() {
    let texts = [
        " ".repeat(100_000),
        "a".repeat(100_000),
        "\n".repeat(100_000),
        format!("{}x", " \t".repeat(50_000)),
        "!?".repeat(50_000),
        "é".repeat(50_000),
        "hello".repeat(20_000),
        "<|end|>".repeat(15_000),
        "\u{1F469}\u{200D}".repeat(15_000),
    ];
    for file in files() {
        let (counting, whole) = (counting(&file), whole(&file));
        for text in &texts {
            let counted = counting.count(text);
            let shown: String = text.chars().take(3).collect();
            assert!(counted <= text.len() as u64, "{counted} of {shown:?}");
            let tokens = whole(text);
            assert!(counted >= tokens, "{counted} < {tokens} of {shown:?}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("broken.json", "{\"version\": \"1.0\"");
    write("other.json", "{\"a\": 1}");
    fs::create_dir(folder.path().join("folder")).unwrap();
    for (file, why) in [
        ("none.json", "No such file"),
        ("broken.json", "it is no tokenizer.json: "),
        ("other.json", "it is no tokenizer.json: "),
        ("folder", "Is a directory"),
    ] {
        let error = catalogue(&folder, &format!("tokenizer_file = \"{file}\"")).unwrap_err();
        let error = error.to_string();
        let says =
            format!("models.toml:8: model \"acme/one\": `tokenizer_file` = \"{file}\" cannot");
        assert!(error.contains(&says) && error.contains(why), "{error}");
    }
}

#[test]
fn a_row_names_one_way_to_count_and_only_anthropic_counts_itself() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |line: &str| catalogue(&folder, line).unwrap_err().problem.to_string();
    let both = "tokenizer = \"o200k\"\ntokenizer_file = \"tiny.json\"";
    assert_eq!(refused(both), "`tokenizer_file` stands beside `tokenizer`; give one of them");
    assert_eq!(
        refused("tokenizer = \"anthropic\""),
        "`tokenizer` = \"anthropic\": `openai` has no endpoint that counts tokens"
    );
    assert_eq!(refused("tokenizer_file = 1"), "`tokenizer_file` must be a string, not integer");
}

#[test]
fn rows_that_name_one_file_share_what_was_read_of_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(TINY, folder.path().join("tiny.json")).unwrap();
    let row = GOOD.replace("tokenizer = \"o200k\"", "tokenizer_file = \"tiny.json\"");
    let other = row.replace("acme/one", "acme/two").replace("one-v1", "two-v1");
    let path = folder.path().join("models.toml");
    let catalog = Catalog::parse(path.to_str().unwrap(), &format!("{row}{other}")).unwrap();
    let file = |name: &str| match &catalog.model(name).unwrap().targets[0].tokenizer {
        Counting::File(file) => std::sync::Arc::as_ptr(file),
        other => panic!("{other:?}"),
    };
    assert_eq!(file("acme/one"), file("acme/two"));
    assert!(Path::new(TINY).is_absolute());
    let absolute = format!("tokenizer_file = {TINY:?}");
    assert!(catalogue(&folder, &absolute).is_ok(), "an absolute path stands for itself");
}
