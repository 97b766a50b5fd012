//! Files, and their code without comments and literals.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of Rust.
pub(super) struct Source {
    /// From the project's root, with slashes.
    pub(super) path: String,
    /// As it is.
    pub(super) text: String,
    /// With comments and the insides of literals blanked, character for character.
    pub(super) code: String,
}

/// The project's root.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file with this extension below these folders, in order.
pub(super) fn files(folders: &[&str], extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = left.pop() {
        // Not every project has benches.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: code_of(text) }
    }

    pub(super) fn below(folders: &[&str]) -> Vec<Self> {
        files(folders, "rs").iter().map(|(path, text)| Self::new(path, text)).collect()
    }

    /// The top-level module that the file belongs to; `main` for the binary.
    pub(super) fn module(&self) -> &str {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inner.split(['/', '.']).next().unwrap_or(inner)
    }

    /// Lines of code with their numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// A violation, as it is shown.
    pub(super) fn at(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    /// The line that a position of the code is on.
    pub(super) fn line_of(&self, position: usize) -> usize {
        self.code[..position].matches('\n').count() + 1
    }
}

fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = blank_until(&chars, at).unwrap_or(at).min(chars.len());
        code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            at = end;
        }
    }
    code
}

/// Where the comment or literal ends that begins here.
fn blank_until(chars: &[char], at: usize) -> Option<usize> {
    match &chars[at..] {
        ['/', '/', ..] => Some(find(chars, at, &['\n'])),
        ['/', '*', ..] => Some(block_comment(chars, at)),
        ['"', ..] => Some(string(chars, at)),
        ['r', '#' | '"', ..] if !in_word(chars, at) => raw_string(chars, at),
        ['\'', '\\', ..] => Some(find(chars, at + 3, &['\'']) + 1),
        ['\'', _, '\'', ..] => Some(at + 3),
        _ => None,
    }
}

fn find(chars: &[char], from: usize, what: &[char]) -> usize {
    let from = from.min(chars.len());
    let found = chars[from..].windows(what.len()).position(|window| window == what);
    found.map_or(chars.len(), |offset| from + offset)
}

/// Whether a letter belongs to a longer word; `b` before a string is none.
fn in_word(chars: &[char], at: usize) -> bool {
    let before = |distance: usize| {
        let letter = at.checked_sub(distance).map(|index| chars[index]);
        letter.filter(|c| c.is_alphanumeric() || *c == '_')
    };
    match before(1) {
        Some('b') => before(2).is_some(),
        other => other.is_some(),
    }
}

fn block_comment(chars: &[char], at: usize) -> usize {
    let (mut depth, mut at) = (1, at + 2);
    while depth > 0 && at < chars.len() {
        let (opens, closes) = (find(chars, at, &['/', '*']), find(chars, at, &['*', '/']));
        depth = if opens < closes { depth + 1 } else { depth - 1 };
        at = opens.min(closes) + 2;
    }
    at
}

fn string(chars: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let opening = at + 1 + hashes;
    if chars.get(opening) != Some(&'"') {
        return None;
    }
    let closing: Vec<char> = std::iter::once('"').chain(vec!['#'; hashes]).collect();
    Some(find(chars, opening + 1, &closing) + closing.len())
}

#[test]
fn comments_and_literals_are_blanked_and_nothing_else() {
    let check = |text: &str, code: &str| assert_eq!(code_of(text), code, "{text}");
    check("a // b\nc", "a     \nc");
    check("a /* b /* c */ d */ e", "a                   e");
    check(r#"f("x\"y", 'a', '\'', '"')"#, "f(      ,    ,     ,    )");
    check("r#\"a\"b\"# + br\"c\" + r#type", "         + b     + r#type");
    check("&'a str", "&'a str");
}
