//! What an answer says: its choices, their texts or tool calls, and their true token counts.
//!
//! It does not know how an answer is written on the wire, nor whether it is streamed.

use super::directive::Directives;
use super::plan::Refusal;
use super::prompt::Facts;
use super::request::ChatRequest;
use super::tool::{self, Function};
use super::words::{Numbers, Words};
use crate::catalog::tokenizer::Tokenizer;

const SHORTEST: u64 = 8;
const LONGEST: u64 = 160;
// OpenAI does not publish how a call is laid out; this is the simulator's own constant.
const TOKENS_PER_CALL: u64 = 7;
/// The most characters of one piece of a text that was not built of words.
const PIECE_CHARS: usize = 8;
const EPOCH: u64 = 1_700_000_000;
const YEAR_SECONDS: u64 = 31_536_000;

/// Why a choice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
    ToolCalls,
}

/// A text that is given out in pieces.
pub(super) enum Source {
    Words(Words),
    /// A text that had to be made first, and how much of it was given out, in bytes.
    Fixed(String, usize),
}

/// The head of a tool call; its arguments are the source of the choice.
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) name: String,
}

/// One of the answers.
pub(super) struct Choice {
    pub(super) call: Option<Call>,
    pub(super) source: Source,
    pub(super) finish: Finish,
    tokens: u64,
}

/// What the answer says it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt: i64,
    pub(super) completion: i64,
    pub(super) cached: u64,
    pub(super) reasoning: u64,
}

/// An answer.
pub(super) struct Reply {
    pub(super) id: u64,
    /// Seconds since 1970, made up.
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) service_tier: Option<String>,
    pub(super) choices: Vec<Choice>,
    pub(super) usage: Option<Usage>,
    pub(super) logprobs: bool,
}

impl Finish {
    /// Its name on the wire.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }
}

impl Source {
    /// The next piece.
    pub(super) fn next_piece(&mut self) -> Option<&str> {
        match self {
            Self::Words(words) => words.next_piece(),
            Self::Fixed(text, given) => {
                let rest = text.get(*given..).filter(|rest| !rest.is_empty())?;
                let mut ends = rest.char_indices().skip(1);
                let end = ends.find(|(index, next)| *next == ' ' || *index >= PIECE_CHARS);
                let piece = rest.get(..end.map_or(rest.len(), |(index, _)| index))?;
                *given += piece.len();
                Some(piece)
            }
        }
    }
}

/// Makes the answer; `identity` decides everything that the request leaves open.
///
/// # Errors
/// When the request's tools are malformed.
pub(super) fn make(
    request: &ChatRequest<'_>,
    facts: &Facts,
    tokenizer: Tokenizer,
    identity: u64,
) -> Result<Reply, Refusal> {
    let directives = &facts.directives;
    let mut numbers = Numbers(identity);
    let id = numbers.draw();
    let created = EPOCH + numbers.below(YEAR_SECONDS);
    let limit = match directives.endless {
        true => u64::MAX,
        false => request.max_output_tokens().unwrap_or(u64::MAX),
    };
    let reasoning = directives.reasoning.min(limit);
    let limit = limit - reasoning;
    let function = tool::chosen(request, facts.asks_tool)?.filter(|_| !directives.endless);
    let count = request.choices()?;
    let mut choices = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let numbers = Numbers(numbers.draw());
        choices.push(match &function {
            Some(function) => call(function, tokenizer, numbers, limit),
            None => text(request, facts, tokenizer, numbers, limit),
        });
    }
    // An endless choice counts as many tokens as there are, so the sum must not wrap.
    let completion = choices
        .iter()
        .fold(0_u64, |sum, choice| sum.saturating_add(reasoning).saturating_add(choice.tokens));
    let served = directives.served.as_deref();
    Ok(Reply {
        id,
        created,
        model: served.map_or_else(|| request.model(), Ok)?.to_owned(),
        service_tier: tier(request, directives),
        choices,
        usage: usage(facts, completion, reasoning * count),
        logprobs: request.wants_logprobs(),
    })
}

/// The tier that the answer names: the one that was asked for, unless a directive says otherwise.
fn tier(request: &ChatRequest<'_>, directives: &Directives) -> Option<String> {
    let asked = request.service_tier.as_ref().map(|tier| tier.0.as_ref());
    let named = directives.tier.as_deref().or(asked);
    named.filter(|_| !directives.no_tier).map(str::to_owned)
}

fn usage(facts: &Facts, completion: u64, reasoning: u64) -> Option<Usage> {
    if facts.directives.no_usage {
        return None;
    }
    let signed = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
    let truth = (signed(facts.prompt_tokens), signed(completion));
    let (prompt, completion) = facts.directives.usage.unwrap_or(truth);
    Some(Usage { prompt, completion, cached: facts.directives.cached, reasoning })
}

fn text(
    request: &ChatRequest<'_>,
    facts: &Facts,
    tokenizer: Tokenizer,
    mut numbers: Numbers,
    limit: u64,
) -> Choice {
    let drawn = SHORTEST + numbers.below(LONGEST - SHORTEST + 1);
    let natural = match facts.directives.endless {
        true => u64::MAX,
        false => facts.directives.tokens.unwrap_or(drawn),
    };
    if let Some(schema) = request.schema()
        && !facts.directives.endless
        && facts.directives.tokens.is_none()
    {
        return structured(request, tool::value(schema, &mut numbers), tokenizer, limit);
    }
    let words = Words::new(numbers, natural, limit, request.wants_json());
    if !facts.directives.endless
        && let Some(stopped) = stopped(request, words.clone())
    {
        return Choice {
            call: None,
            tokens: tokenizer.count(&stopped),
            source: Source::Fixed(stopped, 0),
            finish: Finish::Stop,
        };
    }
    Choice {
        call: None,
        tokens: words.tokens(),
        finish: if words.is_cut() { Finish::Length } else { Finish::Stop },
        source: Source::Words(words),
    }
}

/// The text up to the first stop sequence in it, if there is one.
fn stopped(request: &ChatRequest<'_>, mut words: Words) -> Option<String> {
    request.stops().next()?;
    let mut text = String::new();
    while let Some(piece) = words.next_piece() {
        text.push_str(piece);
    }
    let end = first_stop(request, &text)?;
    text.truncate(end);
    Some(text)
}

/// Where in `text` the first stop sequence begins.
fn first_stop(request: &ChatRequest<'_>, text: &str) -> Option<usize> {
    request.stops().filter_map(|stop| text.find(stop)).min()
}

/// An answer that is the value of a schema, as far as it may go.
fn structured(
    request: &ChatRequest<'_>,
    mut value: String,
    tokenizer: Tokenizer,
    limit: u64,
) -> Choice {
    if let Some(end) = first_stop(request, &value) {
        value.truncate(end);
    }
    let mut finish = Finish::Stop;
    if tokenizer.count(&value) > limit {
        finish = Finish::Length;
        cut(&mut value, tokenizer, limit);
    }
    let tokens = tokenizer.count(&value);
    Choice { call: None, tokens, source: Source::Fixed(value, 0), finish }
}

fn call(function: &Function<'_>, tokenizer: Tokenizer, mut numbers: Numbers, limit: u64) -> Choice {
    let id = numbers.draw();
    let name = function.name.0.as_ref().to_owned();
    let mut arguments = tool::arguments(function, &mut numbers);
    let head = TOKENS_PER_CALL + tokenizer.count(&name);
    let mut tokens = head + tokenizer.count(&arguments);
    let mut finish = Finish::ToolCalls;
    if tokens > limit {
        finish = Finish::Length;
        cut(&mut arguments, tokenizer, limit.saturating_sub(head));
        tokens = limit.min(head + tokenizer.count(&arguments));
    }
    Choice { call: Some(Call { id, name }), source: Source::Fixed(arguments, 0), finish, tokens }
}

/// Shortens `text` to at most `limit` tokens.
fn cut(text: &mut String, tokenizer: Tokenizer, limit: u64) {
    let ends: Vec<usize> = text.char_indices().map(|(index, _)| index).collect();
    let fits = |end: &usize| {
        let part = text.get(..*end).unwrap_or_default();
        tokenizer.count(part) <= limit
    };
    let fitting = ends.partition_point(fits);
    let end = ends.get(fitting.saturating_sub(1)).copied().unwrap_or_default();
    text.truncate(end);
}
