//! Bodies that are translated: for any body that is accepted, translating refuses by name or makes
//! a body that is accepted too, with the same output limit, and sent within its own bound.

use std::cell::Cell;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use rungate::domain::usage::Tokens;
use rungate::protocol::format::Format;
use rungate::protocol::request::Request;
use rungate::protocol::translate::{ChatClient, Thinking, Translated, Translation};
use serde_json::Value;

use super::bodies::{check_refusal, check_sent, of};
use super::{cases, fuzz, generate};
use crate::{protocol, responses};

/// What a body is translated for that asks for no limit.
const LIMIT: Tokens = Tokens::new(4_096);

fn holds(asked: Format, kind: &'static str, body: impl Strategy<Value = Value> + 'static) {
    let translated = Cell::new(0_u32);
    let cases = cases(250);
    fuzz(kind, cases, &of(kind, body), |bytes| {
        let Ok(request) = Request::parse(asked, Bytes::copy_from_slice(bytes)) else {
            return Ok(());
        };
        for spoken in [Format::Chat, Format::Messages] {
            if spoken != asked && Translation::spoken(asked, &[spoken]).is_some() {
                let made = check((asked, spoken), bytes, &request)?;
                translated.set(translated.get() + u32::from(made));
            }
        }
        Ok(())
    });
    assert!(translated.get() > cases / 20, "hardly any was translated: {}", translated.get());
}

#[test]
fn whatever_message_is_translated_is_accepted_and_within_its_bound() {
    holds(Format::Messages, "messages", generate::messages());
}

#[test]
fn whatever_response_is_translated_is_accepted_and_within_its_bound() {
    holds(Format::Responses, "responses", responses::generate::body());
}

#[test]
fn whatever_chat_is_translated_is_accepted_and_within_its_bound() {
    // Most of what the usual bodies of chat say has no counterpart.
    let bodies = prop_oneof![4 => generate::chat(), 1 => protocol::generate::body()];
    holds(Format::Chat, "chat", bodies);
}

/// Tells whether it was translated.
fn check(
    (asked, spoken): (Format, Format),
    bytes: &[u8],
    request: &Request,
) -> Result<bool, TestCaseError> {
    let limit = request.asked_output.is_none().then_some(LIMIT);
    let mut made = false;
    for thinking in [Thinking::Adaptive, Thinking::Budget] {
        let client = ChatClient::default();
        let Translated { body, translation } =
            match Translation::of((asked, spoken), bytes, thinking, limit, client) {
                Ok(translated) => translated,
                Err(fault) => {
                    check_refusal(&fault)?;
                    continue;
                }
            };
        made = true;
        let shown = String::from_utf8_lossy(&body).into_owned();
        let translated = Request::parse(spoken, Bytes::from(body));
        prop_assert!(translated.is_ok(), "{translated:?}: {shown}");
        let translated = translated.unwrap();
        check_limit(request, &translated, spoken)?;
        prop_assert_eq!(&translated.model, &request.model);
        prop_assert_eq!(translated.stream, request.stream);
        prop_assert_eq!(translated.choices, request.choices);
        for name in &translated.run_names {
            prop_assert!(request.run_names.contains(name), "{name} is made up: {shown}");
        }
        check_sent(&translated)?;
        let _none_if_nothing_has_to = translation.stream();
    }
    Ok(made)
}

fn check_limit(request: &Request, translated: &Request, spoken: Format) -> TestCaseResult {
    let wanted = match (request.asked_output, spoken) {
        (Some(asked), _) => Some(asked),
        // Messages want one.
        (None, Format::Messages) => Some(LIMIT),
        (None, _) => None,
    };
    prop_assert_eq!(translated.asked_output, wanted);
    Ok(())
}
