//! Limits on the size and duration of responses, as a layer around kube's client, which has none for bodies.
//!
//! kube buffers a whole list, and a whole line of a watch, of any length; it waits without limit for a response to begin; it
//! restarts a watch without a pause, even if the watch ended at once; and it does not check a watch's status. This layer turns
//! each of these into an error, except for the restarts, which it paces.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use hyper::{Request, Response};
use kube::client::Body;
use tokio::time::{Instant, Sleep};
use tower::{BoxError, Layer, Service};

use super::health::WatchHealth;
use super::response_error::ResponseError;

/// Limits on the responses of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseLimits {
    /// Longest time until a response begins.
    pub response_timeout: Duration,
    /// Longest time from there to the end of a list.
    pub list_timeout: Duration,
    /// Shortest interval between the starts of two watches.
    pub watch_interval: Duration,
    /// Longest list or page in bytes. kube holds it twice while decoding; a longer list is requested in pages.
    pub max_list_bytes: usize,
    /// Longest line of a watch in bytes; etcd accepts objects of up to 1.5 MiB by default.
    pub max_line_bytes: usize,
}

impl Default for ResponseLimits {
    fn default() -> Self {
        Self {
            response_timeout: Duration::from_secs(30),
            list_timeout: Duration::from_secs(60),
            watch_interval: Duration::from_secs(1),
            max_list_bytes: 16 << 20,
            max_line_bytes: 4 << 20,
        }
    }
}

/// The layer around the client of one watch.
#[derive(Clone, Debug)]
pub struct LimitLayer {
    /// The limits.
    pub limits: ResponseLimits,
    /// Notified when a watch has been accepted.
    pub health: Arc<WatchHealth>,
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, layer: self.clone(), last_watch: Arc::default() }
    }
}

/// A client with limited responses.
#[derive(Debug)]
pub struct Limited<S> {
    inner: S,
    layer: LimitLayer,
    /// When the last watch started.
    last_watch: Arc<Mutex<Option<Instant>>>,
}

type ResponseFuture<B> = Pin<Box<dyn Future<Output = Result<Response<LimitedBody<B>>, BoxError>> + Send>>;

impl<S, B> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Send + 'static,
{
    type Response = Response<LimitedBody<B>>;
    type Error = BoxError;
    type Future = ResponseFuture<B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> ResponseFuture<B> {
        let watch = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        // The request is sent when the future is first polled.
        let response = self.inner.call(request);
        let (layer, last_watch) = (self.layer.clone(), Arc::clone(&self.last_watch));
        Box::pin(async move {
            let LimitLayer { limits, health } = layer;
            if watch {
                tokio::time::sleep_until(reserve_start(&last_watch, limits.watch_interval)).await;
            }
            let response = tokio::time::timeout(limits.response_timeout, response).await;
            let response =
                response.map_err(|_| ResponseError::Timeout(limits.response_timeout))?.map_err(Into::into)?;
            if !response.status().is_success() {
                return Err(ResponseError::Status(response.status().as_u16()).into());
            }
            if watch {
                health.watch_accepted(Instant::now().into_std());
            }
            Ok(response.map(|body| LimitedBody::new(body, watch, &limits)))
        })
    }
}

/// Reserves the next start of a watch and returns its time.
fn reserve_start(last: &Mutex<Option<Instant>>, interval: Duration) -> Instant {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let at = last.map_or(now, |last| now.max(last + interval));
    *last = Some(at);
    at
}

/// A body that fails when it exceeds its limits.
#[derive(Debug)]
pub struct LimitedBody<B> {
    inner: B,
    max_bytes: usize,
    /// Bytes since the start of the body, or of the current line.
    bytes: usize,
    /// Whether the limit applies to each line.
    by_line: bool,
    /// When the body must have ended, and the timeout for the error.
    deadline: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl<B> LimitedBody<B> {
    fn new(inner: B, by_line: bool, limits: &ResponseLimits) -> Self {
        let max_bytes = if by_line { limits.max_line_bytes } else { limits.max_list_bytes };
        // kube itself ends a watch that has become silent.
        let deadline = (!by_line).then(|| (Box::pin(tokio::time::sleep(limits.list_timeout)), limits.list_timeout));
        Self { inner, max_bytes, bytes: 0, by_line, deadline }
    }

    fn count(&mut self, data: &Bytes) -> Result<(), ResponseError> {
        for piece in data.split_inclusive(|byte| self.by_line && *byte == b'\n') {
            self.bytes += piece.len();
            if self.bytes > self.max_bytes {
                return Err(ResponseError::TooLong(self.max_bytes));
            }
            if self.by_line && piece.ends_with(b"\n") {
                self.bytes = 0;
            }
        }
        Ok(())
    }
}

impl<B> HttpBody for LimitedBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some((deadline, timeout)) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Some(Err(ResponseError::ListTimeout(*timeout).into())));
        }
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        let within = frame.data_ref().map_or(Ok(()), |data| self.count(data));
        Poll::Ready(Some(within.map(|()| frame).map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
