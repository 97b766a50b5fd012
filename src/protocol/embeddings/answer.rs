//! Answers. They have vectors, which are passed unread, and no output tokens.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::settlement::ReportedUsage;
use crate::domain::usage::{Tokens, Usage};
use crate::protocol::answer::{Answer, AnswerFault, model_name};
use crate::protocol::json::count;
use crate::protocol::provider_error::read_error;

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
}

/// Reads the body of an answer.
///
/// # Errors
/// If it is an error, or nothing that can be understood.
pub(in crate::protocol) fn read(body: &[u8]) -> Result<Answer, AnswerFault> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let wire = serde_json::from_slice::<Wire<'_>>(body);
    let (true, Ok(wire)) = (is_object, wire) else {
        return Err(AnswerFault::Garbage);
    };
    if wire.data.is_none_or(|data| !data.get().starts_with('[')) {
        let complains = wire.error.or(wire.message).or(wire.detail).is_some();
        return Err(match complains {
            true => AnswerFault::Provider(read_error(body)),
            false => AnswerFault::Garbage,
        });
    }
    Ok(Answer {
        served_model: wire.model.and_then(|raw| model_name(raw.get())),
        served_tier: None,
        usage: wire.usage.and_then(|raw| usage(raw.get())),
    })
}

/// `prompt_tokens`, and sometimes `completion_tokens`, which are none (OpenAI's API reference,
/// `CreateEmbeddingResponse`; Mistral's, `UsageInfo`).
fn usage(raw: &str) -> Option<ReportedUsage> {
    #[derive(Deserialize)]
    struct Counts<'a> {
        #[serde(borrow)]
        prompt_tokens: Option<&'a RawValue>,
        #[serde(borrow)]
        completion_tokens: Option<&'a RawValue>,
    }

    if raw == "null" {
        return None;
    }
    let Ok(counts) = serde_json::from_str::<Counts<'_>>(raw) else {
        return Some(ReportedUsage::Nonsense);
    };
    let (Ok(input), Ok(output)) = (count(counts.prompt_tokens), count(counts.completion_tokens))
    else {
        return Some(ReportedUsage::Nonsense);
    };
    Some(ReportedUsage::Counted(Usage {
        uncached_input: Tokens::new(input?),
        output: Tokens::new(output.unwrap_or(0)),
        ..Usage::default()
    }))
}

/// The vectors of an answer and what they took, as `/agents/embedding` answers:
/// `{embeddings: [[…]], model, usage: {total_tokens}}`; `None` if it has none.
pub fn vectors(body: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        data: Vec<One<'a>>,
        #[serde(borrow)]
        model: Option<&'a RawValue>,
        usage: Option<Counts>,
    }

    #[derive(Deserialize)]
    struct One<'a> {
        #[serde(borrow)]
        embedding: &'a RawValue,
        #[serde(default)]
        index: u64,
    }

    #[derive(Deserialize)]
    struct Counts {
        prompt_tokens: Option<u64>,
        total_tokens: Option<u64>,
    }

    #[derive(Serialize)]
    struct Shaped<'a> {
        embeddings: Vec<&'a RawValue>,
        model: Option<&'a RawValue>,
        usage: Total,
    }

    #[derive(Serialize)]
    struct Total {
        total_tokens: Option<u64>,
    }

    let mut whole: Whole<'_> = serde_json::from_slice(body).ok()?;
    whole.data.sort_by_key(|one| one.index);
    let total = whole.usage.and_then(|usage| usage.total_tokens.or(usage.prompt_tokens));
    serde_json::to_vec(&Shaped {
        embeddings: whole.data.iter().map(|one| one.embedding).collect(),
        model: whole.model,
        usage: Total { total_tokens: total },
    })
    .ok()
}
