//! A load balancer in small, which does what deploy/haproxy.cfg asks of a large one: it looks at
//! `/readyz`, and sends again what was surely not taken – after a connection that could not be
//! made, and after a 503.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How often it looks whether a gateway is ready.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it sends a request before it gives up.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// Where the gateways are, and which of them said that they are ready.
#[derive(Clone, Default)]
pub(super) struct Backends(Arc<Mutex<Vec<(SocketAddr, bool)>>>);

impl Backends {
    pub(super) fn new(addresses: [SocketAddr; 2]) -> Self {
        Self(Arc::new(Mutex::new(addresses.map(|address| (address, true)).to_vec())))
    }

    /// Another gateway has taken the place of one.
    pub(super) fn replace(&self, place: usize, address: SocketAddr) {
        self.0.lock()[place] = (address, false);
    }

    pub(super) fn is_ready(&self, place: usize) -> bool {
        self.0.lock()[place].1
    }

    /// A gateway for this try: a ready one, if there is any.
    fn pick(&self, turn: usize) -> SocketAddr {
        let all = self.0.lock();
        let ready: Vec<_> = all.iter().filter(|(_, ready)| *ready).collect();
        let chosen = if ready.is_empty() { all.iter().collect() } else { ready };
        chosen[turn % chosen.len()].0
    }

    async fn look(&self) {
        let places = self.0.lock().len();
        for place in 0..places {
            let address = self.0.lock()[place].0;
            let ready = is_ready(address).await;
            let mut all = self.0.lock();
            if all[place].0 == address {
                all[place].1 = ready;
            }
        }
    }
}

async fn is_ready(address: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Some(answer.starts_with(b"HTTP/1.1 200"))
    };
    asked.await.unwrap_or(false)
}

/// Starts it, and tells where it listens.
pub(super) async fn start(backends: Backends) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let looking = backends.clone();
    tokio::spawn(async move {
        loop {
            looking.look().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    tokio::spawn(async move {
        let turn = Arc::new(AtomicUsize::new(0));
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(relay(client, backends.clone(), Arc::clone(&turn)));
        }
    });
    address
}

/// One request and its answer; then the connection is closed.
async fn relay(mut client: TcpStream, backends: Backends, turn: Arc<AtomicUsize>) -> Option<()> {
    let request = request(&mut client).await?;
    for _ in 0..TRIES {
        let address = backends.pick(turn.fetch_add(1, Ordering::Relaxed));
        let Ok(mut gateway) = TcpStream::connect(address).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        gateway.write_all(&request).await.ok()?;
        let mut begun = vec![0; 16 << 10];
        let read = gateway.read(&mut begun).await.ok()?;
        if begun[..read].starts_with(b"HTTP/1.1 503") {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        // Whatever happens from here on is the client's to see.
        client.write_all(&begun[..read]).await.ok()?;
        tokio::io::copy(&mut gateway, &mut client).await.ok()?;
        return Some(());
    }
    client.write_all(b"HTTP/1.1 503 No Gateway\r\ncontent-length: 0\r\n\r\n").await.ok()
}

/// Head and body as they came, but for one connection.
async fn request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 16 << 10];
    loop {
        let read = client.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
        });
        if body.len() >= length.unwrap_or(0) {
            return Some(format!("{head}\r\nconnection: close\r\n\r\n{body}").into_bytes());
        }
    }
}
