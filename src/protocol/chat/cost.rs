//! What a call cost, told in its usage as OpenRouter tells it: `cost`, a JSON number of dollars.
//!
//! Source: OpenRouter's guide "Usage accounting". Only the usage is written anew; every byte around
//! it stays as it came.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::money::Usd;
use crate::domain::usage::Usage;
use crate::protocol::json::Key;

/// Members by which a provider tells what it charges, which is not what is booked here.
const THEIRS: [&str; 3] = ["cost", "cost_details", "is_byok"];

/// An answer in one piece whose usage tells the cost; without usage it gets what was booked. `None`
/// if it is no object.
pub fn in_answer(answer: &[u8], cost: Usd, booked: &Usage) -> Option<Vec<u8>> {
    let usages = usages(answer)?;
    let of = |raw: &str| match raw {
        "null" => with_cost(&counted(booked), Some(cost)),
        raw => with_cost(raw, Some(cost)),
    };
    if !usages.is_empty() {
        return spliced(answer, &usages, of);
    }
    let end = answer.iter().rposition(|byte| *byte == b'}')?;
    let (open, close) = answer.split_at_checked(end)?;
    let comma = if open.trim_ascii_end().ends_with(b"{") { "" } else { "," };
    let told = format!("{comma}\"usage\":{}", with_cost(&counted(booked), Some(cost)));
    Some([open, told.as_bytes(), close].concat())
}

/// A chunk of a stream whose usage tells the cost, or none where it is not known yet; `None` if it
/// has no usage.
pub(in crate::protocol) fn in_chunk(
    chunk: &[u8],
    cost: impl FnOnce() -> Option<Usd>,
) -> Option<Vec<u8>> {
    let mut usages = usages(chunk)?;
    usages.retain(|raw| *raw != "null");
    if usages.is_empty() {
        return None;
    }
    let cost = cost();
    spliced(chunk, &usages, |raw| with_cost(raw, cost))
}

/// The whole with its slices `parts`, which stand in their order, replaced.
fn spliced(whole: &[u8], parts: &[&str], new: impl Fn(&str) -> String) -> Option<Vec<u8>> {
    let mut told = Vec::with_capacity(whole.len() + 64);
    let mut kept = 0;
    for part in parts {
        let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
        told.extend_from_slice(whole.get(kept..start)?);
        told.extend_from_slice(new(part).as_bytes());
        kept = start + part.len();
    }
    told.extend_from_slice(whole.get(kept..)?);
    Some(told)
}

/// A raw usage object with our cost and no other.
fn with_cost(raw: &str, cost: Option<Usd>) -> String {
    let members = serde_json::Deserializer::from_str(raw).deserialize_map(All).unwrap_or_default();
    let ours = members.into_iter().filter(|(name, _)| !THEIRS.contains(&name.as_ref()));
    let ours = ours.map(|(name, raw)| format!("{}:{raw}", Value::from(name.as_ref())));
    let cost = cost.map(|cost| format!("\"cost\":{}", cost.normalized()));
    format!("{{{}}}", ours.chain(cost).collect::<Vec<_>>().join(","))
}

/// What was booked, as a usage object.
fn counted(booked: &Usage) -> String {
    let (input, output) = (booked.input().count(), booked.output.count());
    let total = input.saturating_add(output);
    format!(r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{total}}}"#)
}

/// The raw values of the members called `usage`, in their order; `None` if it is no object.
fn usages(object: &[u8]) -> Option<Vec<&str>> {
    let mut deserializer = serde_json::Deserializer::from_slice(object);
    let found = deserializer.deserialize_map(Usages).ok()?;
    deserializer.end().ok()?;
    Some(found)
}

struct Usages;

impl<'de> Visitor<'de> for Usages {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            if key == "usage" {
                found.push(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

struct All;

impl<'de> Visitor<'de> for All {
    type Value = Vec<(Cow<'de, str>, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            found.push((key, map.next_value::<&RawValue>()?.get()));
        }
        Ok(found)
    }
}
