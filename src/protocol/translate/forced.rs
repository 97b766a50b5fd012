//! Parameters that a run forces on its requests for text: what a client says of them is taken out,
//! and what the run says is put in.
//!
//! They are put in where the provider reads them: in the format that it is spoken to in, behind the
//! translation. Only `reasoning_effort` of a request that becomes messages goes through the
//! translation, which knows what it takes to make a model think there. A parameter that the format
//! or the provider lacks refuses the call: nothing that is forced is left out. The result is read
//! by the table of its format like any other request, so what is forced is bounded and priced.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::effort::{MIN_BUDGET, Thinking, of_word};
use super::read::Object;
use super::write::Writer;
use crate::domain::fault::{Code, Fault};
use crate::protocol::format::Format;
use crate::protocol::json;
use crate::protocol::request::Request;
use crate::providers::Dialect;

/// Parameters by name, as raw JSON.
pub type Forced = BTreeMap<String, String>;

/// A parameter that can be forced.
#[derive(Debug)]
pub struct Parameter {
    /// Its name, as in chat completions.
    pub name: &'static str,
    /// What it may be.
    pub values: Values,
    /// The formats that have it.
    pub formats: &'static [Format],
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// A number from one to the other.
    Number(i32, i32),
    /// A whole number from one to the other.
    Whole(i64, i64),
    /// One of these words.
    Word(&'static [&'static str]),
}

const TEXT: &[Format] = &[Format::Chat, Format::Messages, Format::Responses];
const CHAT: &[Format] = &[Format::Chat];
const EFFORT: &str = "reasoning_effort";
const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];
/// The highest temperature in messages (Anthropic's API reference).
const MESSAGES_TEMPERATURE: f64 = 1.0;

/// Every parameter that can be forced. Ranges are those of OpenAI's and OpenRouter's references.
pub static PARAMETERS: [Parameter; 9] = [
    of("temperature", Values::Number(0, 2), TEXT),
    of("top_p", Values::Number(0, 1), TEXT),
    of("top_k", Values::Whole(1, 1_000_000), &[Format::Chat, Format::Messages]),
    of("min_p", Values::Number(0, 1), CHAT),
    of("presence_penalty", Values::Number(-2, 2), CHAT),
    of("frequency_penalty", Values::Number(-2, 2), CHAT),
    of("repetition_penalty", Values::Number(0, 2), CHAT),
    of("seed", Values::Whole(i64::MIN, i64::MAX), CHAT),
    of(EFFORT, Values::Word(EFFORTS), TEXT),
];

const fn of(name: &'static str, values: Values, formats: &'static [Format]) -> Parameter {
    Parameter { name, values, formats }
}

impl Values {
    /// Whether a raw value is one of them.
    fn allow(self, raw: &str) -> bool {
        match self {
            Self::Number(least, most) => {
                let number = raw.parse().ok().filter(|_| !raw.starts_with('"'));
                number.is_some_and(|n: f64| (f64::from(least)..=f64::from(most)).contains(&n))
            }
            Self::Whole(least, most) => raw.parse().is_ok_and(|n| (least..=most).contains(&n)),
            Self::Word(words) => json::text(raw).is_some_and(|word| words.contains(&word.as_ref())),
        }
    }

    /// What they are, after "must be".
    fn says(self) -> String {
        match self {
            Self::Number(least, most) => format!("a number from {least} to {most}"),
            Self::Whole(i64::MIN, _) => "a whole number (64 bits)".to_owned(),
            Self::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Self::Word(words) => format!("one of {}", words.join(", ")),
        }
    }
}

/// The parameters for their documentation.
pub fn markdown() -> String {
    let mut text = String::from("| parameter | must be | formats that have it |\n|---|---|---|\n");
    for parameter in &PARAMETERS {
        let formats: Vec<&str> = parameter.formats.iter().map(|format| name_of(*format)).collect();
        let (name, says) = (parameter.name, parameter.values.says());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{name}` | {says} | {} |", formats.join(", "));
    }
    text
}

/// Checks what shall be forced, by the same tables as a request that says it.
///
/// # Errors
/// What is wrong, to follow the parameter's name.
pub fn check(name: &str, raw: &str) -> Result<(), String> {
    let Some(parameter) = PARAMETERS.iter().find(|parameter| parameter.name == name) else {
        let known: Vec<&str> = PARAMETERS.iter().map(|parameter| parameter.name).collect();
        return Err(format!("cannot be forced; what can be is {}", known.join(", ")));
    };
    let alone = Forced::from([(name.to_owned(), raw.to_owned())]);
    let reads = |format: &Format| {
        let body = match format {
            Format::Responses => r#"{"model":"m","input":"x"}"#,
            Format::Embeddings => r#"{"model":"m","input":"x","dimensions":1}"#,
            Format::Chat | Format::Messages => {
                r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}"#
            }
        };
        let way = Way { asked: *format, spoken: *format, thinking: Thinking::Adaptive };
        let written = way.before(body.as_bytes(), &alone);
        written.and_then(|body| Request::parse(*format, body.into())).is_ok()
    };
    if parameter.values.allow(raw) && parameter.formats.iter().all(reads) {
        return Ok(());
    }
    Err(format!("must be {}", parameter.values.says()))
}

/// The way of a request.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The format that the client speaks.
    pub asked: Format,
    /// The format that the provider is spoken to in.
    pub spoken: Format,
    /// How the model is told to think in messages.
    pub thinking: Thinking,
}

impl Way {
    /// Refuses what the provider cannot be told on this way.
    ///
    /// # Errors
    /// `parameter_not_allowed`, which names the parameter.
    pub fn check(self, forced: &Forced, dialect: &Dialect) -> Result<(), Fault> {
        for (name, raw) in forced {
            let known = PARAMETERS.iter().find(|known| known.name == name);
            let has_it = known.is_some_and(|known| known.formats.contains(&self.spoken));
            if !has_it || (name == "seed" && dialect.seed_field.is_none()) {
                return Err(refused(name, "the provider of this model does not have it"));
            }
            let hot = |raw: &str| raw.parse().is_ok_and(|n: f64| n > MESSAGES_TEMPERATURE);
            if name == "temperature" && self.spoken == Format::Messages && hot(raw) {
                return Err(refused(name, "the provider of this model takes at most 1"));
            }
        }
        Ok(())
    }

    /// The client's body without what it says of the forced parameters. If it is not translated,
    /// or if only the translation knows how to say a parameter, with what the run says.
    ///
    /// # Errors
    /// If a model has too little room to think.
    pub fn before(self, body: &[u8], forced: &Forced) -> Result<Vec<u8>, Fault> {
        if self.asked == self.spoken {
            return self.rewrite(self.asked, body, forced, true);
        }
        let body = self.rewrite(self.asked, body, forced, false)?;
        match forced.get_key_value(EFFORT).filter(|_| self.spoken == Format::Messages) {
            Some((name, raw)) => {
                let effort = Forced::from([(name.clone(), raw.clone())]);
                self.rewrite(self.asked, &body, &effort, true)
            }
            None => Ok(body),
        }
    }

    /// The translated body with what the run says.
    ///
    /// # Errors
    /// If a model has too little room to think.
    pub fn after(self, body: &[u8], forced: &Forced) -> Result<Vec<u8>, Fault> {
        let mut rest = forced.clone();
        if self.spoken == Format::Messages {
            rest.remove(EFFORT);
        }
        self.rewrite(self.spoken, body, &rest, true)
    }

    /// A body without what it says of these parameters, and with what the run says if it shall.
    fn rewrite(
        self,
        format: Format,
        body: &[u8],
        forced: &Forced,
        put_in: bool,
    ) -> Result<Vec<u8>, Fault> {
        // It was read before, by its table or by the translation.
        let unread = |error| Fault::internal(Code::InternalError, "The body was lost.", error);
        let object: Object<'_> = serde_json::from_slice(body).map_err(unread)?;
        let effort = forced.get(EFFORT);
        let mut out = Writer::with_capacity(body.len() + 256);
        out.raw("{");
        let (mut nest, mut limit) = (None, None);
        for (name, value) in &object.0 {
            let raw = value.get();
            match (effort, format, name.as_ref()) {
                (Some(_), Format::Responses, "reasoning")
                | (Some(_), Format::Messages, "output_config") => nest = Some(raw),
                (Some(_), Format::Messages, "thinking") => {}
                (_, _, name) if forced.contains_key(name) => {}
                (_, _, name) => {
                    if name == "max_tokens" {
                        limit = raw.parse().ok();
                    }
                    out.member(name, raw);
                }
            }
        }
        for (name, raw) in forced.iter().filter(|(name, _)| put_in && *name != EFFORT) {
            out.member(name, raw);
        }
        let effort = effort.filter(|_| put_in).map(String::as_str);
        match format {
            Format::Chat => {
                out.optional(EFFORT, effort);
            }
            Format::Responses => nested(&mut out, "reasoning", nest, effort),
            Format::Messages => {
                let effort = effort.map(|word| self.think(word, limit, &mut out)).transpose()?;
                nested(&mut out, "output_config", nest, effort.flatten());
            }
            Format::Embeddings => {}
        }
        out.raw("}");
        Ok(out.into_bytes())
    }

    /// Tells an Anthropic model to think that much; answers what goes into `output_config`.
    fn think<'a>(
        self,
        raw: &'a str,
        limit: Option<u64>,
        out: &mut Writer,
    ) -> Result<Option<&'a str>, Fault> {
        let word = json::text(raw).unwrap_or_default();
        let Some((effort, budget)) = of_word(&word) else {
            out.member("thinking", r#"{"type":"disabled"}"#);
            return Ok(None);
        };
        match self.thinking {
            Thinking::Adaptive => {
                out.member("thinking", r#"{"type":"adaptive"}"#);
                let same = effort == word;
                Ok(Some(if same { raw } else { r#""low""# }))
            }
            Thinking::Budget => {
                let budget = budget.min(limit.map_or(budget, |limit| limit / 2));
                if budget < MIN_BUDGET {
                    let says = "it takes a `max_tokens` of at least 2048";
                    return Err(refused(EFFORT, says));
                }
                out.key("thinking").raw(r#"{"type":"enabled","budget_tokens":"#);
                out.raw(&budget.to_string()).raw("}");
                Ok(None)
            }
        }
    }
}

/// Writes an object as it came, but for its effort; nothing if it would be empty.
fn nested(out: &mut Writer, name: &str, object: Option<&str>, effort: Option<&str>) {
    let object = object.and_then(|raw| serde_json::from_str::<Object<'_>>(raw).ok());
    let mut inner = Writer::default();
    for (name, raw) in object.iter().flat_map(|object| &object.0) {
        if name != "effort" {
            inner.member(name, raw.get());
        }
    }
    inner.optional("effort", effort);
    if !inner.is_empty() {
        out.key(name).raw("{").items(&inner).raw("}");
    }
}

const fn name_of(format: Format) -> &'static str {
    match format {
        Format::Chat => "chat completions",
        Format::Messages => "messages",
        Format::Responses => "responses",
        Format::Embeddings => "embeddings",
    }
}

fn refused(name: &str, why: &str) -> Fault {
    let says = format!("The run forces `{name}`, and {why}. Call another model.");
    Fault::new(Code::ParameterNotAllowed, says).param(name)
}
