//! What the gateway is to reach, and whether it did. Nothing fails by it: machines differ.

use crate::contenders::{Kind, Payer, Rows};
use crate::markdown::Table;
use crate::memory::Held;
use crate::results::{Metric, Results};
use crate::stats::median;
use crate::table::{megabytes, number, time};

/// What a first event may take beyond the relay's and the admission, in microseconds.
const FIRST_EVENT: f64 = 200.0;

/// One target: what it says, what was measured, and whether that is within it.
struct Line {
    says: String,
    measured: String,
    met: bool,
}

/// A Markdown table of those that were measured.
pub(crate) fn render(results: &Results) -> String {
    rendered(lines(results))
}

/// Those of the first token.
pub(crate) fn render_tokens(results: &Results) -> String {
    rendered(of_tokens(results))
}

/// Those of organizations.
pub(crate) fn render_paid(results: &Results) -> String {
    rendered(of_paid(results))
}

fn rendered(lines: Vec<Line>) -> String {
    let mut table = Table::new(&["target", "measured", ""]);
    for line in lines {
        let met = if line.met { "met" } else { "missed" };
        table.add([line.says, line.measured, met.to_owned()]);
    }
    table.render()
}

fn lines(results: &Results) -> Vec<Line> {
    use Kind::{Dev, Serve, ServeOne};
    let ratio = |says: &str, id, kind, metric, most: f64| {
        at_most(most, says, results.ratios(id, kind, metric))
    };
    let rate = |says: &str, kind, least: f64| {
        let rate = results.value("chat64", kind, Metric::Rate)?;
        let says = format!("{says}: at least {} calls a second", number(least));
        let measured = with_range(rate, results.series("chat64", kind, Metric::Rate), number);
        Some(Line { says, measured, met: rate >= least })
    };
    let added = results.value("chat1", Serve, Metric::Added).map(|added| Line {
        says: "serve, added at 1 connection: at most 500 µs".to_owned(),
        measured: with_range(added, results.series("chat1", Serve, Metric::Added), time),
        met: added <= 500.0,
    });
    let held = |(name, kind)| {
        let Held { open, .. } = results.held.get(&kind)?;
        let says = format!("{name}, memory with 1,000 open streams: at most 80 MB");
        Some(Line { says, measured: megabytes(*open), met: *open <= 80_000_000 })
    };
    let mut lines = vec![
        ratio("dev, CPU per call at 64 connections", "chat64", Dev, Metric::Cpu, 1.5),
        ratio("serve, CPU per call in the gateway", "chat64", Serve, Metric::Cpu, 3.0),
        ratio("serve, CPU per call in Postgres", "chat64", Serve, Metric::Postgres, 3.0),
        added,
        rate("serve, 1,000 runs", Serve, 8_000.0),
        rate("serve, one run", ServeOne, 3_000.0),
    ];
    for (name, kind) in [("dev", Dev), ("serve", Serve)] {
        let cpu =
            |says: &str, id, most| ratio(&format!("{name}, {says}"), id, kind, Metric::Cpu, most);
        lines.extend([
            cpu("CPU per stream, back to back", "stream64", 1.3),
            cpu("CPU per stream, 2 ms apart", "stream64-2ms", 1.3),
            first(results, "first event, back to back", "first", kind),
            // Between slow streams everything sleeps, and an admission takes as long as it takes to
            // wake up; no call that is not streamed was measured at that pace.
            first(results, "first event, 2 ms apart", "first-2ms", kind).filter(|_| kind == Dev),
            cpu("CPU per call, 200 KB prompt, 16 connections", "prompt16", 2.5),
            cpu("CPU per call, 200 KB prompt, 1 connection", "prompt1", 2.5),
        ]);
    }
    lines.extend([("dev", Dev), ("serve", Serve)].map(held));
    lines.into_iter().flatten().collect()
}

/// What `dev` adds to the first token when it translates, against what it adds when it does not.
/// Clients of chat before a provider of messages are translated to messages, and so on.
fn of_tokens(results: &Results) -> Vec<Line> {
    let ways = [
        ("chat→messages", "token-chat"),
        ("messages→chat", "token-messages"),
        ("chat→messages, 200 KB prompt", "token-chat-200KB"),
        ("messages→chat, 200 KB prompt", "token-messages-200KB"),
    ];
    let line = |(way, id)| {
        let of = |base| results.ratios_to(base, id, Kind::Translating, Metric::Added);
        let says = |base| format!("{way}, added to the first token, against {base}");
        let untranslated = at_most(2.0, &says("dev without translating"), of(Kind::Dev));
        [untranslated, at_most(2.0, &says("the bare relay"), of(Kind::Relay))]
    };
    ways.into_iter().flat_map(line).flatten().collect()
}

/// What shared budgets and full tables cost.
fn of_paid(results: &Results) -> Vec<Line> {
    const ALONE: &str = "organizations1";
    const TOGETHER: &str = "organizations64";
    let [one, three, hot] = [Payer::Run, Payer::Organizations, Payer::OneOrganization]
        .map(|payer| Kind::Paid(payer, Rows::Few));
    // What is of one organization goes through one lane: there the next call takes the end of the
    // last one along. On several lanes an end may have to go alone, whatever its budgets are.
    let commits = results.value(ALONE, hot, Metric::Commits).map(|commits| Line {
        says: "three budgets, 1 connection, one lane: one commit a call".to_owned(),
        measured: with_range(commits, results.series(ALONE, hot, Metric::Commits), |commits| {
            format!("{commits:.2}")
        }),
        // Leases and jobs commit, too.
        met: commits <= 1.05,
    });
    let ratios = results.ratios_to(one, ALONE, three, Metric::Commits);
    let against = at_most(1.1, "three budgets against one, 1 connection: commits per call", ratios);
    let mut lines = vec![commits, against];
    let payers = [("one budget", Payer::Run), ("three budgets", Payer::Organizations)];
    for (name, payer) in payers {
        let (few, many) = (Kind::Paid(payer, Rows::Few), Kind::Paid(payer, Rows::Many));
        let figures = [
            ("latency, 1 connection", ALONE, Metric::P50),
            ("CPU per call in the gateway, 64 connections", TOGETHER, Metric::Cpu),
            ("CPU per call in Postgres, 64 connections", TOGETHER, Metric::Postgres),
        ];
        lines.extend(figures.map(|(says, id, metric)| {
            let says = format!("full tables, {name}: {says}");
            at_most(1.1, &says, results.ratios_to(few, id, many, metric))
        }));
    }
    lines.extend([("few rows", Rows::Few), ("full tables", Rows::Many)].map(|(name, rows)| {
        let kind = Kind::Paid(Payer::OneOrganization, rows);
        let rate = results.value(TOGETHER, kind, Metric::Rate)?;
        Some(Line {
            says: format!("one organization, {name}: at least 2,000 admissions a second"),
            measured: with_range(rate, results.series(TOGETHER, kind, Metric::Rate), number),
            met: rate >= 2_000.0,
        })
    }));
    lines.into_iter().flatten().collect()
}

/// The median of ratios against the most that it may be.
fn at_most(most: f64, says: &str, ratios: Vec<f64>) -> Option<Line> {
    let ratio = median(ratios.clone())?;
    let measured = with_range(ratio, ratios, |ratio| format!("{ratio:.2}×"));
    Some(Line { says: format!("{says}: at most {most}×"), measured, met: ratio <= most })
}

/// A median with the lowest and the highest of its rounds.
fn with_range(median: f64, rounds: Vec<f64>, shown: impl Fn(f64) -> String) -> String {
    let lowest = rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} ({} to {})", shown(median), shown(lowest), shown(highest))
}

/// The first event against the relay's. `serve` has to admit the call first: that is what it takes
/// longer than `dev` for a call that is not streamed, at the same pace.
fn first(results: &Results, says: &str, id: &'static str, kind: Kind) -> Option<Line> {
    let of = |id, kind| results.value(id, kind, Metric::P50);
    let later = of(id, kind)? - of(id, Kind::Relay)?;
    let (name, admission) = match kind {
        Kind::Serve => ("serve", of("chat1", Kind::Serve)? - of("chat1", Kind::Dev)?),
        _ => ("dev", 0.0),
    };
    let allowed = match kind {
        Kind::Serve => format!("200 µs and an admission ({})", time(admission)),
        _ => "200 µs".to_owned(),
    };
    Some(Line {
        says: format!("{name}, {says}: at most {allowed} after the relay's"),
        measured: time(later),
        met: later <= FIRST_EVENT + admission,
    })
}
