//! Which formats can stand in for which, and what it takes: a request there, an answer back.

use std::borrow::Cow;

use super::{
    ChatClient, ChatToMessages, MessagesBody, MessagesToChat, Thinking, Translate,
    chat_answer_to_messages, chat_to_messages, messages_answer_to_chat, messages_to_chat,
};
use crate::domain::fault::Fault;
use crate::domain::usage::Tokens;
use crate::protocol::answer::AnswerFault;
use crate::protocol::format::Format;
use crate::protocol::responses::{ResponsesFromChat, chat_answer_to_responses, responses_to_chat};
use crate::protocol::sse::{self, Scanner};
use crate::protocol::stream::StreamFault;

/// A call that a client makes in one format and a provider answers in another.
#[derive(Clone, Copy, Debug)]
pub struct Translation {
    asked: Format,
    spoken: Format,
    client: ChatClient,
}

/// What a request becomes, and how its answer comes back.
pub struct Translated {
    /// The body in the provider's format.
    pub body: Vec<u8>,
    /// The way back.
    pub translation: Translation,
}

impl Translation {
    /// The format that a provider of these is spoken to in for calls of this one: the same if it
    /// has it.
    pub fn spoken(asked: Format, formats: &[Format]) -> Option<Format> {
        let ways: &[Format] = match asked {
            Format::Chat => &[Format::Chat, Format::Messages],
            Format::Messages => &[Format::Messages, Format::Chat],
            Format::Responses => &[Format::Responses, Format::Chat, Format::Messages],
            Format::Embeddings => &[Format::Embeddings],
        };
        ways.iter().copied().find(|way| formats.contains(way))
    }

    /// Translates a body that the table of `asked` has accepted. `limit` is the output limit if
    /// the body has none; messages want one. `client` tells what an answer in chat looks like.
    ///
    /// # Errors
    /// `parameter_not_allowed` for what the other format cannot say.
    pub fn of(
        (asked, spoken): (Format, Format),
        body: &[u8],
        thinking: Thinking,
        limit: Option<Tokens>,
        client: ChatClient,
    ) -> Result<Translated, Fault> {
        let chat = match asked {
            Format::Messages => Cow::Owned(messages_to_chat(body)?),
            Format::Responses => Cow::Owned(responses_to_chat(body)?),
            Format::Chat | Format::Embeddings => Cow::Borrowed(body),
        };
        let translation = Self { asked, spoken, client };
        if spoken != Format::Messages {
            return Ok(Translated { body: chat.into_owned(), translation });
        }
        let chat = match limit {
            Some(limit) => Cow::Owned(with_limit(chat.into_owned(), limit)),
            None => chat,
        };
        let MessagesBody { body, legacy_functions } = chat_to_messages(&chat, thinking)?;
        let client = ChatClient { legacy_functions, ..client };
        Ok(Translated { body, translation: Self { client, ..translation } })
    }

    /// The answer, as the client's format has it.
    ///
    /// # Errors
    /// If it has something that the client's format cannot say.
    pub fn answer(&self, body: &[u8]) -> Result<Vec<u8>, AnswerFault> {
        match (self.spoken, self.asked) {
            (Format::Messages, Format::Chat) => messages_answer_to_chat(body, self.client),
            (Format::Messages, Format::Responses) => {
                chat_answer_to_responses(&messages_answer_to_chat(body, self.client)?)
            }
            (Format::Chat, Format::Messages) => chat_answer_to_messages(body),
            (Format::Chat, Format::Responses) => chat_answer_to_responses(body),
            _ => Ok(body.to_vec()),
        }
    }

    /// What translates the events of a streamed answer; `None` if nothing has to.
    pub fn stream(&self) -> Option<Box<dyn Translate>> {
        // Whoever translates on wants to see the usage.
        let chat = |include_usage| ChatClient { include_usage, ..self.client };
        Some(match (self.spoken, self.asked) {
            (Format::Messages, Format::Chat) => Box::new(MessagesToChat::new(self.client)),
            (Format::Messages, Format::Responses) => Box::new(Chain {
                first: MessagesToChat::new(chat(true)),
                second: ResponsesFromChat::default(),
                between: Vec::new(),
            }),
            (Format::Chat, Format::Messages) => Box::new(ChatToMessages::new()),
            (Format::Chat, Format::Responses) => Box::new(ResponsesFromChat::default()),
            _ => return None,
        })
    }
}

/// The body with an output limit at its end.
fn with_limit(mut body: Vec<u8>, limit: Tokens) -> Vec<u8> {
    let end = body.iter().rposition(|byte| *byte == b'}').unwrap_or(body.len());
    body.truncate(end);
    body.extend_from_slice(format!(",\"max_completion_tokens\":{limit}}}").as_bytes());
    body
}

/// Two translators, one behind the other.
struct Chain {
    first: MessagesToChat,
    second: ResponsesFromChat,
    between: Vec<u8>,
}

impl Chain {
    fn pass_on(&mut self, out: &mut Vec<u8>) -> Result<(), StreamFault> {
        let (mut scanner, mut rest) = (Scanner::default(), self.between.as_slice());
        while let Some(end) = scanner.next_end(rest) {
            let (event, behind) = rest.split_at(end);
            rest = behind;
            if let Some(data) = sse::read(event).data {
                self.second.event(&data, out)?;
            }
        }
        Ok(())
    }
}

impl Translate for Chain {
    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), StreamFault> {
        self.between.clear();
        self.first.event(data, &mut self.between)?;
        self.pass_on(out)
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.between.clear();
        self.first.finish(&mut self.between);
        // What the first one ends with is its own, so the second one understands it.
        let _understood = self.pass_on(out);
        self.second.finish(out);
    }
}
