//! Accepted TCP connections that know their identity and report their end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::Connected;

/// Numbers the connections of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ConnectionId(pub(super) u64);

/// One client connection. Its end is reported exactly once, when the transport drops it.
pub(super) struct ClientConnection {
    stream: TcpStream,
    id: ConnectionId,
    closed: UnboundedSender<ConnectionId>,
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        // The receiver is gone only while the server shuts down, when all sessions end anyway.
        let _ = self.closed.send(self.id);
    }
}

impl Connected for ClientConnection {
    type ConnectInfo = ConnectionId;

    fn connect_info(&self) -> ConnectionId {
        self.id
    }
}

impl AsyncRead for ClientConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The connections accepted by a listener, without Nagle's delay.
pub(super) fn accept_connections(
    listener: TcpListener,
    closed: UnboundedSender<ConnectionId>,
) -> impl Stream<Item = io::Result<ClientConnection>> {
    let next_id = Arc::new(AtomicU64::new(0));
    TcpListenerStream::new(listener).map(move |accepted| {
        let stream = accepted?;
        stream.set_nodelay(true)?;
        Ok(ClientConnection {
            stream,
            id: ConnectionId(next_id.fetch_add(1, Ordering::Relaxed)),
            closed: closed.clone(),
        })
    })
}
