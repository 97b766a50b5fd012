//! The bytes of a connection: as they are, or under TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::tls::Wire;

/// A connection's bytes.
pub(super) enum Io {
    /// As they are.
    Plain(TcpStream),
    /// Under TLS.
    Secured(Box<Secured>),
}

/// What came under TLS cannot be looked at without being taken, so one byte of it may be kept.
pub(super) struct Secured {
    stream: TlsStream<Wire>,
    kept: Option<u8>,
}

impl Io {
    /// Bytes under TLS.
    pub(super) fn secured(stream: TlsStream<Wire>) -> Self {
        Self::Secured(Box::new(Secured { stream, kept: None }))
    }

    /// How many bytes the kernel has taken that could wait before; never any of a plain
    /// connection, whose writes wait for the kernel themselves.
    pub(super) fn sent(&self) -> u64 {
        match self {
            Self::Plain(_) => 0,
            Self::Secured(secured) => secured.stream.get_ref().0.sent(),
        }
    }

    /// Whether the client has hung up. If it has not, but bytes are there, they stay for the next
    /// reader.
    pub(super) fn poll_hung_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut byte = [0_u8; 1];
        match self {
            Self::Plain(io) => {
                io.poll_peek(cx, &mut ReadBuf::new(&mut byte)).map_ok(|there| there == 0)
            }
            Self::Secured(secured) => {
                if secured.kept.is_some() {
                    return Poll::Ready(Ok(false));
                }
                let mut buffer = ReadBuf::new(&mut byte);
                let read = Pin::new(&mut secured.stream).poll_read(cx, &mut buffer);
                read.map_ok(|()| {
                    secured.kept = buffer.filled().first().copied();
                    secured.kept.is_none()
                })
            }
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            Self::Secured(secured) => {
                if let Some(kept) = secured.kept.take_if(|_| buffer.remaining() > 0) {
                    buffer.put_slice(&[kept]);
                    return Poll::Ready(Ok(()));
                }
                Pin::new(&mut secured.stream).poll_read(cx, buffer)
            }
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Secured(secured) => Pin::new(&mut secured.stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Secured(secured) => Pin::new(&mut secured.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Secured(secured) => Pin::new(&mut secured.stream).poll_shutdown(cx),
        }
    }
}
