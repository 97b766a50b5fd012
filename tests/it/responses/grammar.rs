//! A reader of streamed responses that believes nothing: every event must fit what came before it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What a stream adds up to.
#[derive(Debug, PartialEq)]
pub(super) struct Read {
    /// The type of its last event.
    pub(super) end: String,
    /// The response in it.
    pub(super) response: Value,
}

/// Reads a whole stream; panics where it breaks the grammar.
pub(super) fn read(stream: &str) -> Read {
    let mut reader = Reader::default();
    for (number, event) in stream.split_inclusive("\n\n").enumerate() {
        assert!(reader.end.is_none(), "something follows the end: {event}");
        let (name, data) = event.trim_end().split_once("\ndata: ").expect(event);
        let data: Value = serde_json::from_str(data).expect(event);
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{event}");
        assert_eq!(data["sequence_number"], json!(number), "{event}");
        match number {
            0 => assert_eq!(data["type"], "response.created"),
            1 => assert_eq!(data["type"], "response.in_progress"),
            _ => reader.event(&data),
        }
        if number < 2 {
            assert_eq!(data["response"]["status"], "in_progress");
            assert_eq!(data["response"]["output"], json!([]));
            reader.response = data["response"].clone();
        }
    }
    let end = reader.end.expect("the stream has no end");
    Read { end, response: reader.response }
}

#[derive(Default)]
struct Reader {
    response: Value,
    /// By their place: the item as it is written, and whether it is done.
    items: BTreeMap<u64, (Value, bool)>,
    /// The part that is open in an item.
    parts: BTreeMap<u64, u64>,
    end: Option<String>,
}

impl Reader {
    fn event(&mut self, data: &Value) {
        let kind = data["type"].as_str().unwrap();
        match kind {
            "response.completed" | "response.incomplete" | "response.failed" => self.ends(data),
            "response.output_item.added" => {
                let place = data["output_index"].as_u64().unwrap();
                let item = data["item"].clone();
                assert_eq!(item["status"], "in_progress", "{data}");
                assert!(!item["id"].as_str().unwrap().is_empty());
                assert!(self.items.insert(place, (item, false)).is_none(), "{data}");
            }
            "response.output_item.done" => {
                let place = data["output_index"].as_u64().unwrap();
                assert!(!self.parts.contains_key(&place), "a part is open: {data}");
                let (item, done) = self.items.get_mut(&place).unwrap();
                assert!(!*done, "{data}");
                *done = true;
                assert_ne!(data["item"]["status"], "in_progress");
                item["status"] = data["item"]["status"].clone();
                assert_eq!(*item, data["item"]);
            }
            "response.content_part.added" => self.part_opens(data, "content", "content_index"),
            "response.content_part.done" => self.part_closes(data, "content", "content_index"),
            "response.reasoning_summary_part.added" => {
                self.part_opens(data, "summary", "summary_index");
            }
            "response.reasoning_summary_part.done" => {
                self.part_closes(data, "summary", "summary_index");
            }
            "response.output_text.delta" | "response.output_text.done" => {
                assert_eq!(data["logprobs"], json!([]));
                self.writes(data, "content", "content_index", "text");
            }
            "response.refusal.delta" | "response.refusal.done" => {
                self.writes(data, "content", "content_index", "refusal");
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_summary_text.done" => {
                self.writes(data, "summary", "summary_index", "text");
            }
            "response.function_call_arguments.delta" | "response.function_call_arguments.done" => {
                self.calls(data, "function_call", "arguments");
            }
            "response.custom_tool_call_input.delta" | "response.custom_tool_call_input.done" => {
                self.calls(data, "custom_tool_call", "input");
            }
            other => panic!("an unknown event: {other}"),
        }
    }

    fn ends(&mut self, data: &Value) {
        let response = &data["response"];
        let kind = data["type"].as_str().unwrap();
        assert_eq!(format!("response.{}", response["status"].as_str().unwrap()), kind);
        for same in ["id", "object", "created_at", "model"] {
            assert_eq!(response[same], self.response[same]);
        }
        assert_eq!(response["incomplete_details"].is_object(), kind == "response.incomplete");
        assert_eq!(response["error"].is_object(), kind == "response.failed");
        assert!(self.parts.is_empty() && self.items.values().all(|(_, done)| *done));
        let places: Vec<u64> = self.items.keys().copied().collect();
        assert_eq!(places, (0..places.len() as u64).collect::<Vec<_>>());
        let items: Vec<&Value> = self.items.values().map(|(item, _)| item).collect();
        assert_eq!(response["output"], json!(items));
        self.response = response.clone();
        self.end = Some(kind.to_owned());
    }

    /// The item of an event, which must be open.
    fn item(&mut self, data: &Value) -> (u64, &mut Value) {
        let place = data["output_index"].as_u64().unwrap();
        let (item, done) = self.items.get_mut(&place).unwrap_or_else(|| panic!("no item: {data}"));
        assert!(!*done, "its item is done: {data}");
        assert_eq!(item["id"], data["item_id"]);
        (place, item)
    }

    fn part_opens(&mut self, data: &Value, list: &str, index: &str) {
        let (place, item) = self.item(data);
        let parts = item[list].as_array_mut().unwrap();
        assert_eq!(data[index], json!(parts.len()), "{data}");
        parts.push(data["part"].clone());
        let number = data[index].as_u64().unwrap();
        assert!(self.parts.insert(place, number).is_none(), "two parts are open: {data}");
    }

    fn part_closes(&mut self, data: &Value, list: &str, index: &str) {
        let (place, item) = self.item(data);
        assert_eq!(item[list].as_array().unwrap().last(), Some(&data["part"]));
        assert_eq!(self.parts.remove(&place), data[index].as_u64(), "{data}");
    }

    fn writes(&mut self, data: &Value, list: &str, index: &str, name: &str) {
        let (place, item) = self.item(data);
        let text = &mut item[list][data[index].as_u64().unwrap() as usize][name];
        extend(text, data, name);
        assert_eq!(self.parts.get(&place).copied(), data[index].as_u64(), "{data}");
    }

    fn calls(&mut self, data: &Value, kind: &str, name: &str) {
        let (_, item) = self.item(data);
        assert_eq!(item["type"], kind);
        assert!(!item["call_id"].as_str().unwrap().is_empty(), "{data}");
        extend(&mut item[name], data, name);
    }
}

/// A delta goes on a text; its end repeats it.
fn extend(text: &mut Value, data: &Value, name: &str) {
    match data["delta"].as_str() {
        Some(delta) => {
            assert!(!delta.is_empty(), "{data}");
            *text = json!(text.as_str().unwrap().to_owned() + delta);
        }
        None => assert_eq!(text, &data[name], "{data}"),
    }
}
