//! What is measured: round after round, the contenders by turns.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::bodies;
use crate::contenders::{Kind, Target};
use crate::cpu::Used;
use crate::load::{Answered, Load, Wrk};
use crate::streams::{self, Shape};

/// How long settlements and hung-up calls of a round may take to be done with.
const AFTERMATH: Duration = Duration::from_millis(300);
const WARM_UP: Duration = Duration::from_secs(1);

/// How a scenario is driven.
enum Work {
    /// wrk on so many connections.
    Calls(usize),
    /// wrk on so many connections, for streams.
    Streams(usize),
    /// Our own client on so many connections, which reads each stream to its end.
    WholeStreams(usize),
    /// Our own client on so many connections, which looks for the first event.
    FirstEvent(usize),
}

/// One thing that is measured.
pub(crate) struct Scenario {
    pub(crate) id: &'static str,
    title: &'static str,
    kinds: &'static [Kind],
    /// How many runs take turns; long requests are kept ready for fewer.
    credentials: usize,
    /// How long each round takes at most, where enough is seen sooner.
    most: Duration,
    work: Work,
    body: String,
    /// What its streams look like.
    shape: Shape,
}

/// One contender in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) answered: Answered,
    pub(crate) used: Used,
}

/// Every round of every contender, by scenario.
pub(crate) type Samples = BTreeMap<(&'static str, Kind), Vec<Sample>>;

pub(crate) fn all() -> Vec<Scenario> {
    const MANY: &[Kind] = &[Kind::Direct, Kind::Relay, Kind::Dev, Kind::Serve];
    let scenario = |id, title, work, body| Scenario {
        id,
        title,
        kinds: MANY,
        credentials: usize::MAX,
        most: Duration::MAX,
        work,
        body,
        shape: Shape::chat(bodies::EVENTS),
    };
    let short = |scenario| Scenario { most: Duration::from_secs(2), ..scenario };
    let long = |scenario| Scenario { credentials: 16, ..scenario };
    let (together, apart) = (bodies::stream(0), bodies::stream(2));
    vec![
        scenario("chat1", "small chat, 1 connection", Work::Calls(1), bodies::chat()),
        Scenario {
            kinds: &Kind::ALL,
            ..scenario("chat64", "small chat, 64 connections", Work::Calls(64), bodies::chat())
        },
        scenario(
            "stream64",
            "streams back to back, 64 connections",
            Work::Streams(64),
            together.clone(),
        ),
        scenario(
            "stream64-2ms",
            "streams with 2 ms between events, 64 connections",
            Work::WholeStreams(64),
            apart.clone(),
        ),
        short(scenario("first", "first event, 1 connection", Work::FirstEvent(1), together)),
        short(scenario(
            "first-2ms",
            "first event, 2 ms between events, 8 connections",
            Work::FirstEvent(8),
            apart,
        )),
        short(first_token_of_chat(&scenario)),
        short(first_token_of_message(&scenario)),
        short(long(scenario(
            "prompt1",
            "200 KB prompt, 1 connection",
            Work::Calls(1),
            bodies::prompt(),
        ))),
        long(scenario(
            "prompt16",
            "200 KB prompt, 16 connections",
            Work::Calls(16),
            bodies::prompt(),
        )),
    ]
}

/// The name or the title of a scenario.
type Said = &'static str;

/// A chat that a provider of messages answers.
fn first_token_of_chat(scenario: &impl Fn(Said, Said, Work, String) -> Scenario) -> Scenario {
    let title = "first token, chat that a provider of messages answers, 1 connection";
    let body = bodies::stream_of("claude-haiku-4-5");
    let shape = Shape::chat_token(bodies::EVENTS);
    Scenario { shape, ..scenario("token-chat", title, Work::FirstEvent(1), body) }
}

/// A message that a provider of chat answers.
fn first_token_of_message(scenario: &impl Fn(Said, Said, Work, String) -> Scenario) -> Scenario {
    let title = "first token, message that a provider of chat answers, 1 connection";
    let shape = Shape::message_token(bodies::EVENTS);
    Scenario { shape, ..scenario("token-messages", title, Work::FirstEvent(1), bodies::message()) }
}

impl Scenario {
    /// Measures it.
    ///
    /// # Errors
    /// If any call fails or is answered otherwise than by the provider alone.
    pub(crate) async fn measure(
        &self,
        wrk: &Wrk,
        targets: &[Target],
        rounds: u32,
        time: Duration,
        samples: &mut Samples,
    ) -> Result<()> {
        eprintln!("{}: {}", self.id, self.title);
        let time = time.min(self.most);
        let takes_part = |target: &&Target| self.kinds.contains(&target.kind);
        let targets: Vec<&Target> = targets.iter().filter(takes_part).collect();
        self.check(&targets).await?;
        for target in &targets {
            self.drive(wrk, target, WARM_UP.min(time)).await?;
        }
        for round in 0..rounds {
            for turn in 0..targets.len() {
                // Whoever is first in one round is last in another.
                let target = targets[(round as usize + turn) % targets.len()];
                let before = target.accounts.read()?;
                let answered = self.drive(wrk, target, time).await?;
                tokio::time::sleep(AFTERMATH).await;
                let used = target.accounts.read()?.since(before);
                let sample = Sample { answered, used };
                eprintln!("  {}", told(round, target, &sample));
                samples.entry((self.id, target.kind)).or_default().push(sample);
            }
        }
        Ok(())
    }

    async fn drive(&self, wrk: &Wrk, target: &Target, time: Duration) -> Result<Answered> {
        let load = |connections| Load {
            target,
            body: &self.body,
            connections,
            credentials: self.credentials,
            time,
        };
        match self.work {
            Work::Calls(connections) | Work::Streams(connections) => {
                wrk.drive(load(connections)).await
            }
            Work::WholeStreams(connections) => {
                streams::at_once(target, &self.body, self.shape, connections, time).await
            }
            Work::FirstEvent(connections) => {
                streams::one_by_one(target, &self.body, self.shape, connections, time).await
            }
        }
        .with_context(|| format!("{} of {}", self.id, target.name()))
    }

    /// Looks at one answer of each before any is counted.
    async fn check(&self, targets: &[&Target]) -> Result<()> {
        let mut right = None;
        for target in targets {
            let Work::Calls(_) = self.work else {
                let once = Duration::from_millis(1);
                streams::at_once(target, &self.body, self.shape, 1, once)
                    .await
                    .with_context(|| format!("{} of {}", self.id, target.name()))?;
                continue;
            };
            let said = ask(target, &self.body).await?;
            if *right.get_or_insert_with(|| said.clone()) != said {
                bail!("{} answers otherwise than the provider: {said}", target.name());
            }
        }
        Ok(())
    }
}

/// What an answer says.
async fn ask(target: &Target, body: &str) -> Result<Value> {
    let credential = target.credentials.first().context("no credential")?;
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .post(format!("http://{}/v1/chat/completions", target.address))
        .bearer_auth(credential)
        .header("content-type", "application/json")
        .body(body.to_owned())
        .send()
        .await?;
    let status = answer.status();
    let text = answer.text().await?;
    if !status.is_success() {
        bail!("{} answers {status}: {text}", target.name());
    }
    Ok(serde_json::from_str::<Value>(&text)?["choices"].take())
}

fn told(round: u32, target: &Target, sample: &Sample) -> String {
    let Sample { answered, used } = sample;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / answered.calls;
    format!(
        "round {}  {:<18} {:>9.0}/s  p50 {:>6.0}  p90 {:>6.0}  p99 {:>6.0} µs  \
         CPU µs: gateway {:>7.1}  Postgres {:>6.1}  provider {:>6.1}",
        round + 1,
        target.name(),
        answered.calls / answered.seconds,
        answered.p50,
        answered.p90,
        answered.p99,
        each(used.gateway),
        each(used.postgres),
        each(used.provider)
    )
}
