//! The tables of what becomes of each field.

use std::collections::BTreeSet;

use rungate::protocol::chat;
use rungate::protocol::request::fields::Action;
use rungate::protocol::translate::{CHAT_TO_MESSAGES, MESSAGES_TO_CHAT, Rule, markdown};

/// Below these nothing is looked at: the whole is dropped or refused.
const OPAQUE: [&str; 5] = [
    "messages[].tool_calls[].custom.",
    "tools[].custom.",
    "tool_choice.(function, custom).",
    "tool_choice.allowed_tools.",
    "stream_options.",
];

fn rows(table: &[&'static [Rule]]) -> Vec<&'static Rule> {
    table.iter().copied().flatten().collect()
}

#[test]
fn every_field_that_chat_accepts_has_a_row() {
    let ruled: BTreeSet<String> = rows(&CHAT_TO_MESSAGES).iter().map(|rule| rule.path()).collect();
    let accepted = chat::TABLE.rows().filter(|field| field.action != Action::Refused);
    let missing: Vec<_> = accepted
        .map(|field| field.path())
        .filter(|path| !ruled.contains(path) && !OPAQUE.iter().any(|at| path.starts_with(at)))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_tables_have_a_line_for_each_row_and_say_why() {
    for table in [&CHAT_TO_MESSAGES[..], &MESSAGES_TO_CHAT[..]] {
        let text = markdown(table);
        assert_eq!(text.lines().count(), rows(table).len() + 2);
        for rule in rows(table) {
            assert!(text.contains(&format!("| `{}` | ", rule.path())), "{rule:?}");
            assert!(!rule.note.is_empty() && !rule.note.contains('|'), "{rule:?}");
        }
    }
    assert!(markdown(&CHAT_TO_MESSAGES).contains("| `n` | refused unless 1 | "));
}
