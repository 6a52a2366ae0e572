//! Bounds on what the API sends, and on how long it takes: kube's client has none of its own for bodies.
//!
//! kube buffers a whole list, and a whole line of a watch, however long; it waits for an answer's head without end; it
//! asks again at once where watches end at once; and it does not look at a watch's status. Here all that ends in an error.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use hyper::{Request, Response};
use kube::client::Body;
use tokio::time::{Instant, Sleep};
use tower::{BoxError, Layer, Service};

use super::health::Condition;

/// What is taken of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until an answer begins.
    pub answer: Duration,
    /// From there to the end of a list.
    pub list: Duration,
    /// Between the beginnings of two watches.
    pub pace: Duration,
    /// Longest list, or page of it (bytes). kube holds it twice while it reads it; a longer list is asked for in pages.
    pub list_bytes: usize,
    /// Longest line of a watch (bytes); etcd takes objects up to 1.5 MiB by default.
    pub line_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            list: Duration::from_secs(60),
            pace: Duration::from_secs(1),
            list_bytes: 16 << 20,
            line_bytes: 4 << 20,
        }
    }
}

/// Why an answer was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a success.
    #[error("answered with status {0}")]
    Status(u16),
    /// Nothing came.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// The list did not end.
    #[error("a list did not end within {0:?}")]
    Slow(Duration),
    /// Too much.
    #[error("more than {0} bytes in one piece")]
    TooLong(usize),
}

/// Wraps the client of one watch.
#[derive(Clone, Debug)]
pub struct Guard {
    /// What is taken.
    pub limits: Limits,
    /// Told of watches that are answered.
    pub condition: Arc<Condition>,
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, guard: self.clone(), last: Arc::default() }
    }
}

/// A client within bounds.
#[derive(Debug)]
pub struct Guarded<S> {
    inner: S,
    guard: Guard,
    /// When the last watch began.
    last: Arc<Mutex<Option<Instant>>>,
}

type Answer<B> = Pin<Box<dyn Future<Output = Result<Response<Bounded<B>>, BoxError>> + Send>>;

impl<S, B> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Send + 'static,
{
    type Response = Response<Bounded<B>>;
    type Error = BoxError;
    type Future = Answer<B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Answer<B> {
        let watch = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        // It begins when it is polled first.
        let answer = self.inner.call(request);
        let (guard, last) = (self.guard.clone(), Arc::clone(&self.last));
        Box::pin(async move {
            let Guard { limits, condition } = guard;
            if watch {
                tokio::time::sleep_until(turn(&last, limits.pace)).await;
            }
            let answer = tokio::time::timeout(limits.answer, answer).await;
            let response = answer.map_err(|_| Refusal::Silent(limits.answer))?.map_err(Into::into)?;
            if !response.status().is_success() {
                return Err(Refusal::Status(response.status().as_u16()).into());
            }
            if watch {
                condition.answered(Instant::now().into_std());
            }
            Ok(response.map(|body| Bounded::new(body, watch, &limits)))
        })
    }
}

/// When the next watch may begin; takes that turn.
fn turn(last: &Mutex<Option<Instant>>, pace: Duration) -> Instant {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let at = last.map_or(now, |last| now.max(last + pace));
    *last = Some(at);
    at
}

/// A body that ends with an error rather than go beyond its bounds.
#[derive(Debug)]
pub struct Bounded<B> {
    inner: B,
    most: usize,
    /// Since the beginning, or since the last end of a line.
    taken: usize,
    by_line: bool,
    /// When it must have ended, and how long that is.
    end: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl<B> Bounded<B> {
    fn new(inner: B, by_line: bool, limits: &Limits) -> Self {
        let most = if by_line { limits.line_bytes } else { limits.list_bytes };
        // A watch that falls silent is ended by kube.
        let end = (!by_line).then(|| (Box::pin(tokio::time::sleep(limits.list)), limits.list));
        Self { inner, most, taken: 0, by_line, end }
    }

    fn take(&mut self, bytes: &Bytes) -> Result<(), Refusal> {
        for piece in bytes.split_inclusive(|byte| self.by_line && *byte == b'\n') {
            self.taken += piece.len();
            if self.taken > self.most {
                return Err(Refusal::TooLong(self.most));
            }
            if self.by_line && piece.ends_with(b"\n") {
                self.taken = 0;
            }
        }
        Ok(())
    }
}

impl<B> HttpBody for Bounded<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some((end, after)) = &mut self.end
            && end.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Some(Err(Refusal::Slow(*after).into())));
        }
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        let within = frame.data_ref().map_or(Ok(()), |bytes| self.take(bytes));
        Poll::Ready(Some(within.map(|()| frame).map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
