//! `rungate dev`: a gateway for one laptop, which says what to paste and what every call cost.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::config::Config;
use crate::domain::budget::Unit;
use crate::gateway::Mode;
use crate::ledger::{Ledger, Page, RunRecord};
use crate::server;

use super::print;
use super::stop::{asked_to_stop, stop};
use super::teller::Teller;

/// Runs of the summary at exit.
const SUMMARY_RUNS: u32 = 100;
/// Where commands look for the control plane unless a setting says otherwise.
const USUAL_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

pub(super) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    if config.database_url.is_some() {
        print::err(format_args!("note: DATABASE_URL is ignored by `rungate dev`"));
    }
    let (teller, hear) = Teller::start()?;
    let running = server::start(config, Mode::Dev, Some(Box::new(hear)))
        .await
        .context("the gateway did not start")?;
    let run = running.gateway.default_run.map(|run| run.to_string()).unwrap_or_default();
    say_hello(config, running.data_addr, running.admin_addr, &run);
    let hurry = asked_to_stop().await?;
    let ledger = std::sync::Arc::clone(&running.gateway.ledger);
    let exit = stop(running, config.shutdown_grace, hurry).await;
    teller.finish();
    say_goodbye(ledger.as_ref()).await;
    Ok(exit)
}

fn say_hello(config: &Config, data: SocketAddr, admin: SocketAddr, run: &str) {
    let answers = if config.dev_live {
        "the real providers whose keys are set"
    } else {
        "the built-in simulated provider"
    };
    print::out(format_args!(
        "rungate dev: no database, any run id, ${cap} a run.
Every model is answered by {answers}.

  data plane     {scheme}://{data}    agents call models here
  control plane  {admin_scheme}://{admin}    runs are registered and read here, without a token

Call a model (in another terminal):

  curl -s {scheme}://{data}/v1/chat/completions \\
    -H 'content-type: application/json' \\
    -d '{body}'

Point an SDK at it:

  export OPENAI_BASE_URL={scheme}://{data}/v1
  export OPENAI_API_KEY={run}

That key is this process's own run; any other run id (a UUID) works in its place.

See what was spent:

  curl -s {scheme}://{data}/v1/usage
  {env}rungate runs list

Each call is told below with its cost. Ctrl-C ends it and sums up.
",
        cap = config.dev_cost_limit,
        body = r#"{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}"#,
        scheme = config.data_scheme(),
        admin_scheme = config.admin_scheme(),
        env = control_url(config, admin)
    ));
}

/// What has to stand before a command in another terminal for it to find this control plane.
fn control_url(config: &Config, admin: SocketAddr) -> String {
    if admin == USUAL_ADMIN && config.admin_tls.is_none() {
        return String::new();
    }
    format!("RUNGATE_URL={}://{admin} ", config.admin_scheme())
}

async fn say_goodbye(ledger: &dyn Ledger) {
    let page = Page { after: None, limit: SUMMARY_RUNS };
    let Ok(records) = ledger.list(None, None, page).await else { return };
    let used: Vec<&RunRecord> = records.iter().filter(|record| !record.models.is_empty()).collect();
    if used.is_empty() {
        return;
    }
    print::out(format_args!(""));
    for record in used {
        let usd = record.balance(Unit::Usd).copied().unwrap_or_default();
        let (mut calls, mut input, mut output) = (0, 0, 0);
        for model in &record.models {
            calls += model.calls;
            input += model.input_tokens;
            output += model.output_tokens;
        }
        print::out(format_args!(
            "run {}: {calls} calls, {input} in / {output} out, ${} of ${}",
            record.run.id,
            usd.spent.normalize(),
            usd.limit
        ));
    }
}
