//! The provider of the crash harness: does what a prompt asks for, and remembers what it saw and
//! which usage it gave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::ledger_contract::Random;

/// How the provider behaves towards one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Serve,
    Status(u16),
    Garbage,
    NoUsage,
    CutHalfway,
    HangBeforeHead,
    HangHalfway,
    CloseSilently,
    ErrorEvent,
}

/// What one call asks of the provider, as its prompt says it.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub number: u64,
    pub manner: Manner,
    pub output: u64,
    pub delay_ms: u64,
}

/// A request that reached the provider.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub order: Order,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

const STATUSES: [u16; 6] = [400, 429, 500, 502, 503, 504];
const PIECES: u64 = 8;

impl Manner {
    pub fn random(random: &mut Random) -> Self {
        match random.below(40) {
            0..=4 => Self::Status(STATUSES[random.index(STATUSES.len())]),
            5 => Self::Garbage,
            6 | 7 => Self::NoUsage,
            8 | 9 => Self::CutHalfway,
            10 => Self::HangBeforeHead,
            11 => Self::HangHalfway,
            12 | 13 => Self::CloseSilently,
            14 => Self::ErrorEvent,
            _ => Self::Serve,
        }
    }

    /// Whether the published rules release such an attempt: it bought nothing.
    pub fn is_free(self) -> bool {
        matches!(self, Self::Status(400 | 429 | 500 | 502 | 503))
    }

    fn code(self) -> u16 {
        match self {
            Self::Serve => 0,
            Self::Garbage => 1,
            Self::NoUsage => 2,
            Self::CutHalfway => 3,
            Self::HangBeforeHead => 4,
            Self::HangHalfway => 5,
            Self::CloseSilently => 6,
            Self::ErrorEvent => 7,
            Self::Status(status) => status,
        }
    }

    fn of(code: u16) -> Self {
        let all = [
            Self::Serve,
            Self::Garbage,
            Self::NoUsage,
            Self::CutHalfway,
            Self::HangBeforeHead,
            Self::HangHalfway,
            Self::CloseSilently,
            Self::ErrorEvent,
        ];
        all.into_iter().find(|manner| manner.code() == code).unwrap_or(Self::Status(code))
    }
}

impl Order {
    pub fn prompt(&self) -> String {
        let Self { number, manner, output, delay_ms } = self;
        format!("order:{number}:{}:{output}:{delay_ms}:", manner.code())
    }

    fn read(body: &str) -> Self {
        let mut parts = body.split_once("order:").unwrap().1.split(':');
        let mut next = || parts.next().unwrap().parse::<u64>().unwrap();
        let (number, code) = (next(), u16::try_from(next()).unwrap());
        Self { number, manner: Manner::of(code), output: next(), delay_ms: next() }
    }
}

/// The provider.
pub struct Provider {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    serving: Mutex<JoinHandle<()>>,
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let serving = Mutex::new(tokio::spawn(accept(listener, Arc::clone(&seen))));
        Self { address, seen, serving }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Refuses connections for so long.
    pub async fn refuse(&self, time: Duration) {
        self.serving.lock().abort();
        sleep(time).await;
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        };
        *self.serving.lock() = tokio::spawn(accept(listener, Arc::clone(&self.seen)));
    }
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Vec<Seen>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&seen)));
    }
}

async fn serve(mut stream: TcpStream, record: Arc<Mutex<Vec<Seen>>>) -> Option<()> {
    let body = read_body(&mut stream).await?;
    let asked: Value = serde_json::from_str(&body).unwrap();
    let order = Order::read(&body);
    let maximum = ["max_tokens", "max_completion_tokens"];
    let maximum = maximum.iter().find_map(|name| asked[*name].as_u64()).unwrap();
    let completion_tokens = order.output.min(maximum);
    let seen = Seen { order, prompt_tokens: 3 + order.number % 5, completion_tokens };
    record.lock().push(seen);
    sleep(Duration::from_millis(order.delay_ms)).await;
    match order.manner {
        Manner::CloseSilently => return None,
        Manner::HangBeforeHead => return until_closed(&mut stream).await,
        Manner::Status(status) => {
            let body = json!({"error": {"message": "as asked", "type": "t", "code": "c"}});
            let answer = whole(&format!("{status} As Asked"), &body.to_string());
            return stream.write_all(answer.as_bytes()).await.ok();
        }
        _ => {}
    }
    if asked["stream"] == json!(true) {
        streamed(&mut stream, seen).await
    } else {
        unstreamed(&mut stream, seen).await
    }
}

async fn unstreamed(stream: &mut TcpStream, seen: Seen) -> Option<()> {
    let mut body = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": words(seen.completion_tokens)}}],
        "usage": usage(seen),
    });
    if seen.order.manner == Manner::NoUsage {
        body.as_object_mut().unwrap().remove("usage");
    }
    let mut text = body.to_string();
    match seen.order.manner {
        Manner::Garbage | Manner::ErrorEvent => text = "<html>neither</html>".to_owned(),
        Manner::CutHalfway | Manner::HangHalfway => {
            let answer = whole("200 OK", &text);
            stream.write_all(&answer.as_bytes()[..answer.len() - text.len() / 2]).await.ok()?;
            if seen.order.manner == Manner::HangHalfway {
                until_closed(stream).await;
            }
            return None;
        }
        _ => {}
    }
    stream.write_all(whole("200 OK", &text).as_bytes()).await.ok()
}

async fn streamed(stream: &mut TcpStream, seen: Seen) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.ok()?;
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    for piece in 0..PIECES {
        let content = words(seen.completion_tokens / PIECES);
        event(stream, &chunk(json!({"content": content}), Value::Null).to_string()).await?;
        if piece == PIECES / 2 {
            match seen.order.manner {
                Manner::CutHalfway => return None,
                Manner::HangHalfway => return until_closed(stream).await,
                Manner::Garbage => event(stream, "{not json").await?,
                Manner::ErrorEvent => {
                    return event(stream, r#"{"error":{"message":"as asked"}}"#).await;
                }
                _ => {}
            }
        }
        sleep(Duration::from_millis(seen.order.delay_ms / PIECES)).await;
    }
    event(stream, &chunk(json!({}), json!("stop")).to_string()).await?;
    if seen.order.manner != Manner::NoUsage {
        let mut last = chunk(json!({}), Value::Null);
        last["choices"] = json!([]);
        last["usage"] = usage(seen);
        event(stream, &last.to_string()).await?;
    }
    event(stream, "[DONE]").await
}

fn usage(seen: Seen) -> Value {
    let Seen { prompt_tokens, completion_tokens, .. } = seen;
    json!({"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens})
}

fn words(count: u64) -> String {
    "one ".repeat(usize::try_from(count).unwrap())
}

fn whole(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn event(stream: &mut TcpStream, data: &str) -> Option<()> {
    stream.write_all(format!("data: {data}\n\n").as_bytes()).await.ok()
}

async fn until_closed(stream: &mut TcpStream) -> Option<()> {
    let _closed = stream.read(&mut [0_u8; 1]).await;
    None
}

/// The body of one request; `None` if it did not come whole.
async fn read_body(stream: &mut TcpStream) -> Option<String> {
    let (mut bytes, mut chunk) = (Vec::new(), vec![0_u8; 16 << 10]);
    loop {
        let read = stream.read(&mut chunk).await.ok()?;
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lines = head.lines().map(str::to_ascii_lowercase);
            let length: Option<usize> = lines.find_map(|line| {
                line.strip_prefix("content-length: ").and_then(|length| length.parse().ok())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(body.to_owned());
            }
        }
        if read == 0 {
            return None;
        }
    }
}
