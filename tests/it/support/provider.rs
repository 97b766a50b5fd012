//! A provider that answers exactly what it is told and remembers exactly what it was sent.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// What happens after the scripted bytes.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// The connection is closed.
    Close,
    /// The connection stays open and silent.
    Stall,
    /// The same bytes come again and again, until the other side closes.
    Repeat(&'static str),
}

/// A provider on a real socket.
pub struct ScriptedProvider {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl ScriptedProvider {
    /// Answers every request with these bytes.
    pub async fn answering(bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        Self::in_turn([(bytes, then)]).await
    }

    /// Answers one request after the other with these bytes, and all further ones with the last.
    pub async fn in_turn<B: Into<Vec<u8>>>(answers: impl IntoIterator<Item = (B, Then)>) -> Self {
        let answers = answers.into_iter().map(|(bytes, then)| (bytes.into(), then)).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, answers)
    }

    /// The same, on a listener that was there before.
    pub fn on(listener: TcpListener, answers: Vec<(Vec<u8>, Then)>) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answers, record) = (Arc::new(answers), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answers), Arc::clone(&record)));
            }
        });
        Self { address, seen }
    }

    /// Answers a request with these bytes as soon as `gate` has a permit for it.
    pub async fn gated(bytes: impl Into<Vec<u8>>, gate: Arc<Semaphore>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (bytes, record) = (Arc::new(bytes.into()), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (bytes, record) = (Arc::clone(&bytes), Arc::clone(&record));
                let gate = Arc::clone(&gate);
                tokio::spawn(async move {
                    let Some(request) = read_request(&mut stream).await else { return };
                    record.lock().push(request);
                    gate.acquire().await.unwrap().forget();
                    let _client_left = stream.write_all(&bytes).await;
                });
            }
        });
        Self { address, seen }
    }

    /// A 200 with a JSON body.
    pub async fn json(body: &str) -> Self {
        Self::answering(response("200 OK", "application/json", body), Then::Close).await
    }

    /// The requests so far: head and body as they came.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().clone()
    }

    /// What `OPENAI_BASE_URL` has to be.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

/// A whole HTTP answer, after which the connection is not used again.
pub fn response(status: &str, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: \
         {}\r\n\r\n{body}",
        body.len()
    )
}

async fn serve(
    mut stream: TcpStream,
    answers: Arc<Vec<(Vec<u8>, Then)>>,
    record: Arc<Mutex<Vec<String>>>,
) {
    let Some(request) = read_request(&mut stream).await else { return };
    let turn = {
        let mut record = record.lock();
        record.push(request);
        record.len() - 1
    };
    let (bytes, then) = &answers[turn.min(answers.len() - 1)];
    let _client_left = stream.write_all(bytes).await;
    let _client_left = stream.flush().await;
    match then {
        Then::Close => {}
        // Until the other side closes.
        Then::Stall => {
            let _closed = stream.read(&mut [0_u8; 1]).await;
        }
        Then::Repeat(bytes) => {
            let flood = bytes.repeat((64 << 10) / bytes.len());
            while stream.write_all(flood.as_bytes()).await.is_ok() {}
        }
    }
}

/// Head and body as they came; `None` if the connection broke.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    let mut chunk = vec![0_u8; 16 << 10];
    loop {
        let read = stream.read(&mut chunk).await.ok()?;
        request.extend_from_slice(&chunk[..read]);
        if read == 0 && request.is_empty() {
            return None;
        }
        if read == 0 || is_whole(&request) {
            return Some(String::from_utf8_lossy(&request).into_owned());
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}
