//! What strangers send, at random: agents' bodies and credentials, providers' answers and streams.
//!
//! Each test runs the kept corpus in `fixtures/fuzz` first and then as many random cases as
//! `FUZZ_CASES` says, a short number of its own if it is not set. What fails is reduced, kept in
//! the corpus under the name `found-…`, and from then on the first thing that is run.

mod body;
mod bodies;
mod generate;
mod translated;
mod credential;
mod answer;
mod http;
mod mutate;
mod stream;
mod streams;

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestError, TestRunner};
use sha2::{Digest as _, Sha256};

/// How many characters of a failing input are printed.
const SHOWN: usize = 2_000;

fn folder(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/fuzz").join(kind)
}

/// What other tests keep: for which kind, where, and how such files end.
const ELSEWHERE: [(&str, &str, &str); 4] = [
    (stream::KIND, "../openai", ""),
    ("messages-stream", "../translate", ".sse"),
    ("responses-stream", "../responses", ".sse"),
    ("responses", "../responses", ".json"),
];

/// The kept inputs of one kind, by where they lie.
fn corpus(kind: &str) -> Vec<(String, Vec<u8>)> {
    let elsewhere = ELSEWHERE.iter().filter(|(of, ..)| *of == kind);
    let folders = elsewhere.map(|(_, at, end)| (folder(at), *end)).chain([(folder(kind), "")]);
    let entries = folders.flat_map(|(folder, end)| {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(move |path| path.to_str().unwrap().ends_with(end))
    });
    let mut kept: Vec<(String, Vec<u8>)> =
        entries.map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect();
    kept.sort();
    assert!(!kept.is_empty(), "nothing is kept for {kind}");
    kept
}

/// How many random cases are run: `FUZZ_CASES`, else `short`.
fn cases(short: u32) -> u32 {
    match std::env::var("FUZZ_CASES") {
        Ok(cases) => cases.parse().expect("FUZZ_CASES is a whole number"),
        Err(_) => short,
    }
}

/// Runs the kept inputs, and then random ones.
fn fuzz(
    kind: &str,
    cases: u32,
    inputs: &impl Strategy<Value = Vec<u8>>,
    check: impl Fn(&[u8]) -> TestCaseResult,
) {
    for (name, bytes) in corpus(kind) {
        if let Err(error) = check(&bytes) {
            panic!("{name}: {error}");
        }
    }
    // A failure is kept as the input itself, which outlives a change of the generator.
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    match TestRunner::new(config).run(inputs, |bytes| check(&bytes)) {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("{kind}: given up: {reason}"),
        Err(TestError::Fail(reason, bytes)) => {
            let mut name = hex::encode(Sha256::digest(&bytes));
            name.truncate(12);
            let kept = folder(kind).join(format!("found-{name}"));
            fs::write(&kept, &bytes).unwrap();
            let shown: String = bytes.escape_ascii().to_string().chars().take(SHOWN).collect();
            panic!("{kind}: {reason}\nkept as {}:\n{shown}", kept.display());
        }
    }
}
