//! Reading and writing raw JSON, member by member, so that nothing is lost unseen.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::to_chat::unread;
use crate::domain::fault::{Code, Fault};
use crate::protocol::json;

/// What cannot be said in chat completions.
pub(super) fn refused(path: &str) -> Fault {
    let message = format!(
        "`{path}` cannot be said in chat completions, which is all that this model's provider \
         has; remove it, or use a model whose provider has responses."
    );
    Fault::new(Code::ParameterNotAllowed, message).param(path.to_owned())
}

/// The strings of an array.
pub(super) fn words(raw: &str) -> Vec<String> {
    serde_json::from_str(raw).unwrap_or_default()
}

/// The members of an object that have not been taken yet.
pub(super) struct Members<'a> {
    pub(super) path: String,
    members: BTreeMap<String, &'a RawValue>,
}

impl<'a> Members<'a> {
    /// Reads an object; members that are null are not there.
    pub(super) fn read(path: &str, raw: &'a str) -> Result<Self, Fault> {
        let members: BTreeMap<String, &'a RawValue> =
            serde_json::from_str(raw).map_err(|_| unread(path))?;
        let members = members.into_iter().filter(|(_, raw)| raw.get() != "null").collect();
        Ok(Self { path: path.to_owned(), members })
    }

    pub(super) fn path_to(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes a member out.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a str> {
        self.members.remove(name).map(RawValue::get)
    }

    /// Takes a member that is an object.
    pub(super) fn nested(&mut self, name: &str) -> Result<Option<Self>, Fault> {
        let path = self.path_to(name);
        self.take(name).map(|raw| Self::read(&path, raw)).transpose()
    }

    /// Takes a member that is an array of objects.
    pub(super) fn array(&mut self, name: &str) -> Result<Vec<Self>, Fault> {
        let path = self.path_to(name);
        self.take(name).map_or_else(|| Ok(Vec::new()), |raw| objects(&path, raw))
    }

    /// What a member that is a string says; empty if there is none. It stays.
    pub(super) fn word(&self, name: &str) -> String {
        let raw = self.members.get(name).map(|raw| raw.get());
        raw.and_then(json::text).unwrap_or_default().into_owned()
    }

    /// Whether it is of this type.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.word("type") == kind
    }

    /// Leaves out members that say nothing in chat.
    pub(super) fn leave(&mut self, names: &[&str]) {
        self.members.retain(|name, _| !names.contains(&name.as_str()));
    }

    /// Leaves out a member that says nothing in chat while it is one of these words.
    pub(super) fn leave_words(&mut self, name: &str, words: &[&str]) {
        if words.contains(&self.word(name).as_str()) {
            self.leave(&[name]);
        }
    }

    /// Refuses what is left.
    pub(super) fn end(self) -> Result<(), Fault> {
        match self.members.keys().next() {
            Some(name) => Err(refused(&self.path_to(name))),
            None => Ok(()),
        }
    }
}

/// The objects of an array.
pub(super) fn objects<'a>(path: &str, raw: &'a str) -> Result<Vec<Members<'a>>, Fault> {
    let raws: Vec<&'a RawValue> = serde_json::from_str(raw).map_err(|_| unread(path))?;
    let read = |(index, raw): (usize, &&'a RawValue)| {
        Members::read(&format!("{path}[{index}]"), raw.get())
    };
    raws.iter().enumerate().map(read).collect()
}

/// Writes JSON.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// A comma, unless an object or array has just begun, or a key stands before; no value ends in
    /// those bytes.
    fn separate(&mut self) {
        if !matches!(self.0.last(), None | Some(b'{' | b'[' | b':')) {
            self.0.push(b',');
        }
    }

    /// Whether nothing has been written since the last bracket.
    pub(super) fn is_at_start(&self) -> bool {
        matches!(self.0.last(), Some(b'{' | b'['))
    }

    pub(super) fn open(&mut self, bracket: u8) {
        self.separate();
        self.0.push(bracket);
    }

    pub(super) fn close(&mut self, bracket: u8) {
        self.0.push(bracket);
    }

    pub(super) fn key(&mut self, name: &str) {
        self.separate();
        for piece in ["\"", name, "\":"] {
            self.0.extend_from_slice(piece.as_bytes());
        }
    }

    /// Writes a member, if there is one.
    pub(super) fn member(&mut self, name: &str, raw: Option<&str>) {
        if let Some(raw) = raw {
            self.key(name);
            self.0.extend_from_slice(raw.as_bytes());
        }
    }

    /// Writes a member that needs no escaping.
    pub(super) fn text(&mut self, name: &str, plain: &str) {
        self.key(name);
        for piece in ["\"", plain, "\""] {
            self.0.extend_from_slice(piece.as_bytes());
        }
    }

    /// Writes a string made of what stands between the quotes of raw strings.
    pub(super) fn joined(&mut self, name: &str, raws: &[&str]) {
        self.key(name);
        self.0.push(b'"');
        for raw in raws {
            let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
            self.0.extend_from_slice(inner.unwrap_or_default().as_bytes());
        }
        self.0.push(b'"');
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
