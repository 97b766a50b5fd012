//! The house rules, checked on the files as they lie in the tree.
//!
//! A rule looks at code without comments and literals, so that neither can pass for code. Every
//! violation is one line with file and line number, and all of them are shown at once.

mod imports;
mod map;
mod money;
mod shape;
mod source;

use source::Source;

/// Fails with everything that was found.
fn assert_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}; {} violations:\n{}", found.len(), found.join("\n"));
}

/// Every Rust file of the library and the binary.
fn library() -> Vec<Source> {
    Source::below(&["src"])
}

/// Every Rust file of the project.
fn everything() -> Vec<Source> {
    Source::below(&["src", "tests", "benches"])
}
