//! How long files, functions and lines are, and which words they hold.

use super::source::Source;
use super::{assert_none, everything};

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;
const COLUMNS: usize = 100;

/// Words that may not stand in the code of a folder, and why.
const FORBIDDEN: [(&str, &[&str], &str); 7] = [
    ("", &["todo!", "unimplemented!", "dbg!"], "it is not finished"),
    ("src/domain/", &["::now("], "pure code takes `now` as an argument"),
    ("src/domain/", &["actix", "sqlx", "tokio", "reqwest"], "the domain knows no framework"),
    ("src/protocol/", &["actix", "sqlx", "tokio", "reqwest"], "wire formats are pure"),
    ("src/gateway/", &["actix", "sqlx"], "use cases know no HTTP server and no SQL"),
    ("src/http/", &["sqlx"], "handlers know no SQL"),
    ("src/ledger/memory", &["sqlx"], "the model keeps everything in memory"),
];

#[test]
fn files_have_at_most_400_lines() {
    let mut found = Vec::new();
    for source in everything() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            found.push(source.at(lines, format!("{lines} lines")));
        }
    }
    assert_none(&format!("a file has at most {FILE_LINES} lines"), &found);
}

#[test]
fn functions_have_at_most_70_lines() {
    let mut found = Vec::new();
    for source in everything() {
        for (line, name, length) in functions(&source) {
            if length > FUNCTION_LINES {
                found.push(source.at(line, format!("{name} has {length} lines")));
            }
        }
    }
    assert_none(&format!("a function has at most {FUNCTION_LINES} lines"), &found);
}

#[test]
fn lines_have_at_most_100_columns() {
    let found: Vec<_> = everything().iter().flat_map(long_lines).collect();
    assert_none(&format!("a line has at most {COLUMNS} columns"), &found);
}

#[test]
fn no_file_holds_what_its_folder_forbids() {
    let found: Vec<_> = everything().iter().flat_map(forbidden).collect();
    assert_none("a word is forbidden here", &found);
}

/// What starts the program or parts of it that log.
const STARTS: [&str; 3] = ["CARGO_BIN_EXE_rungate", "server::start(", "Gateway::new("];

#[test]
fn whatever_the_program_writes_in_a_test_is_looked_through_for_secrets() {
    let mut found = Vec::new();
    for source in Source::below(&["tests"]) {
        let is_list = source.path.ends_with("tidy/shape.rs");
        let starts = STARTS.iter().find(|start| source.text.contains(**start));
        // What starts as a process of `support` is watched there.
        let watched = ["watch::", "GatewayProcess::start("];
        let is_watched = watched.iter().any(|watch| source.code.contains(watch));
        if let Some(start) = starts.filter(|_| !is_list && !is_watched) {
            found.push(source.at(1, format!("{start} without the watch of tests/it/support")));
        }
    }
    assert_none("what starts the program hands its output to the watch", &found);
}

/// Each function with its first line, its name, and how many lines it has.
fn functions(source: &Source) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = source.code.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let length = body_end(&lines[index..]);
        found.push((index + 1, name, length));
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    loop {
        match words.next()? {
            "fn" => break,
            "const" | "async" | "unsafe" | "extern" => {}
            word if word.starts_with("pub") => {}
            _ => return None,
        }
    }
    Some(words.next()?.split(['(', '<']).next()?.to_owned())
}

/// How many lines it takes until the function's body is closed, or its declaration has ended.
fn body_end(lines: &[&str]) -> usize {
    let (mut depth, mut round) = (0_i32, 0_i32);
    for (index, line) in lines.iter().enumerate() {
        for letter in line.chars() {
            match letter {
                '(' | '[' => round += 1,
                ')' | ']' => round -= 1,
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && round == 0 && matches!(letter, ';' | '}') {
                return index + 1;
            }
        }
    }
    lines.len()
}

/// A long line may hold a URL in a comment, and in a test a literal that is long itself.
fn long_lines(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for ((number, code), text) in source.lines().zip(source.text.lines()) {
        let columns = text.chars().count();
        let literal = code.chars().zip(text.chars()).filter(|(code, text)| code != text).count();
        let is_comment = text.trim_start().starts_with("//");
        let excused = match is_comment {
            true => text.contains("://"),
            false => source.path.starts_with("tests/") && columns - literal <= COLUMNS,
        };
        if columns > COLUMNS && !excused {
            found.push(source.at(number, format!("{columns} columns")));
        }
    }
    found
}

fn forbidden(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (folder, words, why) in FORBIDDEN {
        if !source.path.starts_with(folder) {
            continue;
        }
        for (number, line) in source.lines() {
            let hits = words.iter().filter(|word| line.contains(**word));
            found.extend(hits.map(|word| source.at(number, format!("{word}: {why}"))));
        }
    }
    found
}

#[test]
fn what_is_too_long_or_forbidden_is_seen() {
    let source = |text: &str| Source::new("src/domain/a.rs", text);
    let one = source("struct A;\npub(super) async fn f<T>(\n    x: [u8; 2],\n) {\n}\n");
    assert_eq!(functions(&one), [(2, "f".to_owned(), 4)]);
    let declared = source("fn f(\n    x: u8,\n) -> [u8; 2];\nfn g() { \"}\" }\n");
    assert_eq!(functions(&declared), [(1, "f".to_owned(), 3), (4, "g".to_owned(), 1)]);
    let long = "x".repeat(101);
    assert_eq!(long_lines(&source(&long)).len(), 1);
    assert_eq!(long_lines(&source(&format!("// https://{long}"))).len(), 0);
    assert_eq!(long_lines(&source(&format!("// {long}"))).len(), 1);
    assert_eq!(long_lines(&source(&format!("\"{long}\""))).len(), 1);
    assert_eq!(long_lines(&Source::new("tests/a.rs", &format!("\"{long}\""))).len(), 0);
    assert_eq!(forbidden(&source("let now = Utc::now(); // todo!\ndbg!(now)")).len(), 2);
}
