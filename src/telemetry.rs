//! Log lines, and the recorder behind `/metrics`.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// A filter of log lines that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("RUST_LOG: {0:?} is not a filter such as `info` or `rungate=debug,warn`")]
pub struct BadFilter(String);

/// Starts logging to standard error.
///
/// # Errors
/// If the filter is malformed.
pub fn start_logging(format: LogFormat, filter: &str) -> Result<(), BadFilter> {
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
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    // A second start, as in tests, keeps the first one's settings.
    let _already_started = match format {
        LogFormat::Text => {
            builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
    };
    Ok(())
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
