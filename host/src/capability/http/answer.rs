//! What comes back: a body that is no longer than it may be, and ends with its event.

use super::failure::found;
use http_body_util::{LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use wasmtime_wasi_http::Error;

/// The body of a response.
pub struct Answer {
    body: Limited<Incoming>,
    limit: usize,
    /// How long the guest waits for the next piece, and since when.
    between: Option<(Duration, Pin<Box<Sleep>>)>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Answer {
    /// `body`, up to `limit` bytes of it, until the event has `ended`.
    pub fn new(
        body: Incoming,
        limit: usize,
        between: Option<Duration>,
        ended: CancellationToken,
    ) -> Self {
        Self {
            body: Limited::new(body, limit),
            limit,
            between: between.map(|pause| (pause, Box::pin(sleep(pause)))),
            ended: Box::pin(ended.cancelled_owned()),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if this.ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(Error::ConnectionTerminated)));
        }
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(frame) => {
                if let Some((pause, timer)) = &mut this.between {
                    timer.set(sleep(*pause));
                }
                Poll::Ready(frame.map(|frame| frame.map_err(|error| broken(&*error, this.limit))))
            }
            Poll::Pending => {
                let timer = this.between.as_mut().map(|(_, timer)| timer.as_mut());
                if timer.is_some_and(|timer| timer.poll(context).is_ready()) {
                    return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn broken(error: &(dyn std::error::Error + 'static), limit: usize) -> Error {
    if found::<LengthLimitError>(error).is_some() {
        return Error::HttpResponseBodySize(u64::try_from(limit).ok());
    }
    Error::HttpResponseIncomplete
}
