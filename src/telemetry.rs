//! Log lines, and the recorder behind `/metrics`.

use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::LogFormat;

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// How the targets of our own lines begin.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// A filter of log lines that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("RUST_LOG: {0:?} is not a filter such as `info` or `rungate=debug,warn`")]
pub struct BadFilter(String);

/// Starts logging to standard error. From then on a panic is a log line too.
///
/// # Errors
/// If the filter is malformed.
pub fn start_logging(format: LogFormat, filter: &str) -> Result<(), BadFilter> {
    let ansi = std::io::stderr().is_terminal();
    let logging = subscriber(format, filter, ansi, std::io::stderr)?;
    // A second start, as in tests, keeps the first one's settings.
    if tracing::subscriber::set_global_default(logging).is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
    Ok(())
}

/// What writes log lines to `writer`.
///
/// # Errors
/// If the filter is malformed.
pub fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    ansi: bool,
    writer: W,
) -> Result<impl tracing::Subscriber + Send + Sync + 'static, BadFilter>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let mut parsed = EnvFilter::try_new(filter).map_err(|_| BadFilter(filter.to_owned()))?;
    // The HTTP server tells of its threads at the level at which we tell of calls.
    // And at the level of our own failures it tells of whatever a client sends that is not HTTP:
    // a sandbox could fill the log with it.
    if !filter.contains("actix") {
        for quieter in ["actix_server=warn", "actix_http=off"] {
            if let Ok(quieter) = quieter.parse() {
                parsed = parsed.add_directive(quieter);
            }
        }
    }
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => {
            fmt::layer().with_ansi(ansi).with_target(false).with_writer(writer).boxed()
        }
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_ansi(false).with_writer(writer).boxed()
        }
    };
    Ok(tracing_subscriber::registry().with(lines).with(parsed).with(filter_fn(is_fit_to_print)))
}

/// What libraries say at `trace` is made for their authors, and none of them promises to keep
/// headers and bodies out of it. It is never written, whatever RUST_LOG says.
fn is_fit_to_print(line: &Metadata<'_>) -> bool {
    line.target().starts_with(OURS) || *line.level() <= Level::DEBUG
}

/// Tells where the program panicked. What it said then may hold anything that it was working on, so
/// that is not told.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let at = panic.location().map(tracing::field::display);
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    tracing::error!(at, thread, "panic: a bug; please report where");
}

/// The process's metrics; the first call starts recording them.
///
/// # Errors
/// If another recorder was installed.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    if let Some(handle) = RECORDER.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        return match RECORDER.get() {
            Some(handle) => Ok(handle.clone()),
            None => Ok(handle),
        };
    }
    Ok(RECORDER.get_or_init(|| handle).clone())
}
