//! What is sent.

use serde_json::json;

/// Events of a stream, the last one, `[DONE]`, not among them.
pub(crate) const EVENTS: usize = 100;
/// Of these, some carry no text: the role, the finish, the usage.
const TOKENS: usize = EVENTS - 3;
/// Of the long prompt, in bytes.
pub(crate) const PROMPT_BYTES: usize = 200_000;

/// A short question with a short answer.
pub(crate) fn chat() -> String {
    let question = "Name the capitals of three countries, and their rivers. [[sim tokens=32]]";
    json!({
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant. Be brief."},
            {"role": "user", "content": question}
        ],
        "temperature": 0.2,
        "max_tokens": 256
    })
    .to_string()
}

/// A stream of [`EVENTS`] events, with usage, since the gateway always asks for it.
pub(crate) fn stream(chunk_delay_ms: u64) -> String {
    streamed(&format!("tokens={TOKENS} chunk_delay_ms={chunk_delay_ms}"))
}

/// A stream that lasts this many events of half a second.
pub(crate) fn slow_stream(events: usize) -> String {
    paced_stream(events, 500)
}

/// A stream that lasts this many events, so many milliseconds apart.
pub(crate) fn paced_stream(events: usize, chunk_delay_ms: u64) -> String {
    streamed(&format!("tokens={} chunk_delay_ms={chunk_delay_ms}", events - 3))
}

/// Events of a stream whose first token is looked for. It is short: on few cores, the rest of a
/// long one would be in the way of its beginning.
pub(crate) const FEW_EVENTS: usize = 8;

/// A short prompt for one.
pub(crate) const STORY: &str = "Tell a story.";

/// A chat with a model, of [`FEW_EVENTS`] events.
pub(crate) fn few_of_chat(model: &str, prompt: &str) -> String {
    streamed_of(model, prompt, &few())
}

/// The same in the format of messages, which tells its usage by itself.
pub(crate) fn few_of_messages(model: &str, prompt: &str) -> String {
    json!({
        "model": model,
        "messages": [{"role": "user", "content": format!("{prompt} [[sim {}]]", few())}],
        "max_tokens": 1000,
        "stream": true
    })
    .to_string()
}

fn few() -> String {
    format!("tokens={}", FEW_EVENTS - 3)
}

fn streamed(directive: &str) -> String {
    streamed_of("gpt-4o-mini", STORY, directive)
}

fn streamed_of(model: &str, prompt: &str, directive: &str) -> String {
    json!({
        "model": model,
        "messages": [{"role": "user", "content": format!("{prompt} [[sim {directive}]]")}],
        "max_tokens": 1000,
        "stream": true,
        "stream_options": {"include_usage": true}
    })
    .to_string()
}

/// A long prompt with a short answer: source code.
pub(crate) fn prompt() -> String {
    json!({
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "You review code."},
            {"role": "user", "content": format!("{}\n[[sim tokens=32]]", source_code())}
        ],
        "max_tokens": 256
    })
    .to_string()
}

/// [`PROMPT_BYTES`] in which much is escaped.
pub(crate) fn source_code() -> String {
    let mut text = String::with_capacity(PROMPT_BYTES + 100);
    let mut line = 0;
    while text.len() < PROMPT_BYTES {
        line += 1;
        text.push_str(&format!(
            "    let value_{line} = read(\"file-{line}.txt\", {line})?; // as it was left\n"
        ));
    }
    text.truncate(PROMPT_BYTES);
    text
}
