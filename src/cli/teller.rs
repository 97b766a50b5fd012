//! A line for each ended call, written by a thread of its own: a terminal is slower than a call.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::domain::settlement::CostSource;
use crate::gateway::call::CallReport;

/// Lines that wait to be written. Beyond them, calls wait for the terminal.
const WAITING: usize = 4096;
/// What comes meanwhile is written with one flush, and wakes nobody.
const PAUSE: Duration = Duration::from_millis(5);

/// Writes what calls cost on standard output.
pub(super) struct Teller {
    end: SyncSender<Option<CallReport>>,
    thread: JoinHandle<()>,
}

impl Teller {
    /// Begins; the second value takes the calls.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub(super) fn start() -> io::Result<(Self, impl Fn(CallReport) + Send + Sync + 'static)> {
        let (end, calls) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("teller".to_owned());
        let thread = thread.spawn(move || {
            // A closed pipe is nobody's failure; the calls are still taken.
            while tell(&calls).is_some() {}
        })?;
        let hear = end.clone();
        Ok((Self { end, thread }, move |call| {
            // After the end nobody listens.
            let _unheard = hear.send(Some(call));
        }))
    }

    /// Returns when every call that came before is told.
    pub(super) fn finish(self) {
        let _has_ended = self.end.send(None);
        let _has_ended = self.thread.join();
    }
}

/// Waits for a call, and writes it and those that come within a moment; `None` at the end.
fn tell(calls: &Receiver<Option<CallReport>>) -> Option<()> {
    let mut next = calls.recv().ok()?;
    std::thread::sleep(PAUSE);
    let mut out = io::BufWriter::new(io::stdout().lock());
    loop {
        let _closed_pipe = write(&mut out, &next?);
        match calls.try_recv() {
            Ok(another) => next = another,
            Err(_) => break,
        }
    }
    let _closed_pipe = out.flush();
    Some(())
}

/// The line of a call.
fn write(out: &mut impl Write, call: &CallReport) -> io::Result<()> {
    let note = match call.charge.source {
        CostSource::Usage => "",
        CostSource::Estimate => " (estimated: the provider told no usage)",
        CostSource::WorstCase => " (worst case: nobody knows what was served)",
        CostSource::None => " (nothing was bought)",
    };
    writeln!(
        out,
        "run {run}  {status}  {model:<20}  {input:>6} in / {output:>6} out  ${cost:<12}  ${left} \
         left{note}",
        run = call.run,
        status = call.status,
        model = call.model,
        input = call.charge.usage.input(),
        output = call.charge.usage.output,
        cost = call.charge.cost.to_string(),
        left = call.remaining
    )
}
