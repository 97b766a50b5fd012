//! What a stream has cost, told in it: for clients of OpenRouter's.

use super::Seen;
use crate::domain::money::Usd;
use crate::domain::settlement::ReportedUsage;
use crate::protocol::answer::Served;
use crate::protocol::chat::cost;
use crate::protocol::sse::{self, Scanner};

/// The cost of a usage by whoever answers, where it is told within the stream.
pub type TellCost = Box<dyn Fn(ReportedUsage, Served<'_>) -> Usd + Send>;

/// What tells the cost, if anybody wants to see it.
#[derive(Default)]
pub(super) struct Costs(Option<TellCost>);

impl std::fmt::Debug for Costs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Costs")
    }
}

impl Costs {
    pub(super) fn told_by(tell: TellCost) -> Self {
        Self(Some(tell))
    }

    /// The event with our cost in its usage, or with none; `None` if there is nothing to tell.
    pub(super) fn tell(&self, seen: &Seen, event: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        let tell = self.0.as_ref()?;
        let cost = || Some(tell(seen.usage?, seen.served()));
        Some(sse::with_data(event, &cost::in_chunk(data, cost)?))
    }

    /// The same with each of some whole events.
    pub(super) fn tell_each(&self, seen: &Seen, events: Vec<u8>) -> Vec<u8> {
        if self.0.is_none() {
            return events;
        }
        let (mut scanner, mut rest) = (Scanner::default(), events.as_slice());
        let mut told = Vec::with_capacity(events.len() + 64);
        while let Some((event, behind)) =
            scanner.next_end(rest).and_then(|end| rest.split_at_checked(end))
        {
            let data = sse::read(event).data;
            let new = data.and_then(|data| self.tell(seen, event, &data));
            told.extend_from_slice(new.as_deref().unwrap_or(event));
            rest = behind;
        }
        told.extend_from_slice(rest);
        told
    }
}
