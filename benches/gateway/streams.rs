//! Streams read event by event, each to its end: what wrk cannot do.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::contenders::{Credential, Target};
use crate::load::Answered;
use crate::stats::percentile;

const OK: &[u8] = b"HTTP/1.1 200";
const BUFFER_BYTES: usize = 64 << 10;
/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(30);

/// What streams of a format look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Where they are asked for.
    pub(crate) path: &'static str,
    /// How many events they have, the one that says `[DONE]` not among them.
    pub(crate) events: usize,
    /// Which of them is looked for: the first is 1.
    pub(crate) first: usize,
    /// What they end with.
    last: &'static str,
}

impl Shape {
    /// A chat of so many events, of which the first is looked for.
    pub(crate) const fn chat(events: usize) -> Self {
        let (path, last) = ("/v1/chat/completions", "data: [DONE]\n\n");
        Self { path, events, first: 1, last }
    }

    /// The same, of which the first token is looked for: the role comes before it.
    pub(crate) const fn chat_token(events: usize) -> Self {
        Self { first: 2, ..Self::chat(events) }
    }

    /// A message with as many tokens, of which the first is looked for: the beginnings of the
    /// message and of its block come before it. It has two events more than a chat with usage.
    pub(crate) const fn message_token(events: usize) -> Self {
        let last = "data: {\"type\":\"message_stop\"}\n\n";
        Self { path: "/v1/messages", events: events + 2, first: 3, last }
    }
}

/// A request as it goes over the wire.
fn request(target: &Target, credential: &Credential, path: &str, body: &str) -> Vec<u8> {
    let (Credential { bearer, run }, length) = (credential, body.len());
    let run = run.as_ref().map_or(String::new(), |run| format!("x-run-id: {run}\r\n"));
    format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         authorization: Bearer {bearer}\r\n{run}content-length: {length}\r\n\r\n{body}",
        target.address
    )
    .into_bytes()
}

/// What has come of an answer.
#[derive(Default)]
struct Answer {
    bytes: Vec<u8>,
}

impl Answer {
    /// Whether its event of this number has come.
    fn has_come_to(&self, event: usize) -> bool {
        let is_data = |window: &&[u8]| *window == b"data:";
        self.bytes.windows(b"data:".len()).filter(is_data).take(event).count() == event
    }

    /// A refusal has ended as soon as it shows.
    fn has_ended(&self) -> bool {
        let refused = self.bytes.len() >= OK.len() && !self.bytes.starts_with(OK);
        refused || self.bytes.ends_with(b"\r\n0\r\n\r\n")
    }

    /// Whether it is a stream of that shape that ended as it should.
    fn check(&self, shape: Shape) -> Result<()> {
        let events = shape.events;
        let text = String::from_utf8_lossy(&self.bytes);
        if !self.bytes.starts_with(OK) {
            bail!("not answered 200: {text}");
        }
        let head = find(&self.bytes, b"\r\n\r\n").context("no head")?;
        let body = joined(&self.bytes[head + 4..]).context("the chunks are broken")?;
        let found = body.matches("data: {").count();
        if found != events || !body.ends_with(shape.last) {
            bail!("{found} events instead of {events}: {text}");
        }
        Ok(())
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A body without the marks of its chunks.
fn joined(mut bytes: &[u8]) -> Option<String> {
    let mut body = Vec::with_capacity(bytes.len());
    loop {
        let end = find(bytes, b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        if length == 0 {
            return String::from_utf8(body).ok();
        }
        let chunk = bytes.get(end + 2..end + 2 + length)?;
        body.extend_from_slice(chunk);
        bytes = bytes.get(end + 4 + length..)?;
    }
}

/// Streams one after the other on each connection until the time is over. The latencies are those
/// of the first event. Threads of their own wait for them, without a runtime in between.
pub(crate) async fn one_by_one(
    target: &Target,
    body: &str,
    shape: Shape,
    connections: usize,
    time: Duration,
) -> Result<Answered> {
    let began = Instant::now();
    let mut threads = JoinSet::new();
    for place in 0..connections {
        let (target, body) = (target.clone(), body.to_owned());
        threads.spawn_blocking(move || first_events(&target, &body, shape, place, began + time));
    }
    let mut first = Vec::new();
    while let Some(ended) = threads.join_next().await {
        first.extend(ended??);
    }
    Ok(answered(first, began.elapsed()))
}

/// How long each stream of one connection took until its first event, in microseconds.
fn first_events(
    target: &Target,
    body: &str,
    shape: Shape,
    place: usize,
    end: Instant,
) -> Result<Vec<f64>> {
    let mut client = Client::connect(target, place)?;
    let mut first = Vec::new();
    while Instant::now() < end {
        first.push(client.first_event(target, body, shape)?);
    }
    Ok(first)
}

/// A connection on which streams are read one after the other, without a runtime in between.
pub(crate) struct Client {
    connection: TcpStream,
    buffer: Vec<u8>,
    /// Which of the credentials is next.
    turn: usize,
}

impl Client {
    pub(crate) fn connect(target: &Target, turn: usize) -> Result<Self> {
        let connection = TcpStream::connect(target.address)?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(SILENCE))?;
        Ok(Self { connection, buffer: vec![0; BUFFER_BYTES], turn })
    }

    /// How long a stream takes until the event that is looked for, in microseconds. It is read to
    /// its end.
    pub(crate) fn first_event(&mut self, target: &Target, body: &str, shape: Shape) -> Result<f64> {
        let credential = &target.credentials[self.turn % target.credentials.len()];
        self.turn += 1;
        let request = request(target, credential, shape.path, body);
        let mut answer = Answer::default();
        let (sent, mut first) = (Instant::now(), None);
        self.connection.write_all(&request)?;
        while !answer.has_ended() {
            let read = self.connection.read(&mut self.buffer)?;
            answer.bytes.extend_from_slice(&self.buffer[..read]);
            if read == 0 {
                break;
            }
            if first.is_none() && answer.has_come_to(shape.first) {
                first = Some(sent.elapsed().as_secs_f64() * 1e6);
            }
        }
        answer.check(shape)?;
        first.context("the event that is looked for did not come")
    }
}

/// Streams on many connections at once, each begun within the time read to its end.
pub(crate) async fn at_once(
    target: &Target,
    body: &str,
    shape: Shape,
    connections: usize,
    time: Duration,
) -> Result<Answered> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for place in 0..connections {
        let (target, body) = (target.clone(), body.to_owned());
        tasks.spawn(async move {
            let mut connection = tokio::net::TcpStream::connect(target.address).await?;
            connection.set_nodelay(true)?;
            let (mut first, mut turn) = (Vec::new(), place);
            while began.elapsed() < time {
                let credential = &target.credentials[turn % target.credentials.len()];
                turn += connections;
                let request = request(&target, credential, shape.path, &body);
                let sent = Instant::now();
                let begun = || first.push(sent.elapsed().as_secs_f64() * 1e6);
                exchange(&mut connection, &request, shape, begun).await?.check(shape)?;
            }
            anyhow::Ok(first)
        });
    }
    let mut first = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        first.extend(ended??);
    }
    Ok(answered(first, began.elapsed()))
}

/// Streams that are open at the same time. Tells when all have begun, and then reads each to its
/// end.
pub(crate) struct Open {
    tasks: JoinSet<Result<()>>,
}

impl Open {
    pub(crate) async fn begin(
        target: &Target,
        body: &str,
        events: usize,
        streams: usize,
    ) -> Result<Self> {
        let (told, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for place in 0..streams {
            let credential = &target.credentials[place % target.credentials.len()];
            let shape = Shape::chat(events);
            let request = request(target, credential, shape.path, body);
            let address = target.address;
            let told = told.clone();
            tasks.spawn(async move {
                let mut connection = tokio::net::TcpStream::connect(address).await?;
                let tell = || {
                    let _nobody_counts_any_more = told.send(());
                };
                exchange(&mut connection, &request, shape, tell).await?.check(shape)
            });
        }
        drop(told);
        let mut open = Self { tasks };
        for _ in 0..streams {
            tokio::select! {
                Some(()) = begun.recv() => {}
                ended = open.tasks.join_next() => match ended {
                    Some(Err(panicked)) => return Err(panicked.into()),
                    Some(Ok(Err(error))) => return Err(error),
                    Some(Ok(Ok(()))) | None => bail!("a stream ended before all were open"),
                },
            }
        }
        Ok(open)
    }

    /// # Errors
    /// If any has ended by now.
    pub(crate) fn all_open(&mut self) -> Result<()> {
        match self.tasks.try_join_next() {
            None => Ok(()),
            Some(ended) => {
                ended??;
                bail!("a stream ended before the memory was read")
            }
        }
    }

    pub(crate) async fn end(mut self) -> Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// One stream on a connection of its own, read to its end and checked.
pub(crate) async fn read_one(
    target: &Target,
    credential: &Credential,
    body: &str,
    events: usize,
) -> Result<()> {
    let mut connection = tokio::net::TcpStream::connect(target.address).await?;
    let shape = Shape::chat(events);
    let request = request(target, credential, shape.path, body);
    exchange(&mut connection, &request, shape, || ()).await?.check(shape)
}

/// One request and its answer; `begun` is called at the event that is looked for.
async fn exchange(
    connection: &mut tokio::net::TcpStream,
    request: &[u8],
    shape: Shape,
    begun: impl FnOnce(),
) -> Result<Answer> {
    connection.write_all(request).await?;
    let mut answer = Answer::default();
    let mut begun = Some(begun);
    while !answer.has_ended() {
        let reading = connection.read_buf(&mut answer.bytes);
        let read =
            tokio::time::timeout(SILENCE, reading).await.context("the stream is silent")??;
        if read == 0 {
            break;
        }
        if begun.is_some() && answer.has_come_to(shape.first) {
            begun.take().into_iter().for_each(|begun| begun());
        }
    }
    Ok(answer)
}

/// What came of so many streams in that time, by how long each took to the event looked for.
pub(crate) fn answered(mut first: Vec<f64>, time: Duration) -> Answered {
    Answered {
        calls: first.len() as f64,
        seconds: time.as_secs_f64(),
        p50: percentile(&mut first, 50.0),
        p90: percentile(&mut first, 90.0),
        p99: percentile(&mut first, 99.0),
    }
}
