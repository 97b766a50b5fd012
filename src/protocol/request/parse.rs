//! The walk over a request: one pass of `serde_json`, driven by the table of fields.
//!
//! What is passed is copied once, as raw slices, into the beginning of the upstream body. Members
//! keep their order; keys are written from the table, so an escaped key is what it decodes to and
//! nothing unknown can ride along. What a single value means is told in `leaf`.

use bytes::Bytes;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::TAIL_BYTES;
use super::count::Span;
use super::fields::{Action, Counts, Field, Object, Shape, Tally, Variant};
use super::visit::{Found, Key, Kind, Members, Node};
use crate::domain::bound::InputShape;
use crate::domain::fault::{Code, Fault};
use crate::domain::price::Caching;
use crate::protocol::json::{self, Path};

/// The most parts and tool calls of a whole request.
const MAX_ITEMS: usize = 65_536;

/// What was read of a request.
pub(super) struct Parsed {
    pub(super) head: Head,
    pub(super) shape: InputShape,
    pub(super) prefix: Vec<u8>,
    pub(super) spans: Vec<Span>,
}

/// The fields that are held back, because the gateway writes them itself.
#[derive(Default)]
pub(super) struct Head {
    pub(super) model: String,
    pub(super) run_names: Vec<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) tells_cost: bool,
    pub(super) choices: Option<u32>,
    pub(super) asked_output: Option<u64>,
    pub(super) seed: Option<i64>,
    /// What the marks in it ask of caches, if there are any.
    pub(super) caching: Option<Caching>,
    /// The tokens that it may think, if it says so.
    pub(super) thinking: Option<u64>,
}

/// A fault has been noted; the walk ends.
pub(super) struct Stopped;

impl Stopped {
    pub(super) fn error<E: de::Error>(self) -> E {
        E::custom("refused")
    }
}

/// Reads a request that is made of `root`.
pub(super) fn parse(root: &'static Object, body: &Bytes) -> Result<Parsed, Fault> {
    let Ok(text) = std::str::from_utf8(body) else {
        let message = "The body is not UTF-8. Send one JSON object, encoded as UTF-8.";
        return Err(Fault::new(Code::InvalidRequest, message));
    };
    let mut walk = Walk::new(text);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let root = Node { walk: &mut walk, kind: Kind::Object(root), nullable: false };
    let read = root.deserialize(&mut deserializer).and_then(|_| deserializer.end());
    if let Err(error) = read {
        return Err(walk.fault_for(&error));
    }
    // The object stays open: the gateway's own fields follow.
    walk.out.truncate(walk.out.len().saturating_sub(1));
    Ok(Parsed { head: walk.head, shape: walk.shape, prefix: walk.out, spans: walk.spans })
}

pub(super) struct Walk<'de> {
    pub(super) body: &'de str,
    pub(super) head: Head,
    pub(super) shape: InputShape,
    /// What is left of the limit on free-form values.
    pub(super) nodes: usize,
    /// What the last [`Shape::Tag`] chose, until its object takes it.
    pub(super) tag: Option<&'static Variant>,
    out: Vec<u8>,
    pub(super) path: Path,
    spans: Vec<Span>,
    in_structure: bool,
    items: usize,
    /// What the value at hand must be, should `serde_json` find it is not.
    pub(super) want: &'static str,
    fault: Option<Fault>,
}

impl<'de> Walk<'de> {
    fn new(body: &'de str) -> Self {
        Self {
            body,
            head: Head::default(),
            shape: InputShape::default(),
            nodes: json::MAX_NODES,
            tag: None,
            out: Vec::with_capacity(body.len() + TAIL_BYTES),
            path: Path::default(),
            spans: Vec::new(),
            in_structure: false,
            items: 0,
            want: "an object",
            fault: None,
        }
    }

    fn fault_for(&mut self, error: &serde_json::Error) -> Fault {
        if let Some(fault) = self.fault.take() {
            return fault;
        }
        let path = self.path.to_string();
        if error.is_data() && !path.is_empty() {
            let message = format!("`{path}` must be {}.", self.want);
            return Fault::new(Code::InvalidRequest, message).param(path);
        }
        json::syntax_fault(error)
    }

    /// Notes a fault of the value at hand; `says` follows its name.
    pub(super) fn stop(&mut self, code: Code, says: &str) -> Stopped {
        let path = self.path.to_string();
        self.stop_at(code, path, says)
    }

    pub(super) fn stop_at(&mut self, code: Code, path: String, says: &str) -> Stopped {
        self.fault = Some(Fault::new(code, format!("`{path}` {says}.")).param(path));
        Stopped
    }

    /// Writes a member's key; returns where it began.
    fn open(&mut self, name: &str) -> usize {
        let mark = self.out.len();
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        mark
    }

    /// A comma, unless an object or array has just begun; no value ends in those bytes.
    fn separate(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[')) {
            self.out.push(b',');
        }
    }

    /// Writes a member's key; returns where its value will begin.
    pub(super) fn open_value(&mut self, field: &Field) -> usize {
        self.open(field.name);
        self.out.len()
    }

    /// Writes a value as it came.
    pub(super) fn write(&mut self, raw: &str) {
        self.out.extend_from_slice(raw.as_bytes());
    }

    /// Counts a part of what is written.
    pub(super) fn span(&mut self, span: Span) {
        self.spans.push(span);
    }

    /// Passes a member whose value is one raw slice.
    pub(super) fn pass(&mut self, field: &Field, raw: &str) {
        self.open(field.name);
        let start = self.out.len();
        self.out.extend_from_slice(raw.as_bytes());
        self.count(field.counts, start);
    }

    fn count(&mut self, counts: Counts, start: usize) {
        if counts != Counts::No && !self.in_structure {
            self.spans.push(Span { start, end: self.out.len(), counts });
        }
    }

    /// The first byte of the value of the key that ends at `end`.
    fn first_byte(&self, end: Option<usize>) -> Option<u8> {
        let rest = self.body.as_bytes().get(end?..)?.strip_prefix(b"\"")?;
        let rest = rest.trim_ascii_start().strip_prefix(b":")?;
        rest.trim_ascii_start().first().copied()
    }

    pub(super) fn object<A: MapAccess<'de>>(
        &mut self,
        object: &'static Object,
        mut map: A,
    ) -> Result<(), A::Error> {
        self.out.push(b'{');
        let (mut given, mut present, mut tag) = (Members::default(), Members::default(), None);
        while let Some(found) = map.next_key_seed(Key { walk: self, object })? {
            self.path.enter_key(found.field.name);
            if !given.insert(found.index) {
                let says = "is given twice; give each field once";
                return Err(self.stop(Code::InvalidRequest, says).error());
            }
            if self.member(object, &found, &mut map)? {
                present.insert(found.index);
            }
            tag = self.tag.take().or(tag);
            self.path.leave();
        }
        self.out.push(b'}');
        self.check_members(object, present, tag).map_err(Stopped::error)
    }

    /// Whether what is required is there, and a tagged object has the member that its tag names
    /// and no other's.
    fn check_members(
        &mut self,
        object: &'static Object,
        present: Members,
        tag: Option<&'static Variant>,
    ) -> Result<(), Stopped> {
        let fields = object.fields;
        let tag = tag.or(object.untagged);
        let required = object.required.iter().chain(tag.map_or(&[][..], |tag| tag.required));
        for name in required {
            let found = fields.iter().position(|field| field.name == *name);
            if !found.is_some_and(|index| present.contains(index)) {
                let path = self.path.to_foreign(name);
                return Err(self.stop_at(Code::InvalidRequest, path, "is required"));
            }
        }
        let Some(tag) = tag else { return Ok(()) };
        for (index, field) in fields.iter().enumerate() {
            let belongs = |variant: &Variant| variant.members.contains(&field.name);
            if present.contains(index) && !belongs(tag) && object.variants.iter().any(belongs) {
                let path = self.path.to_foreign(field.name);
                let says =
                    format!("does not belong to an object of type `{}`; remove it", tag.word);
                return Err(self.stop_at(Code::ParameterNotAllowed, path, &says));
            }
        }
        Ok(())
    }

    /// Reads a member's value; tells whether there was one that is not null.
    fn member<A: MapAccess<'de>>(
        &mut self,
        object: &'static Object,
        found: &Found,
        map: &mut A,
    ) -> Result<bool, A::Error> {
        let field = found.field;
        let kind = match field.shape {
            Shape::Nested(below) => Kind::Object(below),
            Shape::Array(below, limit) => Kind::Array(below, limit),
            Shape::TextOrArray(below, limit) if self.first_byte(found.key_end) == Some(b'[') => {
                Kind::Array(below, limit)
            }
            shape => {
                let raw: &'de RawValue = map.next_value()?;
                return match (shape, raw.get().as_bytes().first()) {
                    // Small, or under an escaped key: read once more.
                    (Shape::TextOr(below), Some(b'{')) => {
                        self.reread(field, Kind::Object(below), raw)
                    }
                    (Shape::TextOrArray(below, limit), Some(b'[')) => {
                        self.reread(field, Kind::Array(below, limit), raw)
                    }
                    _ => self.leaf(object, field, raw.get()).map_err(Stopped::error),
                };
            }
        };
        self.nested(field, kind, |node| map.next_value_seed(node))
    }

    fn reread<E: de::Error>(
        &mut self,
        field: &'static Field,
        kind: Kind,
        raw: &'de RawValue,
    ) -> Result<bool, E> {
        let mut deserializer = serde_json::Deserializer::from_str(raw.get());
        self.nested(field, kind, |node| node.deserialize(&mut deserializer).map_err(E::custom))
    }

    fn nested<E>(
        &mut self,
        field: &'static Field,
        kind: Kind,
        read: impl FnOnce(Node<'_, 'de>) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let mark = self.open(field.name);
        let start = self.out.len();
        let structure = field.counts == Counts::Structure && !self.in_structure;
        self.in_structure |= structure;
        let present = read(Node { walk: self, kind, nullable: true })?;
        if structure {
            self.in_structure = false;
        }
        if !present || field.action != Action::Passed {
            self.out.truncate(mark);
        } else if structure {
            self.count(Counts::Structure, start);
        }
        Ok(present)
    }

    pub(super) fn array<A: SeqAccess<'de>>(
        &mut self,
        object: &'static Object,
        limit: usize,
        mut seq: A,
    ) -> Result<(), A::Error> {
        self.out.push(b'[');
        let mut index = 0;
        loop {
            // Written first, taken back if there is no further element.
            let mark = self.out.len();
            self.separate();
            self.path.enter_index(index);
            let node = Node { walk: self, kind: Kind::Object(object), nullable: false };
            let more = seq.next_element_seed(node)?.is_some();
            self.path.leave();
            if !more {
                self.out.truncate(mark);
                break;
            }
            index += 1;
            if index > limit {
                let says = format!("has more than {limit} elements; shorten it");
                return Err(self.stop(Code::InvalidRequest, &says).error());
            }
            self.tally(object.tally).map_err(Stopped::error)?;
        }
        self.out.push(b']');
        if index == 0 && object.tally == Tally::Message {
            let says = "is empty; send at least one message";
            return Err(self.stop(Code::InvalidRequest, says).error());
        }
        Ok(())
    }

    fn tally(&mut self, tally: Tally) -> Result<(), Stopped> {
        match tally {
            Tally::Message => self.shape.messages = self.shape.messages.saturating_add(1),
            Tally::Tool => {
                self.shape.tools = self.shape.tools.saturating_add(1);
            }
            Tally::Item => self.items += 1,
        }
        if self.items > MAX_ITEMS {
            let says = "brings the request above 65536 parts and tool calls; shorten it";
            return Err(self.stop(Code::InvalidRequest, says));
        }
        Ok(())
    }
}
