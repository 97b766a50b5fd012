//! Bodies of providers, whole answers and errors: whatever they say, a charge comes of it that is
//! never negative and never quietly above what was reserved, and no secret comes back.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use rungate::domain::budget::Amounts;
use rungate::domain::money::Usd;
use rungate::domain::price::{ClassPrices, Prices, UsdPerMillionTokens};
use rungate::domain::settlement::{CostSource, Ending, Flag, ReportedUsage, Terms, UnknownUsage};
use rungate::domain::usage::Tokens;
use rungate::protocol::answer::{AnswerFault, read_answer};
use rungate::protocol::format::Format;
use rungate::protocol::provider_error::{ProviderError, read_error};
use rungate::upstream::scrub::{MAX_SHOWN_BYTES, scrub};
use rust_decimal::Decimal;
use secrecy::SecretString;

use super::mutate::damaged;
use super::{cases, corpus, fuzz};

const KIND: &str = "answer";
/// It looks like a word, so nothing but its being the secret hides it.
const SECRET: &str = "quietproviderword";
/// Where the provider is reached, which is nobody's business either.
const HOST: &str = "api.example.com";

const WORDS: &[&str] = &[
    SECRET,
    "Bearer ",
    "https://api.example.com/v1",
    "\"error\":",
    "{\"error\":\"",
    "\"message\":\"",
    "\"usage\":null,",
    "\"usage\":{},",
    "\"usage\":[],",
    "\"choices\":[],",
    "\"choices\":null,",
    "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1},",
    "\"prompt_tokens\":-1,",
    "\"prompt_tokens\":18446744073709551616,",
    "\"prompt_tokens\":1e3,",
    "\"prompt_tokens\":1.5,",
    "\"prompt_tokens\":9007199254740993,",
    "\"completion_tokens\":null,",
    "\"completion_tokens\":9,",
    "\"prompt_tokens_details\":{\"cached_tokens\":99},",
    "\"prompt_cache_hit_tokens\":3,",
    "\"completion_tokens_details\":{\"reasoning_tokens\":99},",
    "\"model\":\"gpt-4o\",",
    "\"model\":null,",
    "\"object\":\"error\",",
    "\"detail\":[{\"msg\":\"m\"}],",
    "\"code\":500,",
    "\\u0000",
    "\\ud800",
    "\\",
    "\"",
    "\u{0}",
    "\u{feff}",
    "null",
    "{",
    "}",
    "[",
    "]",
    "[[[[[[[[",
    ",",
    ":",
    " ",
    "\n",
    "<html>",
    "é",
];

fn answers() -> impl Strategy<Value = Vec<u8>> {
    let kept: Vec<Vec<u8>> = corpus(KIND).into_iter().map(|(_, bytes)| bytes).collect();
    let words = prop::collection::vec(prop::sample::select(WORDS), 0..16);
    let source = prop_oneof![
        3 => prop::sample::select(kept),
        1 => words.prop_map(|words| format!("{{{}}}", words.concat()).into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..100),
    ];
    damaged(source, WORDS)
}

#[test]
fn no_answer_credits_anybody_or_tells_a_secret() {
    fuzz(KIND, cases(3_000), &answers(), check);
}

fn check(bytes: &[u8]) -> TestCaseResult {
    check_error(&read_error(bytes))?;
    match read_answer(Format::Chat, bytes) {
        Ok(answer) => {
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok());
            if let Some(name) = &answer.served_model {
                prop_assert!((1..=256).contains(&name.len()) && !name.contains(char::is_control));
            }
            match answer.usage {
                Some(usage) => check_usage(usage),
                None => Ok(()),
            }
        }
        Err(AnswerFault::Provider(error)) => check_error(&error),
        Err(AnswerFault::Garbage) => Ok(()),
    }
}

/// What is shown of an error is short and holds no secret.
fn check_error(error: &ProviderError) -> TestCaseResult {
    let secrets = [SecretString::from(SECRET), SecretString::from(HOST)];
    for text in [&error.message, &error.kind, &error.code, &error.param].into_iter().flatten() {
        let shown = scrub(text, &secrets);
        prop_assert!(!shown.to_ascii_lowercase().contains(SECRET), "{}", shown);
        prop_assert!(!shown.to_ascii_lowercase().contains(HOST), "{}", shown);
        // An ellipsis may follow the cut.
        prop_assert!(shown.len() <= MAX_SHOWN_BYTES + 16, "{} bytes", shown.len());
    }
    Ok(())
}

/// Usage that is believed adds up, and its charge is within what was reserved unless it is flagged.
pub(super) fn check_usage(reported: ReportedUsage) -> TestCaseResult {
    if let ReportedUsage::Counted(usage) = reported {
        prop_assert!(usage.input().count() <= 1 << 53 && usage.output.count() <= 1 << 53);
        prop_assert!(usage.reasoning <= usage.output);
    }
    let price = |text| UsdPerMillionTokens::parse(text).unwrap();
    let base = ClassPrices {
        input: price("2.5"),
        cached_input: price("1.25"),
        cache_write: price("3"),
        long_cache_write: price("3"),
        output: price("10"),
    };
    let prices = Prices { base, long_context: None };
    let (input, output) = (Tokens::new(100), Tokens::new(50));
    let usd = prices.worst_case(input, output).unwrap();
    let terms = Terms {
        reserved: Amounts { usd, tokens: input.plus(output), calls: 1 },
        input_bound: input,
        output_bound: output,
        context_window: Tokens::new(1_000),
        output_maximum: Tokens::new(500),
        hidden_reasoning: false,
        unknown_usage: UnknownUsage::Estimate,
    };
    let charge = terms.charge(Ending::Reported(reported), &prices);
    prop_assert!(charge.cost.decimal() >= Decimal::ZERO);
    match charge.source {
        CostSource::Usage => {
            let within = charge.cost <= usd;
            prop_assert!(within || charge.flag == Some(Flag::OverReservation), "{:?}", charge);
            let most = prices.worst_case(terms.context_window, terms.output_maximum).unwrap();
            prop_assert!(charge.cost <= most);
        }
        CostSource::WorstCase => {
            prop_assert_eq!((charge.cost, charge.flag), (usd, Some(Flag::AbsurdUsage)));
        }
        CostSource::Estimate | CostSource::None => prop_assert!(false, "{:?}", charge),
    }
    prop_assert!(charge.cost > Usd::ZERO || charge.usage.total() == Tokens::ZERO);
    Ok(())
}
