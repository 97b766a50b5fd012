//! A client's socket that loses its patience: with a head that does not end, with a client that
//! reads nothing of its answer, with one that asks for nothing.
//!
//! The HTTP library times the first head of a connection and what is idle after a whole answer, and
//! reads on while it answers. Whatever is beyond that is here.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::http::connection::{Certificate, Connection};
use crate::limits::connections::Place;

use super::io::Io;

/// How much time a client has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a whole head, from its first byte on.
    pub(super) head: Duration,
    /// Between the end of an answer and the next request.
    pub(super) idle: Duration,
    /// For reading anything of an answer that waits for it.
    pub(super) write: Duration,
}

impl Patience {
    /// How often it is looked whether a time is over. A clock that ticks costs a request nothing,
    /// where a timer would have to be set for each.
    fn tick(self) -> Duration {
        let shortest = self.head.min(self.idle).min(self.write);
        (shortest / 8).clamp(Duration::from_millis(50), Duration::from_secs(3))
    }
}

/// A client's socket.
pub(super) struct Socket {
    io: Io,
    connection: Rc<Connection>,
    patience: Patience,
    clock: Pin<Box<Sleep>>,
    /// When the first byte of a head came, and how many heads had come before.
    head: Option<(Instant, u64)>,
    /// When a request was last served or a byte last came, to a tick.
    active: Instant,
    /// Since when nothing more can be written, and what had been sent by then.
    stuck: Option<(Instant, u64)>,
    _place: Place,
}

impl Socket {
    pub(super) fn new(
        io: Io,
        certificate: Option<Certificate>,
        patience: Patience,
        place: Place,
    ) -> Self {
        Self {
            io,
            connection: Rc::new(Connection::of(certificate)),
            patience,
            clock: Box::pin(tokio::time::sleep(patience.tick())),
            head: None,
            active: Instant::now(),
            stuck: None,
            _place: place,
        }
    }

    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Looks at the clock.
    fn look(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.clock.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if self.connection.is_serving() {
                self.active = now;
            } else if now.duration_since(self.active) >= self.patience.idle {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.check_head(now)?;
            if self.stuck.is_some_and(|(since, _)| now.duration_since(since) >= self.patience.write)
            {
                metrics::counter!("rungate_slow_clients_total", "kind" => "reader").increment(1);
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.clock.as_mut().reset((now + self.patience.tick()).into());
        }
        Ok(())
    }

    /// Whether a head that has begun is late.
    fn check_head(&mut self, now: Instant) -> io::Result<()> {
        let Some((since, begun)) = self.head else { return Ok(()) };
        if self.connection.is_serving() || self.connection.begun() != begun {
            self.head = None;
        } else if now.duration_since(since) >= self.patience.head {
            metrics::counter!("rungate_slow_clients_total", "kind" => "head").increment(1);
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Bytes came.
    fn came(&mut self) -> io::Result<()> {
        if self.connection.is_serving() {
            return Ok(());
        }
        let now = Instant::now();
        self.active = now;
        self.check_head(now)?;
        if self.head.is_none() {
            self.head = Some((now, self.connection.begun()));
        }
        Ok(())
    }

    /// Leaves what comes where it is, but notices when the client hangs up. Otherwise the library
    /// would take in what is piped behind a request, and look at it over and over.
    fn poll_hung_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.io.poll_hung_up(cx) {
            Poll::Ready(Ok(true)) => return Poll::Ready(Ok(())),
            Poll::Ready(Ok(false)) => self.connection.hold(cx.waker()),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {}
        }
        self.look(cx)?;
        Poll::Pending
    }

    /// Nothing can be written now. Under TLS some may have been sent all the same.
    fn wait(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let sent = self.io.sent();
        if self.stuck.is_none_or(|(_, before)| before != sent) {
            self.stuck = Some((Instant::now(), sent));
        }
        self.look(cx)
    }

    /// Something was written.
    fn go_on(&mut self) {
        if self.stuck.take().is_some() {
            self.connection.go_on();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.stuck.is_some() || this.connection.is_sated() {
            return this.poll_hung_up(cx);
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() > before {
                    this.came()?;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                this.look(cx)?;
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match Pin::new(&mut this.io).poll_write(cx, bytes) {
            Poll::Ready(written) => {
                this.go_on();
                Poll::Ready(written)
            }
            Poll::Pending => {
                this.wait(cx)?;
                Poll::Pending
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look(cx)?;
        match Pin::new(&mut self.io).poll_flush(cx) {
            // Under TLS what was written may still wait here.
            Poll::Pending => {
                self.wait(cx)?;
                Poll::Pending
            }
            Poll::Ready(flushed) => {
                if matches!(self.io, Io::Secured(_)) {
                    self.go_on();
                }
                Poll::Ready(flushed)
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use crate::limits::connections::Connections;

    use super::*;

    const LONG: Patience = Patience {
        head: Duration::from_secs(60),
        idle: Duration::from_secs(60),
        write: Duration::from_secs(60),
    };

    async fn pair(patience: Patience) -> (Socket, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (io, _) = listener.accept().await.unwrap();
        let place = Connections::new(1, 1).enter(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        (Socket::new(Io::Plain(io), None, patience, place), client)
    }

    async fn readable(socket: &Socket) {
        let Io::Plain(io) = &socket.io else { return };
        io.readable().await.unwrap();
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn poll_read(socket: &mut Socket, waker: &Waker) -> Poll<io::Result<usize>> {
        let mut bytes = [0; 64];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = Pin::new(socket).poll_read(&mut Context::from_waker(waker), &mut buffer);
        read.map_ok(|()| buffer.filled().len())
    }

    #[tokio::test]
    async fn what_is_piped_behind_a_request_stays_where_it_is_until_somebody_wants_it() {
        let (mut socket, mut client) = pair(LONG).await;
        let connection = Rc::clone(socket.connection());
        let serving = connection.begin();
        client.write_all(b"piped").await.unwrap();
        readable(&socket).await;
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        for _ in 0..100 {
            assert!(poll_read(&mut socket, &waker).is_pending());
        }
        assert_eq!(woken.0.load(Ordering::Acquire), 0, "nobody looks again by himself");
        let reading = connection.read_body();
        assert_eq!(woken.0.load(Ordering::Acquire), 1);
        assert!(matches!(poll_read(&mut socket, &waker), Poll::Ready(Ok(5))));
        drop(reading);
        client.write_all(b"more").await.unwrap();
        readable(&socket).await;
        while poll_read(&mut socket, &waker).is_ready() {}
        drop(serving);
        assert_eq!(woken.0.load(Ordering::Acquire), 2);
        assert!(matches!(poll_read(&mut socket, &waker), Poll::Ready(Ok(4))));
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_is_noticed_while_it_is_served() {
        let (mut socket, client) = pair(LONG).await;
        let _serving = socket.connection().begin();
        drop(client);
        assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_call_may_take_longer_than_a_head() {
        let short = Duration::from_millis(60);
        let (mut socket, mut client) = pair(Patience { head: short, idle: short, ..LONG }).await;
        client.write_all(b"a head").await.unwrap();
        assert_eq!(socket.read(&mut [0; 64]).await.unwrap(), 6);
        let serving = socket.connection().begin();
        let waiting = tokio::time::timeout(4 * short, socket.read(&mut [0; 64])).await;
        assert!(waiting.is_err(), "it is served for as long as it takes");
        drop(serving);
        let late = socket.read(&mut [0; 64]).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }
}
