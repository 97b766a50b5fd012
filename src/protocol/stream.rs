//! The meter of a streamed answer: bytes pass through, usage is picked out on the way.
//!
//! What a stream is made of is the same in every format; what its events say is not.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use serde::de::IgnoredAny;

mod costs;

use costs::Costs;
pub use costs::TellCost;

use super::answer::{Served, service_tier};
use super::format::Format;
use super::messages::usage::Counted;
use super::provider_error::{ProviderError, read_error};
use super::sse::{self, Scanner};
use super::translate::Translate;
use super::{chat, messages, responses};
use crate::domain::settlement::ReportedUsage;
use crate::domain::tier::ServedTier;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// How much text is kept for counting, in bytes; what goes beyond is only measured.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// Why a stream cannot go on. Events before the one at fault have been passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamFault {
    /// The provider sent an error event, which is not passed on: it may hold a secret.
    Provider(ProviderError),
    /// An event's data is no JSON object.
    Garbage,
    /// An event is larger than is accepted.
    EventTooLarge,
}

/// What becomes of an event.
enum Fate {
    Passed,
    Dropped,
    /// It passes without the lines that no client acts on: they are a provider's own words.
    Rewritten(Bytes),
}

/// What a stream has said so far.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Seen {
    /// Whether its last word has come.
    pub(in crate::protocol) done: bool,
    pub(in crate::protocol) usage: Option<ReportedUsage>,
    /// Whether nothing that costs anything has come after that usage, which was no running count.
    pub(in crate::protocol) usage_is_final: bool,
    /// What messages have told of it so far, in pieces.
    pub(in crate::protocol) counted: Counted,
    pub(in crate::protocol) served_model: Option<String>,
    pub(in crate::protocol) served_tier: Option<ServedTier>,
    pub(in crate::protocol) text: OutputText,
}

impl Seen {
    /// Takes the service tier that a member names; the last one holds.
    pub(in crate::protocol) fn note_tier(&mut self, raw: &str) {
        if let Some(tier) = service_tier(raw) {
            self.served_tier = Some(tier);
        }
    }

    /// Who answers, and how.
    pub(in crate::protocol) fn served(&self) -> Served<'_> {
        Served { model: self.served_model.as_deref(), tier: self.served_tier.as_ref() }
    }
}

/// The output that has come so far.
#[derive(Debug, Default)]
pub(in crate::protocol) struct OutputText {
    kept: String,
    beyond: u64,
}

impl OutputText {
    pub(in crate::protocol) const fn saw_any(&self) -> bool {
        self.bytes() > 0
    }

    /// How much has come.
    pub(in crate::protocol) const fn bytes(&self) -> u64 {
        self.beyond.saturating_add(self.kept.len() as u64)
    }

    pub(in crate::protocol) fn parts(&self) -> (&str, u64) {
        (&self.kept, self.beyond)
    }

    pub(in crate::protocol) fn push(&mut self, text: &str) {
        // Once full it stays full, so that what is kept is the beginning.
        if self.beyond == 0 && self.kept.len() + text.len() <= MAX_TEXT_BYTES {
            self.kept.push_str(text);
        } else {
            self.beyond = self.beyond.saturating_add(text.len() as u64);
        }
    }
}

/// Reads a stream of a format while it passes.
#[derive(Debug)]
pub struct StreamMeter {
    format: Format,
    show_usage: bool,
    max_event_bytes: usize,
    scanner: Scanner,
    /// The beginning of an event whose end has not come.
    held: BytesMut,
    /// Whether the last event was passed; an LF that is owed to it shares its fate.
    passed: bool,
    begun: bool,
    seen: Seen,
    translator: Option<Translator>,
    costs: Costs,
}

/// What makes a stream of another format of this one.
struct Translator {
    translate: Box<dyn Translate>,
    written: Vec<u8>,
    finished: bool,
}

impl std::fmt::Debug for Translator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Translator")
    }
}

impl StreamMeter {
    /// A meter that passes a chunk of chat that has only the usage or not, and holds events up to a
    /// size.
    pub fn new(format: Format, show_usage: bool, max_event_bytes: usize) -> Self {
        Self {
            format,
            show_usage,
            max_event_bytes,
            scanner: Scanner::default(),
            held: BytesMut::new(),
            passed: true,
            begun: false,
            seen: Seen::default(),
            translator: None,
            costs: Costs::default(),
        }
    }

    /// The same, whose events become those of another format. The usage is shown to whoever
    /// translates.
    pub fn translating(
        format: Format,
        translate: Box<dyn Translate>,
        max_event_bytes: usize,
    ) -> Self {
        let translator = Translator { translate, written: Vec::new(), finished: false };
        Self { translator: Some(translator), ..Self::new(format, true, max_event_bytes) }
    }

    /// The same, for a client of chat that sees its cost in every usage.
    pub fn telling_cost(self, tell: TellCost) -> Self {
        Self { costs: Costs::told_by(tell), ..self }
    }

    /// Ends what a translation has open: nothing more comes of the stream. Later calls do nothing.
    pub fn close(&mut self, out: &mut VecDeque<Bytes>) {
        let Some(translator) = self.translator.as_mut().filter(|it| !it.finished) else { return };
        translator.finished = true;
        translator.translate.finish(&mut translator.written);
        let written = std::mem::take(&mut translator.written);
        if !written.is_empty() {
            out.push_back(self.costs.tell_each(&self.seen, written).into());
        }
    }

    /// Takes what the provider sent; appends what the client may see, as slices of `chunk` where
    /// its events lie whole in it.
    ///
    /// # Errors
    /// At the first event that cannot be passed; the stream is then over.
    pub fn feed(&mut self, chunk: Bytes, out: &mut VecDeque<Bytes>) -> Result<(), StreamFault> {
        let rest = self.owed_lf(chunk, out);
        let rest = self.held_event(rest, out)?;
        if rest.is_empty() {
            return Ok(());
        }
        // `run..at` has been seen and may pass, in one slice.
        let (mut run, mut at) = (0, 0);
        let mut fault = None;
        while let Some(length) = self.scanner.next_end(rest.get(at..).unwrap_or_default()) {
            let end = at + length;
            match self.event(rest.get(at..end).unwrap_or_default()) {
                Ok(Fate::Passed) => {}
                Ok(Fate::Dropped) => {
                    push(out, &rest, run, at);
                    run = end;
                }
                Ok(Fate::Rewritten(event)) => {
                    push(out, &rest, run, at);
                    out.push_back(event);
                    run = end;
                }
                Err(found) => {
                    fault = Some(found);
                    break;
                }
            }
            at = end;
        }
        push(out, &rest, run, at);
        match fault {
            Some(fault) => Err(fault),
            None => self.hold(rest.get(at..).unwrap_or_default()),
        }
    }

    /// Ends the stream: a last event without a blank line is still an event.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub fn finish(&mut self, out: &mut VecDeque<Bytes>) -> Result<(), StreamFault> {
        if self.held.is_empty() {
            return Ok(());
        }
        self.end_held(out)
    }

    /// Whether its last word has come.
    pub const fn is_done(&self) -> bool {
        self.seen.done
    }

    /// The last usage that was reported; in a stream that broke it may be a running count.
    pub const fn usage(&self) -> Option<ReportedUsage> {
        self.seen.usage
    }

    /// The last usage, if it holds though the stream broke: it came with the end of the answer (a
    /// chunk without choices, or one with a finish reason) and no output came after it, or
    /// `data: [DONE]` did.
    pub const fn final_usage(&self) -> Option<ReportedUsage> {
        if self.seen.usage_is_final { self.seen.usage } else { None }
    }

    /// Who answers, and how.
    pub fn served(&self) -> Served<'_> {
        self.seen.served()
    }

    /// Whether anything that costs output tokens has come.
    pub const fn saw_output(&self) -> bool {
        self.seen.text.saw_any()
    }

    /// The text of all choices (content, refusals, reasoning, tool calls), decoded, and how many
    /// further bytes were only counted.
    pub fn output_text(&self) -> (&str, u64) {
        self.seen.text.parts()
    }

    /// Passes or drops the LF of a CR LF that was cut in two after an event.
    fn owed_lf(&mut self, mut chunk: Bytes, out: &mut VecDeque<Bytes>) -> Bytes {
        let between_events = self.held.is_empty() && self.scanner.owes_lf();
        if between_events && chunk.first() == Some(&b'\n') {
            self.scanner.take_lf();
            let lf = chunk.split_to(1);
            if self.passed {
                out.push_back(lf);
            }
        }
        chunk
    }

    /// Ends the event that is held, if it ends in `chunk`; returns the rest.
    fn held_event(
        &mut self,
        mut chunk: Bytes,
        out: &mut VecDeque<Bytes>,
    ) -> Result<Bytes, StreamFault> {
        if self.held.is_empty() {
            return Ok(chunk);
        }
        let Some(end) = self.scanner.next_end(&chunk) else {
            self.hold(&chunk)?;
            return Ok(Bytes::new());
        };
        self.held.extend_from_slice(&chunk.split_to(end));
        self.end_held(out)?;
        Ok(chunk)
    }

    fn end_held(&mut self, out: &mut VecDeque<Bytes>) -> Result<(), StreamFault> {
        let event = self.held.split().freeze();
        match self.event(&event)? {
            Fate::Passed => out.push_back(event),
            Fate::Dropped => {}
            Fate::Rewritten(event) => out.push_back(event),
        }
        Ok(())
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), StreamFault> {
        if self.held.len() + bytes.len() > self.max_event_bytes {
            return Err(StreamFault::EventTooLarge);
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// Reads one event; tells what becomes of it.
    fn event(&mut self, event: &[u8]) -> Result<Fate, StreamFault> {
        // Whether the LF of a last CR LF has come yet must make no difference.
        let size = event.len() - usize::from(event.ends_with(b"\r\n"));
        if size > self.max_event_bytes {
            return Err(StreamFault::EventTooLarge);
        }
        let lines = if self.begun {
            event
        } else {
            self.begun = true;
            event.strip_prefix(BYTE_ORDER_MARK).unwrap_or(event)
        };
        let read = sse::read(lines);
        let passes = match &read.data {
            Some(data) => self.data(data, read.names_error)?,
            None if read.names_error => return Err(StreamFault::Garbage),
            None => true,
        };
        if let Some(translator) = &mut self.translator {
            self.passed = false;
            return match &read.data {
                Some(data) if passes => translator.event(data, &self.costs, &self.seen),
                _ => Ok(Fate::Dropped),
            };
        }
        let told = read.data.as_ref().filter(|_| passes);
        let told = told.and_then(|data| self.costs.tell(&self.seen, lines, data));
        if let Some(told) = told {
            self.passed = false;
            return Ok(Fate::Rewritten(told.into()));
        }
        let fate = match (passes, read.has_asides) {
            (false, _) => Fate::Dropped,
            (true, true) => Fate::Rewritten(sse::without_asides(lines).into()),
            (true, false) => Fate::Passed,
        };
        self.passed = matches!(fate, Fate::Passed);
        Ok(fate)
    }

    /// Reads the data of an event; tells whether it may pass.
    fn data(&mut self, data: &[u8], is_error: bool) -> Result<bool, StreamFault> {
        let text = data.trim_ascii();
        if is_error {
            return Err(match serde_json::from_slice::<IgnoredAny>(text) {
                Ok(_) => StreamFault::Provider(read_error(text)),
                Err(_) => StreamFault::Garbage,
            });
        }
        if text.is_empty() {
            return Ok(true);
        }
        match self.format {
            Format::Chat => chat::stream::data(text, self.show_usage, &mut self.seen),
            // There are no streams of vectors.
            Format::Embeddings => Err(StreamFault::Garbage),
            Format::Messages => messages::stream::data(text, &mut self.seen),
            Format::Responses => responses::stream::data(text, &mut self.seen),
        }
    }
}

impl Translator {
    fn event(&mut self, data: &[u8], costs: &Costs, seen: &Seen) -> Result<Fate, StreamFault> {
        self.translate.event(data.trim_ascii(), &mut self.written)?;
        if self.written.is_empty() {
            return Ok(Fate::Dropped);
        }
        let written = std::mem::take(&mut self.written);
        Ok(Fate::Rewritten(costs.tell_each(seen, written).into()))
    }
}

fn push(out: &mut VecDeque<Bytes>, bytes: &Bytes, start: usize, end: usize) {
    if start < end {
        out.push_back(bytes.slice(start..end));
    }
}
