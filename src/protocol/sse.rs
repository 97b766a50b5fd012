//! Server-sent events, found within the bytes of a stream without copying them.
//!
//! Knows where an event ends and which of its lines are data; not what the data means. The framing
//! is that of the HTML standard, section 9.2.6: lines end in LF, CR LF or CR, a blank line ends an
//! event. Libraries decode events into strings of their own; here the bytes themselves go on to the
//! client, so only their boundaries are wanted.

use std::borrow::Cow;

use memchr::memchr2;

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

/// The data of one event: its `data` lines joined by LF; `None` if it has none.
pub fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut data: Option<Cow<'_, [u8]>> = None;
    for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let Some(value) = line.strip_prefix(b"data") else {
            continue;
        };
        let value = match value.strip_prefix(b":") {
            Some(value) => value.strip_prefix(b" ").unwrap_or(value),
            None if value.is_empty() => value,
            // Another field, whose name begins alike.
            None => continue,
        };
        match &mut data {
            None => data = Some(Cow::Borrowed(value)),
            Some(lines) => {
                let lines = lines.to_mut();
                lines.push(b'\n');
                lines.extend_from_slice(value);
            }
        }
    }
    data
}
