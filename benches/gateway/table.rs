//! The tables of all figures.

use crate::contenders::{Kind, Payer, Rows};
use crate::markdown::Table;
use crate::results::{Metric, Results};
use crate::stats::median;

/// One line of a table: what it tells, of which scenario, and how.
type Row = (&'static str, &'static str, Metric);

const ROWS: [Row; 25] = [
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
    ("200 KB prompt, 1 connection: median latency", "prompt1", Metric::P50),
    ("· added to the provider's", "prompt1", Metric::Added),
    ("· CPU per call", "prompt1", Metric::Cpu),
    ("· in Postgres", "prompt1", Metric::Postgres),
    ("200 KB prompt, 16 connections: calls a second", "prompt16", Metric::Rate),
    ("· CPU per call", "prompt16", Metric::Cpu),
    ("· in Postgres", "prompt16", Metric::Postgres),
    ("· median latency", "prompt16", Metric::P50),
];

const TOKENS: [Row; 8] = [
    ("provider of messages: first token", "token-chat", Metric::P50),
    ("· added to the provider's", "token-chat", Metric::Added),
    ("· 200 KB prompt: first token", "token-chat-200KB", Metric::P50),
    ("· added to the provider's", "token-chat-200KB", Metric::Added),
    ("provider of chat: first token", "token-messages", Metric::P50),
    ("· added to the provider's", "token-messages", Metric::Added),
    ("· 200 KB prompt: first token", "token-messages-200KB", Metric::P50),
    ("· added to the provider's", "token-messages-200KB", Metric::Added),
];

const PAID: [Row; 10] = [
    ("1 connection: median latency", "organizations1", Metric::P50),
    ("· CPU per call", "organizations1", Metric::Cpu),
    ("· in Postgres", "organizations1", Metric::Postgres),
    ("· commits per call", "organizations1", Metric::Commits),
    ("64 connections: calls a second", "organizations64", Metric::Rate),
    ("· CPU per call", "organizations64", Metric::Cpu),
    ("· in Postgres", "organizations64", Metric::Postgres),
    ("· commits per call", "organizations64", Metric::Commits),
    ("· median latency", "organizations64", Metric::P50),
    ("· 99th percentile", "organizations64", Metric::P99),
];

/// An aligned Markdown table: ratios to the bare relay, absolute figures beside.
pub(crate) fn render(results: &Results) -> String {
    let columns = Kind::COLUMNS.map(|kind| (kind, kind.name()));
    let mut table = filled(&columns, &ROWS, |id, kind, metric| cell(results, id, kind, metric));
    if !results.held.is_empty() {
        let held = |title: &str, bytes: fn(&crate::memory::Held) -> u64| {
            let cell =
                |kind| results.held.get(&kind).map_or(String::new(), |held| megabytes(bytes(held)));
            let cells = Kind::COLUMNS.map(cell);
            std::iter::once(title.to_owned()).chain(cells).collect::<Vec<_>>()
        };
        table.add(held("memory before the first call", |held| held.before));
        table.add(held("· with 1,000 open streams", |held| held.open));
        table.add(held("· at its peak", |held| held.peak));
    }
    table.render()
}

/// Of the same streams, passed on as they are and translated.
pub(crate) fn render_tokens(results: &Results) -> String {
    let columns = [
        (Kind::Direct, "provider alone"),
        (Kind::Relay, "bare relay"),
        (Kind::Dev, "dev, as it comes"),
        (Kind::Translating, "dev, translated"),
    ];
    let cell = |id, kind, metric| match results.value(id, kind, metric) {
        Some(_) if metric == Metric::Added && kind == Kind::Direct => String::new(),
        Some(value) => shown(value, metric),
        None => String::new(),
    };
    filled(&columns, &TOKENS, cell).render()
}

/// Ratios to one budget, and of full tables to those with few rows.
pub(crate) fn render_paid(results: &Results) -> String {
    let columns = Kind::PAID.map(|kind| (kind, kind.name()));
    let cell = |id, kind, metric| {
        let Some(value) = results.value(id, kind, metric) else { return String::new() };
        let ratios = base(kind).map(|base| results.ratios_to(base, id, kind, metric));
        match ratios.and_then(median).filter(|_| metric != Metric::Commits) {
            Some(ratio) => format!("{ratio:.2}× {}", shown(value, metric)),
            None => shown(value, metric),
        }
    };
    filled(&columns, &PAID, cell).render()
}

/// What a contender with organizations is held against.
pub(crate) const fn base(kind: Kind) -> Option<Kind> {
    match kind {
        Kind::Paid(Payer::Run, Rows::Few) => None,
        Kind::Paid(_, Rows::Few) => Some(Kind::Paid(Payer::Run, Rows::Few)),
        Kind::Paid(Payer::Scattered, Rows::Many) => {
            Some(Kind::Paid(Payer::Organizations, Rows::Few))
        }
        Kind::Paid(payer, Rows::Many) => Some(Kind::Paid(payer, Rows::Few)),
        _ => Some(Kind::Relay),
    }
}

/// A table of those rows that were measured.
fn filled(
    columns: &[(Kind, &str)],
    rows: &[Row],
    cell: impl Fn(&'static str, Kind, Metric) -> String,
) -> Table {
    let names = columns.iter().map(|(_, name)| *name);
    let mut table = Table::new(&std::iter::once("").chain(names).collect::<Vec<_>>());
    for (title, id, metric) in rows {
        let cells = columns.iter().map(|(kind, _)| cell(id, *kind, *metric));
        let cells: Vec<String> = cells.collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            table.add(std::iter::once((*title).to_owned()).chain(cells));
        }
    }
    table
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
    let shown = shown(value, metric);
    match results.ratio(id, kind, metric).filter(|_| is_relative) {
        Some(ratio) => format!("{ratio:.2}× {shown}"),
        None => shown,
    }
}

fn shown(value: f64, metric: Metric) -> String {
    match metric {
        Metric::Rate => number(value),
        Metric::Commits => format!("{value:.2}"),
        _ => time(value),
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
