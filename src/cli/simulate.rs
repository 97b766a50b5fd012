//! `rungate simulate`: the simulated provider alone.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use crate::simulator::{self, SimulatorOptions};

use super::exit::Exit;
use super::print;
use super::stop::asked_to_stop;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// What the answers depend on besides model and messages
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Milliseconds before the first byte of every answer
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Milliseconds between the chunks of a stream
    #[arg(long, default_value_t = 0)]
    chunk_delay_ms: u64,
    /// Threads
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

pub(super) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(options.listen)
        .with_context(|| format!("{} cannot be listened on", options.listen))?;
    let address = listener.local_addr()?;
    let simulated = SimulatorOptions {
        seed: options.seed,
        first_byte_delay: Duration::from_millis(options.delay_ms),
        chunk_delay: Duration::from_millis(options.chunk_delay_ms),
    };
    let server = simulator::start(listener, simulated, options.workers)?;
    print::out(format_args!("rungate simulate: http://{address}/v1 (any key)"));
    let handle = server.handle();
    let serving = tokio::spawn(server);
    let hurry = asked_to_stop().await?;
    tokio::select! {
        () = handle.stop(false) => {}
        () = hurry.cancelled() => return Ok(Exit::Interrupted.into()),
    }
    serving.await??;
    Ok(ExitCode::SUCCESS)
}
