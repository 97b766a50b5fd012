//! Bodies that are refused, each with what its sender reads.

use super::{item, parse, part, with};

const BAD: &str = "invalid_request";
const NO: &str = "parameter_not_allowed";

fn check(body: &str, code: &str, param: &str, says: &str) {
    let fault = parse(body).map(|_| ()).expect_err(body);
    let found = (fault.code().as_str(), fault.param_name().unwrap_or_default(), fault.message());
    assert_eq!(found, (code, param, format!("`{param}` {says}.").as_str()), "for {body}");
}

#[test]
fn what_is_kept_or_reaches_outside_is_refused_by_name() {
    let state = "is not passed on: nothing is stored; send the whole `input`";
    check(&with(r#""previous_response_id":"r""#), NO, "previous_response_id", state);
    check(&with(r#""conversation":{"id":"c"}"#), NO, "conversation", state);
    let says = "may only be false: nothing is kept at the provider";
    check(&with(r#""store":true"#), NO, "store", says);
    let says = "may only be false: the answer would come where nobody meters it";
    check(&with(r#""background":true"#), NO, "background", says);
    check(&with(r#""background":1"#), BAD, "background", "must be true or false");
    let says = "may only be disabled: it changes the input after it was counted";
    check(&with(r#""truncation":"auto""#), NO, "truncation", says);
    check(&with(r#""truncation":1"#), BAD, "truncation", "must be a string");
    let says = "may only be auto or default: other tiers have other prices";
    check(&with(r#""service_tier":"flex""#), NO, "service_tier", says);
    for word in ["file_search_call.results", "computer_call_output.output.image_url"] {
        let says = "may only be reasoning.encrypted_content, message.output_text.logprobs: only \
                    `reasoning.encrypted_content` and `message.output_text.logprobs`";
        check(&with(&format!(r#""include":["{word}"]"#)), NO, "include", says);
    }
    let three = r#""include":["a","b","c"]"#;
    check(&with(three), BAD, "include", "must be an array of at most 2 strings");
    let says = "is not passed on: other modes have other prices";
    check(&with(r#""reasoning":{"mode":"pro"}"#), NO, "reasoning.mode", says);
}

#[test]
fn tools_of_the_provider_are_refused() {
    for tool in [
        "web_search",
        "web_search_preview",
        "file_search",
        "computer",
        "computer_use_preview",
        "code_interpreter",
        "mcp",
        "image_generation",
        "local_shell",
        "shell",
        "apply_patch",
        "tool_search",
        "programmatic_tool_calling",
    ] {
        let says = "may only be function, custom, namespace: anything else reaches outside or \
                    has no price here";
        let tools = format!(r#""tools":[{{"type":"{tool}"}}]"#);
        check(&with(&tools), NO, "tools[0].type", says);
        let says = "may only be function, custom: anything else reaches outside or has no price \
                    here";
        let tools =
            format!(r#""tools":[{{"type":"namespace","name":"n","tools":[{{"type":"{tool}"}}]}}]"#);
        check(&with(&tools), NO, "tools[0].tools[0].type", says);
    }
    let says = "may only be function, custom, allowed_tools: anything else reaches outside or \
                has no price here";
    check(&with(r#""tool_choice":{"type":"mcp"}"#), NO, "tool_choice.type", says);
}

#[test]
fn items_and_parts_that_the_request_does_not_show_are_refused() {
    for kind in [
        "item_reference",
        "web_search_call",
        "local_shell_call",
        "compaction",
        "image_generation_call",
        "mcp_call",
        "program",
    ] {
        let says = "may only be message, reasoning, function_call, function_call_output, \
                    custom_tool_call, custom_tool_call_output: anything else reaches outside or \
                    has no price here";
        check(&item(&format!(r#""type":"{kind}","id":"x""#)), NO, "input[0].type", says);
    }
    check(&item(r#""id":"msg_1""#), BAD, "input[0].role", "is required");
    for kind in ["input_file", "input_audio", "image_url", "text"] {
        let says = "may only be input_text, output_text, refusal, input_image, reasoning_text: \
                    anything else reaches outside or has no price here";
        check(&part(&format!(r#""type":"{kind}""#)), NO, "input[0].content[0].type", says);
    }
    let path = "input[0].content[0].image_url";
    let says = "must be `data:image/(png|jpeg|webp|gif);base64,…`: nothing is fetched; send the \
                image itself";
    let image = part(r#""type":"input_image","image_url":"https://x/y.png""#);
    check(&image, NO, path, says);
    let says = "is not passed on: input that the request does not show cannot be counted";
    let image = part(r#""type":"input_image","file_id":"f""#);
    check(&image, NO, "input[0].content[0].file_id", says);
    let says = "is not passed on: cache writes have another price";
    let text = part(r#""type":"input_text","text":"a","prompt_cache_breakpoint":{}"#);
    check(&text, NO, "input[0].content[0].prompt_cache_breakpoint", says);
}

#[test]
fn members_of_another_kind_of_item_are_refused_even_where_no_kind_is_named() {
    let says = "does not belong to an object of type `message`; remove it";
    for body in [
        item(r#""role":"user","content":"x","call_id":"c""#),
        item(r#""call_id":"c","type":"message","role":"user","content":"x""#),
    ] {
        check(&body, NO, "input[0].call_id", says);
    }
    let says = "does not belong to an object of type `reasoning`; remove it";
    check(&item(r#""type":"reasoning","output":"x""#), NO, "input[0].output", says);
    let call = item(r#""type":"function_call","call_id":"c","name":"f""#);
    check(&call, BAD, "input[0].arguments", "is required");
}

#[test]
fn what_is_missing_misspelt_or_wrongly_typed_is_refused() {
    check(r#"{"model":"m"}"#, BAD, "input", "is required");
    check(r#"{"input":"x"}"#, BAD, "model", "is required");
    check(r#"{"model":"m","input":null}"#, BAD, "input", "is required");
    check(r#"{"model":"m","input":[]}"#, BAD, "input", "is empty; send at least one message");
    let unknown = "is not a field that this gateway passes on; remove it";
    check(&with(r#""fooo":1"#), NO, "fooo", unknown);
    check(&item(r#""role":"user","content":"x","fooo":1"#), NO, "input[0].fooo", unknown);
    check(&with(r#""text":{"fooo":1}"#), NO, "text.fooo", unknown);
    check(&with(r#""tools":[{"type":"function","fooo":1}]"#), NO, "tools[0].fooo", unknown);
    check(
        &with(r#""max_tokens":5"#),
        NO,
        "max_tokens",
        "is not passed on: use `max_output_tokens`",
    );
    let says = "must be a whole number from 1 to 2147483647";
    check(&with(r#""max_output_tokens":0"#), BAD, "max_output_tokens", says);
    check(&with(r#""instructions":["x"]"#), BAD, "instructions", "must be a string");
    let says = "is given twice; give each field once";
    check(&with(r#""inp\u0075t":"x""#), BAD, "input", says);
}
