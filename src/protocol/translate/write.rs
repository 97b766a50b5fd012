//! Writes JSON from raw slices.

/// JSON that is being written. Commas come by themselves.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// A comma, unless something has just begun; no value ends in those bytes.
    pub(super) fn item(&mut self) -> &mut Self {
        if !matches!(self.0.last(), None | Some(b'{' | b'[' | b':')) {
            self.0.push(b',');
        }
        self
    }

    /// Begins a member; `name` is ours and needs no escaping.
    pub(super) fn key(&mut self, name: &str) -> &mut Self {
        self.item().raw("\"").raw(name).raw("\":")
    }

    /// Raw JSON.
    pub(super) fn raw(&mut self, json: &str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// A string.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        quote(text, &mut self.0);
        self
    }

    /// A member that is raw JSON.
    pub(super) fn member(&mut self, name: &str, json: &str) -> &mut Self {
        self.key(name).raw(json)
    }

    /// A member, if there is one.
    pub(super) fn optional(&mut self, name: &str, json: Option<&str>) -> &mut Self {
        match json {
            Some(json) => self.member(name, json),
            None => self,
        }
    }

    /// Items that were written elsewhere.
    pub(super) fn items(&mut self, items: &Self) -> &mut Self {
        if !items.is_empty() {
            self.item();
            self.0.extend_from_slice(&items.0);
        }
        self
    }

    /// A raw object with a member put before its own.
    pub(super) fn object_with(&mut self, name: &str, json: &str, object: &str) -> &mut Self {
        let members = object.trim_start().strip_prefix('{').unwrap_or_default();
        let only = members.trim_start().starts_with('}');
        self.raw("{").member(name, json).raw(if only { "" } else { "," }).raw(members)
    }
}

/// Appends a JSON string.
pub(super) fn quote(text: &str, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail, and a string always has a form in JSON.
    let _ = serde_json::to_writer(out, text);
}

/// Appends a number.
pub(super) fn number(number: u64, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, &number);
}

/// What stands between the quotes of a raw string.
pub(super) fn inner(raw: &str) -> &str {
    let open = raw.strip_prefix('"').unwrap_or(raw);
    open.strip_suffix('"').unwrap_or(open)
}
