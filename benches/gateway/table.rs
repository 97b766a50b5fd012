//! The table of all figures.

use crate::contenders::Kind;
use crate::markdown::Table;
use crate::results::{Metric, Results};

/// One line of the table: what it tells, of which scenario, and how.
const ROWS: [(&str, &str, Metric); 29] = [
    ("1 connection: median latency", "chat1", Metric::P50),
    ("· added to the provider's", "chat1", Metric::Added),
    ("· CPU per call", "chat1", Metric::Cpu),
    ("64 connections: calls a second", "chat64", Metric::Rate),
    ("· CPU per call", "chat64", Metric::Cpu),
    ("· in Postgres", "chat64", Metric::Postgres),
    ("· median latency", "chat64", Metric::P50),
    ("· 99th percentile", "chat64", Metric::P99),
    ("streams of 100 events, back to back, 64 connections: a second", "stream64", Metric::Rate),
    ("· CPU per stream", "stream64", Metric::Cpu),
    ("· in Postgres", "stream64", Metric::Postgres),
    ("· first event, 1 connection", "first", Metric::P50),
    ("streams of 100 events, 2 ms apart, 64 connections: a second", "stream64-2ms", Metric::Rate),
    ("· CPU per stream", "stream64-2ms", Metric::Cpu),
    ("· in Postgres", "stream64-2ms", Metric::Postgres),
    ("· first event, median of 64", "stream64-2ms", Metric::P50),
    ("· first event, 8 connections", "first-2ms", Metric::P50),
    (
        "translated stream, chat→messages, 1 connection: delay to the first token",
        "token-chat",
        Metric::P50,
    ),
    ("· added to the provider's", "token-chat", Metric::Added),
    (
        "translated stream, messages→chat, 1 connection: delay to the first token",
        "token-messages",
        Metric::P50,
    ),
    ("· added to the provider's", "token-messages", Metric::Added),
    ("200 KB prompt, 1 connection: median latency", "prompt1", Metric::P50),
    ("· added to the provider's", "prompt1", Metric::Added),
    ("· CPU per call", "prompt1", Metric::Cpu),
    ("· in Postgres", "prompt1", Metric::Postgres),
    ("200 KB prompt, 16 connections: calls a second", "prompt16", Metric::Rate),
    ("· CPU per call", "prompt16", Metric::Cpu),
    ("· in Postgres", "prompt16", Metric::Postgres),
    ("· median latency", "prompt16", Metric::P50),
];

/// An aligned Markdown table: ratios to the bare relay, absolute figures beside.
pub(crate) fn render(results: &Results) -> String {
    let mut table = Table::new(&[
        "",
        "provider alone",
        "bare relay",
        "dev",
        "serve, 1,000 runs",
        "serve, one run",
    ]);
    for (title, id, metric) in ROWS {
        let cells = Kind::ALL.map(|kind| cell(results, id, kind, metric));
        if cells.iter().any(|cell| !cell.is_empty()) {
            table.add(std::iter::once(title.to_owned()).chain(cells));
        }
    }
    if !results.held.is_empty() {
        let held = |title: &str, bytes: fn(&crate::memory::Held) -> u64| {
            let cell =
                |kind| results.held.get(&kind).map_or(String::new(), |held| megabytes(bytes(held)));
            std::iter::once(title.to_owned()).chain(Kind::ALL.map(cell)).collect::<Vec<_>>()
        };
        table.add(held("memory before the first call", |held| held.before));
        table.add(held("· with 1,000 open streams", |held| held.open));
        table.add(held("· at its peak", |held| held.peak));
    }
    table.render()
}

fn cell(results: &Results, id: &'static str, kind: Kind, metric: Metric) -> String {
    let Some(value) = results.value(id, kind, metric) else { return String::new() };
    let has_postgres = matches!(kind, Kind::Serve | Kind::ServeOne);
    let is_relative = match metric {
        Metric::Postgres if !has_postgres => return String::new(),
        Metric::Added if kind == Kind::Direct => return String::new(),
        Metric::Added => false,
        _ => !matches!(kind, Kind::Direct | Kind::Relay),
    };
    let shown = match metric {
        Metric::Rate => number(value),
        _ => time(value),
    };
    match results.ratio(id, kind, metric).filter(|_| is_relative) {
        Some(ratio) => format!("{ratio:.2}× {shown}"),
        None => shown,
    }
}

/// Microseconds, as people read them.
pub(crate) fn time(microseconds: f64) -> String {
    match microseconds.abs() {
        0.0..100.0 => format!("{microseconds:.1} µs"),
        100.0..1000.0 => format!("{microseconds:.0} µs"),
        _ => format!("{:.2} ms", microseconds / 1000.0),
    }
}

/// A whole number with its thousands apart.
pub(crate) fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Bytes.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
