//! A sign of life on standard error for what takes longer than a second, and only on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

/// What is over by then needs no sign.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the sign moves.
const TICK: Duration = Duration::from_millis(120);

/// Something that goes on. When it is dropped, nothing is left on the terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    waiting: JoinHandle<()>,
}

impl Progress {
    /// Begins to watch over something that is called this.
    pub(super) fn start(what: impl Into<String>) -> Self {
        let bar = ProgressBar::hidden().with_message(what.into());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        let shown = bar.clone();
        let waiting = tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            // Where standard error is no terminal, this target draws nothing.
            shown.set_draw_target(ProgressDrawTarget::stderr());
            shown.enable_steady_tick(TICK);
        });
        Self { bar, waiting }
    }

    /// Says how far it is.
    pub(super) fn say(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.waiting.abort();
        self.bar.finish_and_clear();
    }
}

/// Does `work`, and shows that it goes on.
pub(super) async fn during<T>(what: impl Into<String>, work: impl Future<Output = T>) -> T {
    let _shown = Progress::start(what);
    work.await
}
