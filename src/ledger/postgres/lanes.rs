//! The thread that all lanes run on.
//!
//! A lane waits most of its time, for an ask, for the database, for the next ask. On a runtime of
//! many threads each of these ends in waking a thread that looks for work, and often a second one.

use std::io;
use std::thread;

use tokio::runtime::Builder;
use tokio::task::JoinSet;

use super::lane::{Inbox, Lane};

/// Serves the inboxes, each by its lane, until their ledger is dropped and everything is written.
///
/// # Errors
/// If the operating system gives no thread.
pub(super) fn start(lanes: Vec<(Lane, Inbox)>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        runtime.block_on(async {
            let mut serving = JoinSet::new();
            for (lane, inbox) in lanes {
                serving.spawn(lane.run(inbox));
            }
            while let Some(ended) = serving.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "ledger.lane_failed: its runs are refused from now on");
                }
            }
        });
    };
    thread::Builder::new().name("ledger".to_owned()).spawn(serve)?;
    Ok(())
}
