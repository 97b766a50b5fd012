//! What a request asks the simulated provider to do wrong, late or otherwise than it would.
//!
//! A directive is written `[[sim key=value key …]]` in the last user message, or without the
//! brackets in the header `x-simulate`, whose keys win. Values have no spaces. An unknown key or a
//! value out of range is refused with 400 `bad_directive`, so that a misspelt fault cannot pass for
//! a gateway that survived it. It does not know how a fault is carried out.
//!
//! | key | effect |
//! |---|---|
//! | `status=N` | answer this status (300–599) with OpenAI's error body |
//! | `retry_after=V`, `echo=V` | with an error: the `retry-after` header; text in its message |
//! | `html` | the error body is HTML; 502 when no `status` is given |
//! | `tokens=N` | natural length in tokens (1–10000000); JSON has at least 5, and no schema |
//! | `delay_ms=N`, `chunk_delay_ms=N` | before the head; between streamed events |
//! | `stall=head`, `stall=body` | never answer; stop after the role event or half of the body |
//! | `cut=N` | close after N streamed events; unstreamed, after half of the announced body |
//! | `no_usage` | no usage anywhere |
//! | `usage=P:C` | claim these prompt and completion tokens, negative ones too |
//! | `cached=N` | claim N cached prompt tokens |
//! | `reasoning=N` | N hidden tokens, counted in the completion, within the asked maximum |
//! | `garbage` | a body, or a streamed event after the first, that is not JSON |
//! | `endless` | answer until the connection closes, whatever maximum was asked |
//! | `served=NAME` | another model in the answer |
//! | `tier=NAME`, `no_tier` | another service tier in the answer than was asked for, or none |
//! | `error_event` | a stream sends an error after two events and ends |
//! | `usage_on_content` | usage rides on the finish event, asked for or not, as with Mistral |
//! | `tool` | call the first tool offered |

use super::plan::Refusal;

const OPENING: &str = "[[sim";
const CLOSING: &str = "]]";
const MAX_TOKENS: u64 = 10_000_000;
const MAX_DELAY_MS: u64 = 3_600_000;

/// Where an answer stops without ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// Before its head.
    Head,
    /// After the role event of a stream, or half of a whole body.
    Body,
}

/// The directives of one request; the default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// Status of a failure.
    pub status: Option<u16>,
    /// Value of the header `retry-after` of a failure.
    pub retry_after: Option<String>,
    /// Text to repeat in the message of a failure.
    pub echo: Option<String>,
    /// Whether the body of a failure is HTML.
    pub html: bool,
    /// Natural length of the text, in tokens.
    pub tokens: Option<u64>,
    /// Milliseconds before the head.
    pub delay_ms: Option<u64>,
    /// Milliseconds between streamed events.
    pub chunk_delay_ms: Option<u64>,
    /// Where the answer stops.
    pub stall: Option<Stall>,
    /// Streamed events before the connection closes.
    pub cut: Option<u64>,
    /// Whether usage is left out.
    pub no_usage: bool,
    /// Prompt and completion tokens to claim.
    pub usage: Option<(i64, i64)>,
    /// Cached prompt tokens to claim.
    pub cached: u64,
    /// Hidden reasoning tokens, for each choice.
    pub reasoning: u64,
    /// Whether something that is not JSON is sent.
    pub garbage: bool,
    /// Whether the answer never ends.
    pub endless: bool,
    /// Model named by the answer.
    pub served: Option<String>,
    /// Service tier named by the answer.
    pub tier: Option<String>,
    /// Whether the answer names no service tier.
    pub no_tier: bool,
    /// Whether a stream breaks with an error event.
    pub error_event: bool,
    /// Whether usage rides on the finish event.
    pub usage_on_content: bool,
    /// Whether to call a tool.
    pub tool: bool,
}

impl Directives {
    /// Takes over every directive written in brackets in `text`; a later one wins.
    ///
    /// # Errors
    /// On a directive that is not closed, or that [`Self::apply`] refuses.
    pub(super) fn apply_text(&mut self, text: &str) -> Result<(), Refusal> {
        for rest in text.split(OPENING).skip(1) {
            if !rest.starts_with(|next: char| next.is_whitespace() || next == ']') {
                continue;
            }
            let Some((keys, _)) = rest.split_once(CLOSING) else {
                let message = format!("A directive that begins with {OPENING} is not closed.");
                return Err(Refusal::bad_directive(message));
            };
            self.apply(keys)?;
        }
        Ok(())
    }

    /// Takes over `key=value` words.
    ///
    /// # Errors
    /// On an unknown key, or a value out of its range.
    pub(super) fn apply(&mut self, keys: &str) -> Result<(), Refusal> {
        for word in keys.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let known = match value {
                "" => self.set_flag(key),
                value => self.set_value(key, value),
            };
            if known.is_none() {
                let message = format!("The simulator cannot do `{word}`.");
                return Err(Refusal::bad_directive(message));
            }
        }
        Ok(())
    }

    /// The status of the failure that is asked for, if one is.
    pub(super) fn failure(&self) -> Option<u16> {
        self.status.or(self.html.then_some(502))
    }

    fn set_flag(&mut self, key: &str) -> Option<()> {
        let flag = match key {
            "html" => &mut self.html,
            "no_usage" => &mut self.no_usage,
            "no_tier" => &mut self.no_tier,
            "garbage" => &mut self.garbage,
            "endless" => &mut self.endless,
            "error_event" => &mut self.error_event,
            "usage_on_content" => &mut self.usage_on_content,
            "tool" => &mut self.tool,
            _ => return None,
        };
        *flag = true;
        Some(())
    }

    fn set_value(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "status" => {
                let status = value.parse().ok()?;
                self.status = (300..=599).contains(&status).then_some(status);
                self.status?;
            }
            "retry_after" => self.retry_after = Some(printable(value)?),
            "echo" => self.echo = Some(value.to_owned()),
            "served" => self.served = Some(value.to_owned()),
            "tier" => self.tier = Some(value.to_owned()),
            "tokens" => self.tokens = Some(number(value, 1, MAX_TOKENS)?),
            "delay_ms" => self.delay_ms = Some(number(value, 0, MAX_DELAY_MS)?),
            "chunk_delay_ms" => self.chunk_delay_ms = Some(number(value, 0, MAX_DELAY_MS)?),
            "cut" => self.cut = Some(number(value, 0, u64::MAX)?),
            "cached" => self.cached = number(value, 0, u64::MAX)?,
            "reasoning" => self.reasoning = number(value, 0, MAX_TOKENS)?,
            "usage" => {
                let (prompt, completion) = value.split_once(':')?;
                self.usage = Some((prompt.parse().ok()?, completion.parse().ok()?));
            }
            "stall" => {
                self.stall = Some(match value {
                    "head" => Stall::Head,
                    "body" => Stall::Body,
                    _ => return None,
                });
            }
            _ => return None,
        }
        Some(())
    }
}

fn number(value: &str, least: u64, most: u64) -> Option<u64> {
    let number = value.parse().ok()?;
    (least..=most).contains(&number).then_some(number)
}

/// A header's value: anything else than visible ASCII could not be sent.
fn printable(value: &str) -> Option<String> {
    let visible = value.bytes().all(|byte| byte.is_ascii_graphic());
    visible.then(|| value.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Directives> {
        let mut directives = Directives::default();
        directives.apply_text(text).ok()?;
        Some(directives)
    }

    #[test]
    fn text_without_a_directive_asks_for_nothing() {
        for text in ["", "hello", "[[simple]]", "[[sims status=500]]", "sim status=500"] {
            assert_eq!(read(text), Some(Directives::default()), "{text}");
        }
    }

    #[test]
    fn keys_values_and_flags_are_read_and_the_later_wins() {
        let text = "say [[sim status=429 retry_after=2 echo=x]] and [[sim status=503 html]]";
        let expected = Directives {
            status: Some(503),
            retry_after: Some("2".to_owned()),
            echo: Some("x".to_owned()),
            html: true,
            ..Directives::default()
        };
        assert_eq!(read(text), Some(expected));
        let text = "[[sim usage=-5:3 stall=body cut=0 tokens=7 served=a/b:c no_usage tool]]";
        let expected = Directives {
            usage: Some((-5, 3)),
            stall: Some(Stall::Body),
            cut: Some(0),
            tokens: Some(7),
            served: Some("a/b:c".to_owned()),
            no_usage: true,
            tool: true,
            ..Directives::default()
        };
        assert_eq!(read(text), Some(expected));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for keys in [
            "statsu=500",
            "status=200",
            "status=x",
            "tokens=0",
            "tokens",
            "usage=5",
            "stall=tail",
            "garbage=1",
            "cut=-1",
        ] {
            assert_eq!(read(&format!("[[sim {keys}]]")), None, "{keys}");
        }
        assert_eq!(read("[[sim status=500"), None);
    }

    #[test]
    fn html_alone_is_a_bad_gateway() {
        assert_eq!(read("[[sim html]]").unwrap().failure(), Some(502));
        assert_eq!(read("[[sim]]").unwrap().failure(), None);
    }
}
