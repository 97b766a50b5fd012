//! What the simulator has to know of a prompt: its true length, and what it asks for.
//!
//! Counting is the dear part of an answer, so the last few prompts are remembered by a hash of
//! their bytes. It does not know who asked, nor which answer follows.

use quick_cache::unsync::Cache;
use serde_json::value::RawValue;

use super::directive::Directives;
use super::plan::Refusal;
use super::request::{ChatRequest, Content, Message};
use super::words;
use crate::catalog::tokenizer::Tokenizer;

const REMEMBERED: usize = 256;
// OpenAI's cookbook, "How to count tokens with tiktoken": every message is wrapped in three tokens,
// a name costs one more, and every reply is primed with three.
const TOKENS_PER_MESSAGE: u64 = 3;
const TOKENS_PER_NAME: u64 = 1;
const TOKENS_OF_PRIMING: u64 = 3;
// OpenAI does not publish how tools are laid out; this is the simulator's own constant.
const TOKENS_PER_TOOL: u64 = 10;
// OpenAI's guide to images: one of low detail.
const TOKENS_PER_IMAGE: u64 = 85;
const TOOL_WORDS: &str = "call a tool";

/// What is known of one prompt.
#[derive(Clone)]
pub(super) struct Facts {
    /// Its length, tools included.
    pub(super) prompt_tokens: u64,
    /// What its last user message asks for.
    pub(super) directives: Directives,
    /// Whether it asks for a tool in words, or by directive, and awaits one.
    pub(super) asks_tool: bool,
}

/// The facts of the last prompts of one worker.
pub(super) struct Counts(Cache<(u64, usize, bool), Facts>);

impl Counts {
    pub(super) fn new() -> Self {
        Self(Cache::new(REMEMBERED))
    }

    /// The facts of the prompt of `request`, whose messages have the hash `messages_hash`.
    ///
    /// # Errors
    /// When the messages or tools have the wrong shape, or a directive is not understood.
    pub(super) fn facts(
        &mut self,
        request: &ChatRequest<'_>,
        messages_hash: u64,
        tokenizer: Tokenizer,
    ) -> Result<Facts, Refusal> {
        let messages = request.messages()?;
        let tools = request.tools.map_or("", RawValue::get);
        let key = (
            words::hash(messages_hash, tools.as_bytes()),
            messages.get().len(),
            tokenizer == Tokenizer::Cl100k,
        );
        if let Some(facts) = self.0.get(&key) {
            return Ok(facts.clone());
        }
        let facts = read(messages, request.tools, tokenizer)?;
        self.0.insert(key, facts.clone());
        Ok(facts)
    }
}

/// The vocabulary that a model counts with, by its name with or without its provider's.
pub(super) fn tokenizer_of(model: &str) -> Tokenizer {
    let name = model.rsplit('/').next().unwrap_or(model);
    let old = name == "gpt-4" || name.starts_with("gpt-4-") || name.starts_with("gpt-3.5");
    if old { Tokenizer::Cl100k } else { Tokenizer::O200k }
}

fn read(
    messages: &RawValue,
    tools: Option<&RawValue>,
    tokenizer: Tokenizer,
) -> Result<Facts, Refusal> {
    let messages: Vec<Message<'_>> = serde_json::from_str(messages.get()).map_err(|error| {
        Refusal::invalid(Some("messages"), format!("Invalid 'messages': {error}."))
    })?;
    let Some(last) = messages.last() else {
        let message = "Invalid 'messages': there must be at least one.";
        return Err(Refusal::invalid(Some("messages"), message));
    };
    let mut directives = Directives::default();
    let mut asks_tool = false;
    let user = messages.iter().rev().find(|message| message.role.0 == "user");
    for text in user.and_then(|message| message.content.as_ref()).iter().flat_map(|c| c.texts()) {
        directives.apply_text(text)?;
        asks_tool |= text.contains(TOOL_WORDS);
    }
    // Once a tool has answered, the model does too; otherwise an agent's loop would never end.
    let answered = last.role.0 == "tool";
    let mut prompt_tokens = TOKENS_OF_PRIMING;
    for message in &messages {
        prompt_tokens += message_tokens(message, tokenizer);
    }
    if let Some(tools) = tools {
        prompt_tokens += tools_tokens(tools, tokenizer)?;
    }
    Ok(Facts { prompt_tokens, asks_tool: (asks_tool || directives.tool) && !answered, directives })
}

fn message_tokens(message: &Message<'_>, tokenizer: Tokenizer) -> u64 {
    let mut tokens = TOKENS_PER_MESSAGE + tokenizer.count(&message.role.0);
    if let Some(content) = &message.content {
        tokens += content.texts().map(|text| tokenizer.count(text)).sum::<u64>();
        tokens += TOKENS_PER_IMAGE * Content::images(content) as u64;
    }
    if let Some(name) = &message.name {
        tokens += TOKENS_PER_NAME + tokenizer.count(&name.0);
    }
    if let Some(calls) = message.tool_calls {
        tokens += tokenizer.count(calls.get());
    }
    tokens
}

fn tools_tokens(tools: &RawValue, tokenizer: Tokenizer) -> Result<u64, Refusal> {
    let list: Vec<&RawValue> = serde_json::from_str(tools.get())
        .map_err(|error| Refusal::invalid(Some("tools"), format!("Invalid 'tools': {error}.")))?;
    if list.is_empty() {
        return Ok(0);
    }
    Ok(TOKENS_PER_TOOL * list.len() as u64 + tokenizer.count(tools.get()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn count(model: &str, rest: &str) -> u64 {
        let body = format!("{{\"model\":\"{model}\",{rest}}}");
        let request = ChatRequest::parse(body.as_bytes()).ok().unwrap();
        let mut counts = Counts::new();
        let first = counts.facts(&request, 1, tokenizer_of(model)).ok().unwrap();
        let again = counts.facts(&request, 1, tokenizer_of(model)).ok().unwrap();
        assert_eq!(first.prompt_tokens, again.prompt_tokens);
        first.prompt_tokens
    }

    #[test]
    fn prompts_are_counted_by_the_rule_for_chats() {
        let check =
            |rest: &str, expected: u64| assert_eq!(count("gpt-4o", rest), expected, "{rest}");
        check(r#""messages":[{"role":"user","content":"hello world"}]"#, 3 + 3 + 1 + 2);
        check(r#""messages":[{"role":"user","content":"hello","name":"bob"}]"#, 3 + 3 + 1 + 1 + 2);
        check(r#""messages":[{"role":"assistant","content":null}]"#, 3 + 3 + 1);
        check(
            r#""messages":[{"role":"user","content":[{"type":"text","text":"hello"},
                {"type":"image_url","image_url":{"url":"x"}}]}]"#,
            3 + 3 + 1 + 1 + 85,
        );
        check(r#""messages":[{"role":"user","content":"hello"}],"tools":[]"#, 3 + 3 + 1 + 1);
        let tools = r#"[{"type":"function","function":{"name":"f"}}]"#;
        check(
            &format!(r#""messages":[{{"role":"user","content":"hello"}}],"tools":{tools}"#),
            3 + 3 + 1 + 1 + 10 + Tokenizer::O200k.count(tools),
        );
    }

    #[test]
    fn models_count_with_their_own_vocabulary() {
        for model in ["gpt-4", "gpt-4-turbo", "openai/gpt-4", "gpt-3.5-turbo"] {
            assert_eq!(tokenizer_of(model), Tokenizer::Cl100k, "{model}");
        }
        for model in ["gpt-4o", "gpt-4.1", "openai/gpt-5", "claude-3", "gpt-4/other"] {
            assert_eq!(tokenizer_of(model), Tokenizer::O200k, "{model}");
        }
    }
}
