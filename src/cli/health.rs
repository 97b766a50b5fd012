//! `rungate health`: what a container platform runs to learn whether its gateway is well. It exits
//! with 0 or 1, as such platforms expect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use crate::config::Config;

use super::print;

/// How long connecting and the whole answer may take together.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Ask only whether it lives, not whether it can admit calls
    #[arg(long)]
    live: bool,
}

pub(super) async fn run(options: &Options, config: &Config) -> anyhow::Result<ExitCode> {
    // A listener that wants a client's certificate does not answer without; the other one tells
    // the same.
    let barred = config.tls.as_ref().and_then(|tls| tls.clients.as_ref());
    let (setting, listener, scheme) = match barred {
        Some(clients) if clients.required => {
            ("ADMIN_LISTEN_ADDR", config.admin_listen_addr, config.admin_scheme())
        }
        _ => ("LISTEN_ADDR", config.listen_addr, config.data_scheme()),
    };
    let address = reachable(listener);
    if address.port() == 0 {
        bail!("{setting} has port 0, so nobody knows where the gateway listens; name a port");
    }
    let path = if options.live { "healthz" } else { "readyz" };
    let url = format!("{scheme}://{address}/{path}");
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        // Nothing secret is sent, and no certificate is for the address that is asked.
        .tls_danger_accept_invalid_certs(true)
        .build()
        .context("the HTTP client cannot be made")?;
    let answer = match client.get(&url).send().await {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => bail!("{url} did not answer in {PATIENCE:?}"),
        Err(_) => bail!("{url} cannot be reached; {setting} says where `rungate serve` listens"),
    };
    let status = answer.status();
    let body = answer.text().await.unwrap_or_default();
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    if !status.is_success() {
        let why = body.pointer("/error/message").and_then(Value::as_str);
        let why = why.map_or(String::new(), |why| format!(": {}", print::plain(why)));
        bail!("{url} answered {status}{why}");
    }
    match body.get("status").and_then(Value::as_str) {
        Some(well) => print::out(format_args!("{url}: {}", print::plain(well))),
        None => bail!("{url} answered {status}, and not as rungate does; check {setting}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a process on the same machine reaches a listener. One that listens everywhere is reached
/// on loopback.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}
