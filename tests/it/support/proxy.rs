//! The network between a gateway and its Postgres: it cuts, it stalls, it loses answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// What happens to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// They pass.
    Up,
    /// They wait, both ways.
    Stalled,
    /// What the gateways say arrives; what Postgres answers waits.
    Deaf,
    /// New connections are closed at once.
    Refusing,
}

/// A TCP port that leads to a Postgres on a Unix socket.
pub struct Proxy {
    port: u16,
    network: watch::Sender<Network>,
    cuts: watch::Sender<u64>,
    forgotten: watch::Sender<u64>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Before the server whose socket is in the folder that `url` names.
    pub async fn before(url: &str) -> Self {
        let folder = url.split_once("host=").unwrap().1.split('&').next().unwrap();
        let socket = PathBuf::from(folder.replace("%2F", "/")).join(".s.PGSQL.5432");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (network, _) = watch::channel(Network::Up);
        let (cuts, _) = watch::channel(0);
        let (forgotten, _) = watch::channel(0);
        let (state, cut, forget) = (network.clone(), cuts.clone(), forgotten.clone());
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                if *state.borrow() == Network::Refusing {
                    continue;
                }
                let (state, mut cut) = (state.subscribe(), cut.subscribe());
                let forget = forget.subscribe();
                let socket = socket.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        // What is cut must not pass on because it may again at that moment.
                        biased;
                        _ = cut.changed() => {}
                        () = carry(client, socket, state, forget) => {}
                    }
                });
            }
        });
        Self { port, network, cuts, forgotten, connections }
    }

    /// The same database by way of this proxy.
    pub fn url(&self, direct: &str) -> String {
        let (address, _) = direct.split_once('?').unwrap();
        let (server, name) = address.rsplit_once('/').unwrap();
        let (scheme, host) = server.split_once("://").unwrap();
        let user = host.rsplit_once('@').unwrap().0;
        format!("{scheme}://{user}@127.0.0.1:{}/{name}?sslmode=disable", self.port)
    }

    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// How many connections were tried.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Nothing passes on today's connections any more, and nobody is told.
    pub fn forget(&self) {
        self.forgotten.send_modify(|times| *times += 1);
    }

    /// Breaks every connection; new ones are taken.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(
    client: TcpStream,
    socket: PathBuf,
    network: watch::Receiver<Network>,
    mut forget: watch::Receiver<u64>,
) {
    let Ok(server) = UnixStream::connect(socket).await else { return };
    let _small_messages_go_at_once = client.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let asked = pass(from_client, to_server, network.clone(), |state| state != Network::Stalled);
    let answered = pass(from_server, to_client, network, |state| state == Network::Up);
    tokio::pin!(asked, answered);
    tokio::select! {
        () = &mut asked => {}
        () = &mut answered => {}
        // Open for ever, and silent.
        _ = forget.changed() => std::future::pending().await,
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut network: watch::Receiver<Network>,
    passes: impl Fn(Network) -> bool,
) {
    let mut bytes = vec![0_u8; 64 << 10];
    loop {
        let Ok(read @ 1..) = from.read(&mut bytes).await else { return };
        if network.wait_for(|state| passes(*state)).await.is_err() {
            return;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
