//! One connection's bytes: connects within a time limit, has every frame from the broker looked
//! over ([`super::mend`]) before lapin reads it, and can be cut from our side. Next in the flow:
//! [`super::link`], which keeps a connection open.

use super::greeting;
use super::mend::{HEADER, METHOD, mend};
use super::uri::{Config, Uri};
use super::{CLOSE_LIMIT, CONNECT_LIMIT, ConnectError, tls};
use crate::broker::Server;
use crate::telemetry::rarely::Rarely;
use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A frame's type, channel and length; behind its payload comes one byte more.
const FRAME_HEAD: usize = 7;
/// What is read at once.
const READ_SIZE: usize = 64 * 1024;
/// No method or header is longer; RabbitMQ's own limit of a frame is 128 KiB unless configured.
const FRAME_MAX: usize = 16 * 1024 * 1024;
/// The log says no more often that something had to be mended.
const MENDED_EVERY: Duration = Duration::from_secs(60);

/// An open connection, which ends for good when this is dropped.
pub(super) struct Wired {
    /// lapin's side of it.
    pub(super) connection: Connection,
    /// Who the broker is.
    pub(super) server: Server,
    fuse: CancellationToken,
    parted: AtomicBool,
}

impl Wired {
    /// Says goodbye; false if the broker did not answer in time.
    pub(super) async fn close(&self) -> bool {
        let closed = self.connection.close(200, "bye".into());
        let answered = matches!(tokio::time::timeout(CLOSE_LIMIT, closed).await, Ok(Ok(())));
        self.parted.fetch_or(answered, Ordering::Relaxed);
        answered
    }

    /// Cuts the stream, so that lapin's thread ends even if the peer never answers again. After a
    /// goodbye it ends by itself, and would call this an error.
    pub(super) fn cut(&self) {
        if !self.parted.load(Ordering::Relaxed) {
            self.fuse.cancel();
        }
    }
}

impl Drop for Wired {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Connects to `uri` under the name `name`, or gives up after [`CONNECT_LIMIT`].
pub(super) async fn open(uri: &Uri, config: &Config, name: &str) -> Result<Wired, ConnectError> {
    let tls = tls::load(&uri.tls, config.tls.as_ref())
        .await
        .map_err(|error| ConnectError::unreachable(uri, error))?;
    let mut amqp = uri.amqp.clone();
    let seconds = u16::try_from(config.heartbeat.as_secs()).unwrap_or(u16::MAX);
    amqp.query.heartbeat.get_or_insert(seconds);
    let fuse = CancellationToken::new();
    let guard = fuse.clone().drop_guard();
    let options = ConnectionProperties::default()
        .with_connection_name(name.into())
        .with_client_property("product".into(), "wabbit".into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
    let runtime = Runtime::new(RuntimeParts::new(Tokio::current(), Dial));
    let greeting = Greeting::default();
    let read = greeting.clone();
    let dial = async move |uri: AMQPUri, _: Runtime<_>| Ok(dial(&uri, &tls, &fuse, &read).await?);
    let connected = Connection::connector(amqp, runtime, dial, options);
    match tokio::time::timeout(CONNECT_LIMIT, connected).await {
        Ok(Ok(connection)) => {
            // It can't be open without a greeting.
            let server = greeting.get().cloned().unwrap_or_else(|| Server::new("", "", None));
            Ok(Wired { connection, server, fuse: guard.disarm(), parted: AtomicBool::new(false) })
        }
        Ok(Err(error)) => Err(ConnectError::of(uri, &error)),
        Err(_) => {
            let limit = format!("no answer within {} s", CONNECT_LIMIT.as_secs());
            Err(ConnectError::unreachable(uri, limit))
        }
    }
}

async fn dial(
    uri: &AMQPUri,
    tls: &OwnedTLSConfig,
    fuse: &CancellationToken,
    greeting: &Greeting,
) -> io::Result<AsyncTcpStream<Wire>> {
    let runtime = Runtime::new(Tokio::current());
    let connected = uri.connect_with_config_async(tls.as_ref(), &runtime);
    match fuse.run_until_cancelled(connected).await {
        Some(stream) => {
            Ok(AsyncTcpStream::Plain(Wire::new(stream?, fuse.clone(), greeting.clone())))
        }
        None => Err(cut()),
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "given up by this side")
}

/// What lapin asks of a runtime besides spawning, with [`Wire`] as its kind of stream. Streams come
/// from [`dial`], not from here.
#[derive(Debug, Clone)]
struct Dial;

impl Reactor for Dial {
    type TcpStream = Wire;
    type Sleep = tokio::time::Sleep;

    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Wire, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        tokio::time::sleep(duration)
    }

    fn interval(&self, period: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        let ticks = tokio::time::interval(period);
        futures_util::stream::unfold(ticks, async |mut ticks| {
            Some((ticks.tick().await.into_std(), ticks))
        })
    }

    fn tcp_connect_addr(
        &self,
        _: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

type Inner = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// The stream, plain or TLS, with the frames that come from it looked over.
struct Wire {
    inner: Inner,
    fuse: CancellationToken,
    fused: Pin<Box<WaitForCancellationFutureOwned>>,
    read: Box<[u8]>,
    frames: Frames,
    rarely: Rarely<()>,
}

impl Wire {
    fn new(inner: Inner, fuse: CancellationToken, greeting: Greeting) -> Self {
        let fused = Box::pin(fuse.clone().cancelled_owned());
        let read = vec![0; READ_SIZE].into_boxed_slice();
        let frames = Frames { greeting, ..Frames::default() };
        Self { inner, fuse, fused, read, frames, rarely: Rarely::new(MENDED_EVERY) }
    }

    /// Whoever looks for a header in vain must find the cause.
    fn report(&mut self) {
        metrics::counter!("wabbit_mended_frames_total").increment(1);
        let what = "the broker delivered text that is not utf-8, a header of an unknown type, or \
                    tables nested too deep: read with `?` in place of each such byte, and without \
                    such headers";
        if self.rarely.happened((), Instant::now()).is_some() {
            tracing::warn!("{what}");
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self;
        loop {
            if wire.fuse.is_cancelled() {
                return Poll::Ready(Err(cut()));
            }
            let taken = wire.frames.take(into);
            if taken > 0 || into.is_empty() {
                return Poll::Ready(Ok(taken));
            }
            match Pin::new(&mut wire.inner).poll_read(cx, &mut wire.read) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(0)),
                Poll::Ready(Ok(count)) => {
                    if wire.frames.push(wire.read.get(..count).unwrap_or_default()) {
                        wire.report();
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if wire.fused.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.fuse.is_cancelled() {
            return Poll::Ready(Err(cut()));
        }
        Pin::new(&mut self.inner).poll_write(cx, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.fuse.is_cancelled() {
            return Poll::Ready(Err(cut()));
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// Bytes on their way, cut into frames.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
    /// Up to here lapin has them.
    taken: usize,
    /// Up to here they are looked over.
    clear: usize,
    /// How much of a frame that needs no looking over is still to come behind `clear`.
    pass: usize,
    greeting: Greeting,
}

/// How the broker introduced itself, once it has.
type Greeting = Arc<OnceLock<Server>>;

impl Frames {
    /// Adds bytes; true if some had to be mended.
    fn push(&mut self, bytes: &[u8]) -> bool {
        self.bytes.extend_from_slice(bytes);
        let mut mended = false;
        loop {
            let unseen = self.bytes.get_mut(self.clear..).unwrap_or_default();
            let passed = self.pass.min(unseen.len());
            if passed > 0 {
                self.clear += passed;
                self.pass -= passed;
                continue;
            }
            let Some((&[kind, _, _, a, b, c, d], _)) = unseen.split_first_chunk::<FRAME_HEAD>()
            else {
                return mended;
            };
            let size = u32::from_be_bytes([a, b, c, d]) as usize;
            if !matches!(kind, METHOD | HEADER) || size > FRAME_MAX {
                self.pass = FRAME_HEAD + size + 1;
                continue;
            }
            let Some(payload) = unseen.get_mut(FRAME_HEAD..=FRAME_HEAD + size) else {
                return mended;
            };
            if let Some((_, payload)) = payload.split_last_mut() {
                mended |= mend(kind, payload);
                if kind == METHOD
                    && let Some(server) = greeting::read(payload)
                {
                    // Only the first counts.
                    self.greeting.set(server).ok();
                }
            }
            self.clear += FRAME_HEAD + size + 1;
        }
    }

    /// Moves bytes that are looked over into `into`, and says how many.
    fn take(&mut self, into: &mut [u8]) -> usize {
        let ready = self.bytes.get(self.taken..self.clear).unwrap_or_default();
        let count = ready.len().min(into.len());
        for (to, from) in into.iter_mut().zip(ready) {
            *to = *from;
        }
        self.taken += count;
        if self.taken == self.clear {
            self.bytes.drain(..self.taken);
            (self.taken, self.clear) = (0, 0);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = (payload.len() as u32).to_be_bytes();
        [&[kind, 0, 1][..], &size, payload, &[0xce]].concat()
    }

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let deliver = b"\0\x3c\0\x3c\x01t\0\0\0\0\0\0\0\x01\0\0\x02k\xff".as_slice();
        let stream = [
            frame(METHOD, deliver),
            frame(HEADER, b"\0\x3c\0\0\0\0\0\0\0\0\0\x05\0\0"),
            frame(3, b"\xff\xfe\xfd\xfc\xfb"),
            frame(8, b""),
            frame(METHOD, deliver),
        ]
        .concat();
        let expected: Vec<u8> = {
            let at = stream.iter().position(|byte| *byte == b'k').expect("has a key") + 1;
            let mut expected = stream.clone();
            expected[at] = b'?';
            let last = expected.len() - 2;
            expected[last] = b'?';
            expected
        };
        for step in 1..stream.len() {
            let (mut frames, mut out, mut mended) = (Frames::default(), Vec::<u8>::new(), 0);
            for piece in stream.chunks(step) {
                mended += usize::from(frames.push(piece));
                let mut into = [0; 5];
                loop {
                    let count = frames.take(&mut into);
                    if count == 0 {
                        break;
                    }
                    out.extend(&into[..count]);
                }
            }
            assert_eq!(out, expected, "in steps of {step}");
            assert!(mended > 0);
        }
    }
}
