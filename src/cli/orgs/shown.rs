//! Organizations and what changed of them as people read it.

use serde_json::Value;

use super::super::figures::dollars;
use super::super::lists::{rows, with_next};
use super::super::print::plain;
use super::super::table::{Table, moment, text};
use super::super::{credits, look};

/// A line: what it is about, and what is said.
type Line = (&'static str, String);

/// An organization with what it has set, what its month has cost, and its credits.
pub(super) fn org_card(organization: &Value, settings: &Value, credits: &Value) -> String {
    let mut lines = vec![
        ("id", text(organization.get("id"))),
        ("name", text(organization.get("name"))),
        ("created at", moment(organization.get("created_at"))),
    ];
    lines.extend(self::settings(settings));
    lines.push(("credits", credits::left(credits)));
    self::lines(&lines)
}

/// Several answers in one object, each as it came.
///
/// # Errors
/// If one of them is no JSON.
pub(super) fn together(answers: [(&'static str, String); 3]) -> anyhow::Result<String> {
    let mut whole = std::collections::BTreeMap::new();
    for (name, answer) in answers {
        whole.insert(name, super::raw(answer)?);
    }
    Ok(serde_json::to_string(&whole)?)
}

/// What an organization has set, and where its month stands.
pub(super) fn settings(settings: &Value) -> Vec<Line> {
    let amount = |name: &str| dollars(&text(settings.get(name)));
    let of_month = |name: &str| match settings.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(_) => amount(name),
    };
    let limit = match settings.get("monthly_cost_limit_usd") {
        None | Some(Value::Null) => "none; it was never configured".to_owned(),
        Some(_) => amount("monthly_cost_limit_usd"),
    };
    let since = match moment(settings.get("month_started_at")).as_str() {
        "-" => String::new(),
        since => format!(" since {}", since.trim_end_matches("T00:00:00Z")),
    };
    vec![
        ("monthly limit", limit),
        ("spent", format!("{}{since}", of_month("month_spent_usd"))),
        ("reserved", of_month("month_reserved_usd")),
        ("circuit", look::status(&text(settings.get("circuit")))),
        ("eu only", text(settings.get("eu_only"))),
        ("service tier", text(settings.get("service_tier"))),
        ("run defaults", members(settings.get("run_defaults"))),
        ("rates", members(settings.get("limits"))),
    ]
}

/// The members of an object that have a value, in a line.
fn members(object: Option<&Value>) -> String {
    let members = object.and_then(Value::as_object).into_iter().flatten();
    let given = members.filter(|(_, value)| !value.is_null());
    let said: Vec<String> = given
        .map(|(name, value)| format!("{} {}", plain(name).replace('_', " "), text(Some(value))))
        .collect();
    if said.is_empty() { "none".to_owned() } else { said.join(", ") }
}

/// One below the other.
pub(super) fn lines(lines: &[Line]) -> String {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = lines.iter().map(|(name, says)| format!("{name:<width$}  {says}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A page of changes, the newest first.
pub(super) fn changes_table(list: &Value) -> String {
    let mut table = Table::new(&["AT", "WHO", "FROM", "DID", "TO", "CHANGE"]);
    for change in rows(list, "data").unwrap_or_default() {
        let object = change.get("object").unwrap_or(&Value::Null);
        table.add([
            moment(change.get("at")),
            actor(change.get("actor").unwrap_or(&Value::Null)),
            text(change.get("address")),
            text(change.get("action")),
            format!("{} {}", text(object.get("kind")), text(object.get("id"))),
            difference(change.get("old"), change.get("new")),
        ]);
    }
    with_next(table.render(), list)
}

/// Who made a change: a name if there is one, and what he is.
fn actor(actor: &Value) -> String {
    let kind = text(actor.get("kind"));
    let named = ["name", "id"].into_iter().find_map(|name| actor.get(name)?.as_str());
    named.map_or(kind.clone(), |name| format!("{} ({kind})", plain(name)))
}

/// What became of each member. Of a change, those that are as they were say what it is about.
fn difference(old: Option<&Value>, new: Option<&Value>) -> String {
    let object = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    let (old, new) = match (object(old), object(new)) {
        (Some(old), Some(new)) => (old, new),
        (Some(only), None) | (None, Some(only)) => {
            let given = only.iter().filter(|(_, value)| !value.is_null());
            let said = given.map(|(name, value)| format!("{} {}", plain(name), text(Some(value))));
            return said.collect::<Vec<_>>().join(", ");
        }
        (None, None) => return String::new(),
    };
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let (same, changed): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| old.get(*name) == new.get(*name));
    let about = same.into_iter().map(|name| text(new.get(name))).collect::<Vec<_>>().join(" ");
    let changed = changed
        .into_iter()
        .map(|name| format!("{} {} → {}", plain(name), text(old.get(name)), text(new.get(name))));
    let changed = changed.collect::<Vec<_>>().join(", ");
    if about.is_empty() || changed.is_empty() {
        return format!("{about}{changed}");
    }
    format!("{about}: {changed}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_told_by_what_differs() {
        let check = |old: Value, new: Value, says: &str| {
            assert_eq!(difference(Some(&old), Some(&new)), says);
        };
        let limit = |limit: &str| json!({"scope": "organization", "unit": "usd", "limit": limit});
        check(limit("50"), limit("12.5"), "organization usd: limit 50 → 12.5");
        check(json!({"eu_only": false}), json!({"eu_only": true}), "eu_only false → true");
        check(Value::Null, json!({"name": "ada", "role": null}), "name ada");
        check(json!({"name": "a\u{1b}b"}), Value::Null, "name a?b");
        check(json!({"a": null}), json!({"a": 1, "b": 2}), "a - → 1, b - → 2");
        check(Value::Null, Value::Null, "");
    }
}
