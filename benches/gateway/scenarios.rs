//! What is measured: round after round, the contenders by turns.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http::HeaderMap;
use rungate::ledger::postgres::connect_options;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use crate::bodies;
use crate::contenders::{Kind, Target};
use crate::cpu::Used;
use crate::load::{Answered, Load, Wrk};
use crate::streams::{self, Shape};
use crate::turns::{self, Asked};

/// How long settlements and hung-up calls of a round may take to be done with.
const AFTERMATH: Duration = Duration::from_millis(300);
const WARM_UP: Duration = Duration::from_secs(1);
/// Turns of a round where differences are small.
const TURNS: u32 = 8;

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
    /// Our own client on a connection to each contender, by short turns.
    Turns,
}

/// One thing that is measured.
pub(crate) struct Scenario {
    pub(crate) id: &'static str,
    title: &'static str,
    kinds: &'static [Kind],
    /// How many runs take turns; long requests are kept ready for fewer.
    credentials: usize,
    /// How long each turn takes at most, where enough is seen sooner.
    most: Duration,
    /// How often a contender has its turn in a round.
    turns: u32,
    work: Work,
    body: String,
    /// What its streams look like.
    shape: Shape,
    /// What clients of another format send, and what streams look like to them.
    translated: Option<(String, Shape)>,
}

/// One contender in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) answered: Answered,
    pub(crate) used: Used,
    /// Transactions that wrote something, by anybody in the contender's database.
    pub(crate) commits: f64,
}

/// Every turn of every contender, by scenario.
pub(crate) type Samples = BTreeMap<(&'static str, Kind), Vec<Sample>>;

pub(crate) fn all() -> Vec<Scenario> {
    const MANY: &[Kind] = &[Kind::Direct, Kind::Relay, Kind::Dev, Kind::Serve];
    let scenario = |id, title, work, body| Scenario {
        id,
        title,
        kinds: MANY,
        credentials: usize::MAX,
        most: Duration::MAX,
        turns: 1,
        work,
        body,
        shape: Shape::chat(bodies::EVENTS),
        translated: None,
    };
    let short = |scenario| Scenario { most: Duration::from_secs(2), ..scenario };
    let long = |scenario| Scenario { credentials: 16, ..scenario };
    let (together, apart) = (bodies::stream(0), bodies::stream(2));
    let mut all = vec![
        scenario("chat1", "small chat, 1 connection", Work::Calls(1), bodies::chat()),
        Scenario {
            kinds: &Kind::COLUMNS,
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
    ];
    all.extend(first_tokens(&scenario));
    let paid = |scenario| Scenario { kinds: &Kind::PAID, ..scenario };
    let title = "small chat, budgets of organizations";
    // So few that all of them were met before anything is counted.
    let one = scenario("organizations1", title, Work::Calls(1), bodies::chat());
    all.push(Scenario { credentials: 100, ..paid(one) });
    // Small differences: what the machine does from one second to the next is to fall on all alike.
    let many = scenario("organizations64", title, Work::Calls(64), bodies::chat());
    all.push(Scenario { most: Duration::from_secs(1), turns: TURNS, ..paid(many) });
    all
}

/// The name or the title of a scenario.
type Said = &'static str;

/// Streams of one provider, passed on as they are and translated: what a contender adds to its
/// time to the first token. Those of the name `chat` are translated from clients of chat, for a
/// provider of messages, and so on.
fn first_tokens(scenario: &impl Fn(Said, Said, Work, String) -> Scenario) -> [Scenario; 4] {
    let source_code = bodies::source_code();
    let chat =
        |model, prompt| (bodies::few_of_chat(model, prompt), Shape::chat_token(bodies::FEW_EVENTS));
    let messages = |model, prompt| {
        (bodies::few_of_messages(model, prompt), Shape::message_token(bodies::FEW_EVENTS))
    };
    let token = |id, title, (body, shape), translated| Scenario {
        kinds: &[Kind::Direct, Kind::Relay, Kind::Dev, Kind::Translating],
        shape,
        translated: Some(translated),
        ..scenario(id, title, Work::Turns, body)
    };
    let of_messages = |id, title, prompt| {
        let model = "claude-haiku-4-5";
        token(id, title, messages(model, prompt), chat(model, prompt))
    };
    let of_chat = |id, title, prompt| {
        let model = "gpt-4o-mini";
        token(id, title, chat(model, prompt), messages(model, prompt))
    };
    [
        of_messages("token-chat", "first token, of messages", bodies::STORY),
        of_chat("token-messages", "first token, of chat", bodies::STORY),
        of_messages(
            "token-chat-200KB",
            "first token of a 200 KB prompt, of messages",
            &source_code,
        ),
        of_chat("token-messages-200KB", "first token of a 200 KB prompt, of chat", &source_code),
    ]
}

impl Scenario {
    /// Whether it needs organizations in the tables.
    pub(crate) fn is_paid(&self) -> bool {
        self.kinds.iter().any(|kind| matches!(kind, Kind::Paid(..)))
    }

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
        if matches!(self.work, Work::Turns) {
            return self.measure_in_turns(&targets, rounds, time, samples).await;
        }
        for target in &targets {
            self.drive(wrk, target, WARM_UP.min(time)).await?;
        }
        for turn in 0..rounds * self.turns {
            for place in 0..targets.len() {
                // Whoever is first in one turn is last in another.
                let target = targets[(turn as usize + place) % targets.len()];
                let sample = self.sample(wrk, target, time).await?;
                eprintln!("  {}", told(turn / self.turns, target, &sample));
                samples.entry((self.id, target.kind)).or_default().push(sample);
            }
        }
        Ok(())
    }

    /// One turn of a contender.
    async fn sample(&self, wrk: &Wrk, target: &Target, time: Duration) -> Result<Sample> {
        // Not between the accounts: to ask costs Postgres something.
        let (commits, before) = (commits(target).await?, target.accounts.read()?);
        let answered = self.drive(wrk, target, time).await?;
        tokio::time::sleep(AFTERMATH).await;
        let used = target.accounts.read()?.since(before);
        let commits = self::commits(target).await? - commits;
        Ok(Sample { answered, used, commits })
    }

    /// By turns so short that the processes' accounts say nothing of them.
    async fn measure_in_turns(
        &self,
        targets: &[&Target],
        rounds: u32,
        time: Duration,
        samples: &mut Samples,
    ) -> Result<()> {
        let asked = |target: &&Target| {
            let (body, shape) = self.asked(target.kind);
            Asked { target: (*target).clone(), body: body.to_owned(), shape }
        };
        let contenders: Vec<Asked> = targets.iter().map(asked).collect();
        turns::take(contenders.clone(), WARM_UP.min(time)).await.context(self.id)?;
        for round in 0..rounds {
            let answers = turns::take(contenders.clone(), time).await.context(self.id)?;
            for (target, answered) in targets.iter().zip(answers) {
                let sample = Sample { answered, used: Used::default(), commits: 0.0 };
                eprintln!("  {}", told(round, target, &sample));
                samples.entry((self.id, target.kind)).or_default().push(sample);
            }
        }
        Ok(())
    }

    /// What a contender is asked, and what its streams look like.
    fn asked(&self, kind: Kind) -> (&str, Shape) {
        let translated = self.translated.as_ref().filter(|_| kind == Kind::Translating);
        translated.map_or((&self.body, self.shape), |(body, shape)| (body, *shape))
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
            Work::Turns => bail!("turns are taken by all together"),
        }
        .with_context(|| format!("{} of {}", self.id, target.name()))
    }

    /// Looks at one answer of each before any is counted.
    async fn check(&self, targets: &[&Target]) -> Result<()> {
        let mut right = None;
        for target in targets {
            let Work::Calls(_) = self.work else {
                let (once, (body, shape)) = (Duration::from_millis(1), self.asked(target.kind));
                streams::at_once(target, body, shape, 1, once)
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

/// How many transactions have written something in its database so far; zero without one. Each
/// takes the next id, so the next one tells.
async fn commits(target: &Target) -> Result<f64> {
    const NEXT: &str = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::float8";
    let Some(database) = &target.database else { return Ok(0.0) };
    let mut connection = PgConnection::connect_with(&connect_options(database)?).await?;
    let next = sqlx::query_scalar(NEXT).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(next)
}

/// What an answer says.
async fn ask(target: &Target, body: &str) -> Result<Value> {
    let credential = target.credentials.first().context("no credential")?;
    let mut run = HeaderMap::new();
    if let Some(id) = &credential.run {
        run.insert("x-run-id", id.parse()?);
    }
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .post(format!("http://{}/v1/chat/completions", target.address))
        .bearer_auth(&credential.bearer)
        .headers(run)
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
    let Sample { answered, used, .. } = sample;
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
