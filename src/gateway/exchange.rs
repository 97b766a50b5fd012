//! The wait for a call to be answered, over as many attempts as it takes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::domain::settlement::{Charge, Ending};
use crate::protocol::answer::Served;
use crate::upstream::{Client, Outbound};

use super::attempt::{Missed, Missing, PATIENCE, attempt};
use super::call::{Failed, OpenCall};
use super::failure;
use super::fallback::{Next, Onward};
use super::relay::Relay;
use super::retry::{Miss, dice};
use super::whole::WholeAnswer;

/// How long the body of a failure may take at least.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// How often a pause looks whether the gateway drains.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How an answer begins.
pub enum Answer {
    /// It is complete.
    Whole(WholeAnswer),
    /// It goes on as a stream.
    Stream(Box<Relay>),
}

impl Missing {
    fn give_up(self) -> Failed {
        let charge =
            self.call.finish(Ending::NothingBought, self.fault.code().status(), Served::default());
        Failed { fault: self.fault, charge }
    }
}

/// Sends an admitted call until it is answered, and reads the beginning of the answer.
///
/// # Errors
/// What the client hears if there is no answer; the call is settled then.
pub async fn exchange(
    client: Client,
    mut call: Box<OpenCall>,
    mut outbound: Outbound,
    mut show_usage: bool,
    mut onward: Option<Box<Onward>>,
) -> Result<Answer, Failed> {
    let policy = call.gateway().policy;
    let began = Instant::now();
    let (end, last) = (began + policy.deadlines.whole, began + policy.retries.within);
    let mut made = 0;
    loop {
        let missing = match attempt(&client, call, &outbound, show_usage, end).await {
            Ok(answer) => return Ok(answer),
            Err(Missed::Over(failed)) => return Err(failed),
            Err(Missed::Passing(missing)) => missing,
        };
        let left = last.min(end).saturating_duration_since(Instant::now());
        match policy.retries.next(made, missing.miss, left, dice()) {
            Some(pause) => {
                made += 1;
                call = again(missing, made, pause, end).await?;
            }
            None => {
                made = 0;
                let onward = onward.as_deref_mut();
                (call, outbound, show_usage) = elsewhere(missing, onward, &client, end).await?;
            }
        }
    }
}

/// Ends a call that is not tried again. The bill depends on the status alone, so it is settled
/// before the body is read for its message.
async fn give_up(mut missing: Box<Missing>, end: Instant) -> Failed {
    let gateway = Arc::clone(missing.call.gateway());
    let said = missing.said.take();
    let mut failed = missing.give_up();
    if let Some(said) = said {
        failed.fault = said.fault(&gateway, end, PATIENCE).await;
    }
    failed
}

/// Waits and reserves anew. Whoever stops meanwhile – the run, the gateway, the client – is not
/// held up by it.
async fn again(
    mut missing: Box<Missing>,
    made: u32,
    pause: Duration,
    end: Instant,
) -> Result<Box<OpenCall>, Failed> {
    let resumes = Instant::now() + pause;
    let gateway = Arc::clone(missing.call.gateway());
    let cut = missing.call.cut.clone();
    let waiting = async {
        // What the provider says is heard while there is nothing else to do.
        if let Some(said) = missing.said.take() {
            missing.fault = said.fault(&gateway, end, pause.max(LEAST_PATIENCE)).await;
        }
        while !gateway.is_draining() && Instant::now() < resumes {
            sleep_until(resumes.min(Instant::now() + LOOK_EVERY)).await;
        }
    };
    tokio::select! {
        biased;
        () = cut.cancelled() => missing.fault = failure::cut(&gateway),
        () = waiting => {}
    }
    if cut.is_cancelled() || gateway.is_draining() {
        return Err(missing.give_up());
    }
    let Missing { mut call, miss, fault, .. } = *missing;
    tell_retry(&call, miss, made, pause);
    match call.again(fault.code().status()).await {
        Ok(()) => Ok(call),
        Err(refusal) => Err(Failed { fault: refusal.unwrap_or(fault), charge: Charge::NOTHING }),
    }
}

/// Goes on to the next provider, at once: there is nothing to wait for there. So a move asks for no
/// time for retries to be left, only that the whole answer may still come. Each of a model's
/// providers is moved to once at most.
async fn elsewhere(
    mut missing: Box<Missing>,
    onward: Option<&mut Onward>,
    client: &Client,
    end: Instant,
) -> Result<(Box<OpenCall>, Outbound, bool), Failed> {
    let Some(onward) = onward else { return Err(give_up(missing, end).await) };
    let gateway = Arc::clone(missing.call.gateway());
    let cut = missing.call.cut.clone();
    let next = tokio::select! {
        biased;
        () = cut.cancelled() => {
            missing.fault = failure::cut(&gateway);
            return Err(missing.give_up());
        }
        next = onward.next(&missing.call, client) => next,
    };
    let goes_on = !gateway.is_draining() && Instant::now() < end;
    let Some(next) = next.filter(|_| goes_on) else { return Err(give_up(missing, end).await) };
    let Missing { mut call, miss, fault, said } = *missing;
    tell_move(&call, miss, &next);
    let show_usage = next.shows_usage;
    match call.move_to(*next, fault.code().status()).await {
        Ok(outbound) => Ok((call, outbound, show_usage)),
        Err(refusal) => {
            let fault = match (refusal, said) {
                (Some(refusal), _) => refusal,
                (None, Some(said)) => said.fault(&gateway, end, PATIENCE).await,
                (None, None) => fault,
            };
            Err(Failed { fault, charge: Charge::NOTHING })
        }
    }
}

fn tell_retry(call: &OpenCall, miss: Miss, made: u32, pause: Duration) {
    let provider = call.target.provider.name;
    metrics::counter!("rungate_upstream_retries_total", "provider" => provider).increment(1);
    let status = miss.status();
    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        request.id = %call.request_id, call.id = %call.id, provider, upstream.status = status,
        retry = made, pause_ms,
        "upstream.retried"
    );
}

fn tell_move(call: &OpenCall, miss: Miss, next: &Next) {
    let (from, to) = (call.target.provider.name, next.target.provider.name);
    metrics::counter!("rungate_upstream_fallbacks_total", "from" => from, "to" => to).increment(1);
    tracing::info!(
        request.id = %call.request_id, call.id = %call.id, provider = from,
        upstream.status = miss.status(), next.provider = to,
        "upstream.fell_back"
    );
}
