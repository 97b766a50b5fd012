//! Answers as JSON text, whole and in events, written straight into one buffer.
//!
//! It does not know why an answer says what it says, nor when its parts are sent.

use std::fmt::Write;

use super::reply::{Call, Choice, Reply, Usage};

const LOGPROB: &str = "-0.25";

/// The last event of a stream.
pub(super) const DONE: &str = "data: [DONE]\n\n";
/// An event that is not JSON.
pub(super) const GARBAGE: &str = "data: {\"id\": <<< this is not JSON >>>\n\n";
/// An event that says that the stream failed.
pub(super) const STREAM_ERROR: &str = "data: {\"error\":{\"message\":\"The server had an error \
    while processing your request.\",\"type\":\"server_error\",\"param\":null,\
    \"code\":\"simulated_stream_error\"}}\n\n";

/// Writes the events of one stream.
pub(super) struct Events {
    head: String,
    tail: &'static str,
    logprobs: bool,
}

/// What one event adds to a choice.
pub(super) enum Delta<'a> {
    /// The role, before anything else.
    Role,
    /// The head of a tool call.
    Call(&'a Call),
    /// Some text.
    Text(&'a str),
    /// Some of a tool call's arguments.
    Arguments(&'a str),
    /// Why the choice ended.
    Finish(&'static str),
}

impl Events {
    pub(super) fn new(reply: &Reply, include_usage: bool) -> Self {
        let mut head = "data: ".to_owned();
        push_head(&mut head, reply, "chat.completion.chunk");
        Self {
            head,
            tail: if include_usage { ",\"usage\":null}\n\n" } else { "}\n\n" },
            logprobs: reply.logprobs,
        }
    }

    /// The event in which the choice number `index` goes on by `delta`; `usage` rides along.
    pub(super) fn delta(&self, index: usize, delta: &Delta<'_>, usage: Option<&Usage>) -> String {
        let mut out = String::with_capacity(self.head.len() + 192);
        out.push_str(&self.head);
        push(&mut out, format_args!("{{\"index\":{index},\"delta\":"));
        let mut finish = None;
        match delta {
            Delta::Role => {
                out.push_str("{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}")
            }
            Delta::Call(call) => {
                out.push_str("{\"tool_calls\":[{\"index\":0,");
                push_call_head(&mut out, call);
                out.push_str("\"}}]}");
            }
            Delta::Text(text) => {
                out.push_str("{\"content\":\"");
                push_escaped(&mut out, text);
                out.push_str("\"}");
            }
            Delta::Arguments(text) => {
                out.push_str("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"");
                push_escaped(&mut out, text);
                out.push_str("\"}}]}");
            }
            Delta::Finish(reason) => {
                out.push_str("{}");
                finish = Some(*reason);
            }
        }
        out.push_str(",\"logprobs\":");
        match delta {
            Delta::Text(text) if self.logprobs => {
                out.push_str("{\"content\":[");
                push_logprob(&mut out, text);
                out.push_str("],\"refusal\":null}");
            }
            _ => out.push_str("null"),
        }
        push_finish(&mut out, finish);
        out.push(']');
        match usage {
            Some(usage) => push_usage_end(&mut out, usage),
            None => out.push_str(self.tail),
        }
        out
    }

    /// The event that carries usage and no choice.
    pub(super) fn usage(&self, usage: &Usage) -> String {
        let mut out = self.head.clone();
        out.push(']');
        push_usage_end(&mut out, usage);
        out
    }
}

/// The whole answer.
pub(super) fn completion(mut reply: Reply) -> String {
    let mut out = String::with_capacity(1536);
    push_head(&mut out, &reply, "chat.completion");
    let logprobs = reply.logprobs;
    for (index, choice) in reply.choices.iter_mut().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_choice(&mut out, index, choice, logprobs);
    }
    out.push(']');
    if let Some(usage) = &reply.usage {
        out.push_str(",\"usage\":");
        push_usage(&mut out, usage);
    }
    out.push('}');
    out
}

/// The answer up to the inside of its first text.
pub(super) fn opening(reply: &Reply) -> String {
    let mut out = String::new();
    push_head(&mut out, reply, "chat.completion");
    out.push_str("{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    out
}

/// The list of models.
pub(super) fn models(names: &[&str]) -> String {
    let mut out = "{\"object\":\"list\",\"data\":[".to_owned();
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str("{\"id\":");
        push_string(&mut out, name);
        out.push_str(",\"object\":\"model\",\"created\":1700000000,\"owned_by\":\"simulator\"}");
    }
    out.push_str("]}");
    out
}

/// Writes `text` as a JSON string.
pub(super) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// Writes `text` as the inside of a JSON string.
pub(super) fn push_escaped(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push_str(text);
        return;
    }
    for next in text.chars() {
        match next {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0'..='\x1f' => push(out, format_args!("\\u{:04x}", u32::from(next))),
            _ => out.push(next),
        }
    }
}

/// Everything before the first choice.
fn push_head(out: &mut String, reply: &Reply, object: &str) {
    let (id, created) = (reply.id, reply.created);
    push(out, format_args!("{{\"id\":\"chatcmpl-sim-{id:016x}\",\"object\":\"{object}\","));
    push(out, format_args!("\"created\":{created},\"model\":"));
    push_string(out, &reply.model);
    if let Some(tier) = &reply.service_tier {
        out.push_str(",\"service_tier\":");
        push_string(out, tier);
    }
    out.push_str(",\"system_fingerprint\":\"fp_simulated\",\"choices\":[");
}

fn push_choice(out: &mut String, index: usize, choice: &mut Choice, logprobs: bool) {
    push(
        out,
        format_args!("{{\"index\":{index},\"message\":{{\"role\":\"assistant\",\"content\":"),
    );
    let mut likely = String::new();
    if let Some(call) = &choice.call {
        out.push_str("null,\"refusal\":null,\"tool_calls\":[{");
        push_call_head(out, call);
        while let Some(piece) = choice.source.next_piece() {
            push_escaped(out, piece);
        }
        out.push_str("\"}}]");
    } else {
        out.push('"');
        while let Some(piece) = choice.source.next_piece() {
            push_escaped(out, piece);
            if logprobs {
                likely.push_str(if likely.is_empty() { "" } else { "," });
                push_logprob(&mut likely, piece);
            }
        }
        out.push_str("\",\"refusal\":null");
    }
    out.push_str("},\"logprobs\":");
    match logprobs && choice.call.is_none() {
        true => push(out, format_args!("{{\"content\":[{likely}],\"refusal\":null}}")),
        false => out.push_str("null"),
    }
    push_finish(out, Some(choice.finish.as_str()));
}

/// A tool call up to the inside of its arguments.
fn push_call_head(out: &mut String, call: &Call) {
    push(out, format_args!("\"id\":\"call_sim_{:016x}\",\"type\":\"function\",", call.id));
    out.push_str("\"function\":{\"name\":");
    push_string(out, &call.name);
    out.push_str(",\"arguments\":\"");
}

fn push_finish(out: &mut String, reason: Option<&str>) {
    match reason {
        Some(reason) => push(out, format_args!(",\"finish_reason\":\"{reason}\"}}")),
        None => out.push_str(",\"finish_reason\":null}"),
    }
}

fn push_logprob(out: &mut String, token: &str) {
    out.push_str("{\"token\":");
    push_string(out, token);
    push(out, format_args!(",\"logprob\":{LOGPROB},\"bytes\":null,\"top_logprobs\":[]}}"));
}

fn push_usage(out: &mut String, usage: &Usage) {
    let Usage { prompt, completion, cached, reasoning } = usage;
    let total = prompt.saturating_add(*completion);
    push(out, format_args!("{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},"));
    push(out, format_args!("\"total_tokens\":{total},\"prompt_tokens_details\":"));
    push(out, format_args!("{{\"cached_tokens\":{cached},\"audio_tokens\":0}},"));
    push(out, format_args!("\"completion_tokens_details\":{{\"reasoning_tokens\":{reasoning},"));
    out.push_str("\"audio_tokens\":0}}");
}

fn push_usage_end(out: &mut String, usage: &Usage) {
    out.push_str(",\"usage\":");
    push_usage(out, usage);
    out.push_str("}\n\n");
}

/// Writes formatted text.
pub(super) fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_reads_back_as_it_was() {
        for text in ["", "plain", "a\"b", "back\\slash", "\n\t\0\u{1f}", "é\u{7f}😀\""] {
            let mut out = String::new();
            push_string(&mut out, text);
            assert_eq!(serde_json::from_str::<String>(&out).ok().as_deref(), Some(text), "{out}");
        }
    }
}
