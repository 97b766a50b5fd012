//! Server-sent events, found within the bytes of a stream without copying them.
//!
//! Knows where an event ends and what each of its lines is; not what the data means. The framing
//! is that of the HTML standard, section 9.2.6: lines end in LF, CR LF or CR, a blank line ends an
//! event. Libraries decode events into strings of their own; here the bytes themselves go on to the
//! client, so only their boundaries are wanted.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// Finds the ends of events in a stream that comes in pieces; no byte is looked at twice.
#[derive(Clone, Copy, Debug)]
pub struct Scanner {
    line_is_empty: bool,
    after_cr: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { line_is_empty: true, after_cr: false }
    }
}

impl Scanner {
    /// The length of what of `bytes` ends the event at hand, if it ends there.
    ///
    /// Without an end all of `bytes` counts as seen. An event that ends in CR has ended; an LF
    /// that follows only in the next piece still belongs to it: see [`Self::owes_lf`].
    pub fn next_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut position = 0;
        while let Some(rest) = bytes.get(position..).filter(|rest| !rest.is_empty()) {
            if self.after_cr && rest.first() == Some(&b'\n') {
                self.after_cr = false;
                position += 1;
                continue;
            }
            let Some(at) = memchr2(b'\n', b'\r', rest) else {
                *self = Self { line_is_empty: false, after_cr: false };
                return None;
            };
            let blank = self.line_is_empty && at == 0;
            self.line_is_empty = true;
            self.after_cr = rest.get(at) == Some(&b'\r');
            position += at + 1;
            if blank {
                if self.after_cr && bytes.get(position) == Some(&b'\n') {
                    self.after_cr = false;
                    position += 1;
                }
                return Some(position);
            }
        }
        None
    }

    /// Whether an LF, should it come first, belongs to the line that has ended.
    pub const fn owes_lf(&self) -> bool {
        self.after_cr
    }

    /// The LF that was owed has come.
    pub const fn take_lf(&mut self) {
        self.after_cr = false;
    }
}

/// What the lines of one event say.
#[derive(Debug, Default)]
pub struct Event<'a> {
    /// Its `data` lines joined by LF; `None` if it has none.
    pub data: Option<Cow<'a, [u8]>>,
    /// Whether it is named `error`.
    pub names_error: bool,
    /// Whether it has a line of a field that the standard knows.
    pub has_fields: bool,
    /// Whether it has a line that no client acts on: a comment that says something, or a field that
    /// the standard does not know.
    pub has_asides: bool,
}

/// Reads one event.
pub fn read(event: &[u8]) -> Event<'_> {
    let mut read = Event::default();
    for line in lines(event) {
        let Some((name, value)) = field(line) else {
            read.has_asides |= line != b":";
            continue;
        };
        read.has_fields = true;
        match name {
            b"data" => match &mut read.data {
                None => read.data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            b"event" => read.names_error |= value.trim_ascii().eq_ignore_ascii_case(b"error"),
            _ => {}
        }
    }
    read
}

/// An event without the lines that no client acts on; an empty comment if nothing is left.
pub fn without_asides(event: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(event.len());
    for line in lines(event).filter(|line| field(line).is_some()) {
        kept.extend_from_slice(line);
        kept.push(b'\n');
    }
    if kept.is_empty() {
        kept.extend_from_slice(b":\n");
    }
    kept.push(b'\n');
    kept
}

/// An event with other data, which has no CR in it.
pub fn with_data(event: &[u8], data: &[u8]) -> Vec<u8> {
    let mut told = Vec::with_capacity(event.len() + data.len());
    for line in lines(event).filter(|line| field(line).is_some_and(|(name, _)| name != b"data")) {
        told.extend_from_slice(line);
        told.push(b'\n');
    }
    for line in data.split(|byte| *byte == b'\n') {
        told.extend_from_slice(b"data: ");
        told.extend_from_slice(line);
        told.push(b'\n');
    }
    told.push(b'\n');
    told
}

/// The lines that are not blank.
fn lines(event: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = event;
    let next = move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, ended) = rest.split_at_checked(end)?;
        rest = ended.get(1..).unwrap_or_default();
        Some(line)
    };
    std::iter::from_fn(next).filter(|line| !line.is_empty())
}

/// The name and value of a field that the standard knows.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = match memchr(b':', line).and_then(|at| line.split_at_checked(at)) {
        Some((name, rest)) => {
            let value = rest.strip_prefix(b":").unwrap_or_default();
            (name, value.strip_prefix(b" ").unwrap_or(value))
        }
        None => (line, Default::default()),
    };
    matches!(name, b"data" | b"event" | b"id" | b"retry").then_some((name, value))
}
