//! `rungate runs`: register, read and close runs through the control plane.

use std::process::ExitCode;
use std::time::Duration;

use reqwest::Method;

use super::answer::show;
use super::control::{Ask, ControlPlane, with_query};
use super::exit::Exit;
use super::progress::{Progress, during};
use super::{print, watch};

mod options;
mod shown;

pub(super) use options::RunsCommand;
use options::{Calls, Close, List, Mode, Show, Usage};
use shown::{calls_table, run_card, runs_table, usage_card};

/// Longest wait of a close that does not say, in seconds.
const DRAIN_WAIT: u64 = 60;
/// Longest wait of an abort that does not say, in seconds.
const ABORT_WAIT: u64 = 30;

/// Does what was asked of the control plane.
///
/// # Errors
/// One line: it cannot be reached, it refuses the token, there is no such run, or what it said.
pub(super) async fn run(command: RunsCommand, plane: &ControlPlane) -> anyhow::Result<ExitCode> {
    match command {
        RunsCommand::Create(wanted) => {
            let ask = Ask::send(Method::POST, "/runs", serde_json::to_string(&wanted)?);
            show(&plane.ask(ask).await?, wanted.output.json, run_card)?;
        }
        RunsCommand::List(list) => {
            let path = list_path(&list)?;
            show(&plane.ask(Ask::get(&path)).await?, list.output.json, runs_table)?;
        }
        RunsCommand::Show(one) => return show_run(plane, &one).await,
        RunsCommand::Patch(patch) => {
            let path = format!("/runs/{}", patch.id);
            let ask = Ask::send(Method::PATCH, &path, serde_json::to_string(&patch)?);
            show(&plane.ask(ask).await?, patch.output.json, run_card)?;
        }
        RunsCommand::Close(close) => {
            show(&bill(plane, &close).await?, close.output.json, usage_card)?
        }
        RunsCommand::Attempt(next) => {
            let path = format!("/runs/{}/attempts", next.id);
            let ask = Ask::send(Method::POST, &path, serde_json::to_string(&next)?);
            show(&plane.ask(ask).await?, next.output.json, run_card)?;
        }
        RunsCommand::Token(one) => {
            let path = format!("/runs/{}/token", one.id);
            let ask = Ask::send(Method::POST, &path, "{}".to_owned());
            show(&plane.ask(ask).await?, one.output.json, run_card)?;
        }
        RunsCommand::Usage(usage) => return show_usage(plane, &usage).await,
        RunsCommand::Calls(calls) => list_calls(plane, &calls).await?,
    }
    Ok(Exit::Done.into())
}

async fn show_run(plane: &ControlPlane, one: &Show) -> anyhow::Result<ExitCode> {
    let path = format!("/runs/{}", one.id);
    if one.watch.on {
        return watch::run(plane, &path, one.output.json, run_card).await;
    }
    show(&plane.ask(Ask::get(&path)).await?, one.output.json, run_card)?;
    Ok(Exit::Done.into())
}

async fn show_usage(plane: &ControlPlane, usage: &Usage) -> anyhow::Result<ExitCode> {
    let path = format!("/runs/{}/usage", usage.id);
    if usage.watch.on {
        return watch::run(plane, &path, usage.output.json, usage_card).await;
    }
    let path = format!("{path}?wait_final={}s", usage.wait_final);
    let wait = Duration::from_secs(usage.wait_final);
    let asked = plane.ask(Ask { wait, ..Ask::get(&path) });
    let answer = during("waiting for calls in flight", asked).await?;
    show(&answer, usage.output.json, usage_card)?;
    Ok(Exit::Done.into())
}

async fn bill(plane: &ControlPlane, close: &Close) -> anyhow::Result<String> {
    let path = format!("/runs/{}/close", close.id);
    let default = match close.mode {
        Mode::Drain => DRAIN_WAIT,
        Mode::Abort => ABORT_WAIT,
    };
    let wait = Duration::from_secs(close.wait_seconds.unwrap_or(default));
    let ask = Ask::send(Method::POST, &path, serde_json::to_string(close)?);
    during("closing; waiting for calls in flight", plane.ask(Ask { wait, ..ask })).await
}

async fn list_calls(plane: &ControlPlane, calls: &Calls) -> anyhow::Result<()> {
    let limit = calls.limit.map(|limit| limit.to_string());
    let after = calls.after.map(|after| after.to_string());
    let query = [("limit", limit.as_deref()), ("after", after.as_deref())];
    let path = with_query(&format!("/runs/{}/calls", calls.id), &query)?;
    if !calls.json {
        return show(&plane.ask(Ask::get(&path)).await?, false, calls_table);
    }
    // On a terminal the rows themselves are the sign of life.
    let progress = (!console::user_attended()).then(|| Progress::start("listing calls"));
    let mut listed = 0_u64;
    let each = |line: &[u8]| {
        listed = listed.saturating_add(1);
        if let Some(progress) = &progress {
            progress.say(format!("listing calls: {listed}"));
        }
        print::bytes(line)
    };
    plane.lines(&path, each).await
}

fn list_path(list: &List) -> anyhow::Result<String> {
    let (limit, after) = (list.limit.to_string(), list.after.map(|after| after.to_string()));
    let query =
        [("status", list.status.as_deref()), ("limit", Some(&limit)), ("after", after.as_deref())];
    with_query("/runs", &query)
}
