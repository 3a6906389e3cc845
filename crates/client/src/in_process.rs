//! Calls on a server in this process.
//!
//! They are the calls that a connection would carry: the same messages, encoded by the same codec, with the same headers and statuses,
//! through whatever stands before the services. Only the connection is left out: a body is a stream in memory and not cut into
//! HTTP/2 frames and put together again, which was a third of what a line of output cost on its way through a command
//! (`docs/design/in-process.md`).
//!
//! The server's side of each call runs as a task of its own, as it would behind a connection. So either side may wait for the other, and a
//! client that goes away takes the call with it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tower::Service;
use tower::util::BoxCloneSyncService;

use crate::connect::Answering;

/// Frames of an answer that may wait for the client, beside the one that the server is at.
const FRAMES: usize = 1;

/// The services of a server, as one principal reaches them.
type Services = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// A way to them. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct InProcess {
    services: Services,
    tasks: TaskTracker,
}

impl InProcess {
    /// The server's side of calls runs on `tasks`.
    pub(crate) fn new<S>(services: S, tasks: TaskTracker) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let services = BoxCloneSyncService::new(services);
        Self { services, tasks }
    }

    /// Makes one call.
    pub(crate) fn call(&self, request: Request<Body>) -> Answering {
        let mut services = self.services.clone();
        let (head, answered) = oneshot::channel();
        self.tasks.spawn(async move {
            answer(services.call(request), head).await;
        });
        Box::pin(async move {
            // Only a panic, or the end of the runtime, leaves a call without an answer.
            answered
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof).into())
        })
    }
}

/// The server's side of one call, for as long as the client wants to hear of it.
async fn answer(
    answering: impl Future<Output = Result<Response<Body>, Infallible>>,
    mut head: oneshot::Sender<Response<Body>>,
) {
    let Ok(response) = tokio::select! {
        biased;
        response = answering => response,
        () = head.closed() => return,
    };
    let (parts, mut body) = response.into_parts();
    let (frames, waiting) = mpsc::channel(FRAMES);
    let frames_of_answer = Frames {
        waiting,
        // An answer may be all in its head.
        is_complete: parts.headers.contains_key(Status::GRPC_STATUS),
    };
    let answered = Response::from_parts(parts, Body::new(frames_of_answer));
    if head.send(answered).is_err() {
        return;
    }
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = frames.closed() => return,
        };
        let Some(frame) = frame else {
            return;
        };
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

/// An answer's body.
struct Frames {
    waiting: mpsc::Receiver<Result<Frame<Bytes>, Status>>,
    /// The server has said how the call ended. A body that ends without was cut off.
    is_complete: bool,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(self.waiting.poll_recv(cx));
        if let Some(Ok(frame)) = &frame {
            self.is_complete |= frame.is_trailers();
        }
        let is_cut_off = frame.is_none() && !std::mem::replace(&mut self.is_complete, true);
        Poll::Ready(if is_cut_off {
            Some(Err(Status::unavailable(
                "the server's side of the call broke down",
            )))
        } else {
            frame
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::{mpsc, oneshot};
    use tokio_stream::StreamExt;
    use tokio_stream::wrappers::ReceiverStream;
    use tokio_util::task::TaskTracker;
    use tonic::Status;
    use tonic::body::Body;

    use super::InProcess;

    fn data(bytes: &'static [u8]) -> Result<Frame<Bytes>, Status> {
        Ok(Frame::data(Bytes::from_static(bytes)))
    }

    fn trailers() -> Result<Frame<Bytes>, Status> {
        Ok(Frame::trailers(http::HeaderMap::new()))
    }

    /// A service that gives back what it is sent, piece by piece.
    fn echo(tasks: &TaskTracker) -> InProcess {
        let service = tower::service_fn(|request: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(request.into_body()))
        });
        InProcess::new(service, tasks.clone())
    }

    #[tokio::test]
    async fn either_side_may_wait_for_the_other() {
        let tasks = TaskTracker::new();
        let (says, hears) = mpsc::channel(1);
        let request = Request::new(Body::new(StreamBody::new(ReceiverStream::new(hears))));
        let mut answer = echo(&tasks).call(request).await.unwrap().into_body();
        for _ in 0..3 {
            says.send(data(b"word")).await.unwrap();
            let frame = answer.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), "word");
        }
        says.send(trailers()).await.unwrap();
        drop(says);
        assert!(answer.frame().await.unwrap().unwrap().is_trailers());
        assert!(answer.frame().await.is_none());
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn a_server_is_held_up_by_a_client_that_does_not_read() {
        let tasks = TaskTracker::new();
        let made = Arc::new(AtomicUsize::new(0));
        let counter = made.clone();
        let pieces = tokio_stream::iter(0..100).map(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            data(b"piece")
        });
        let pieces = pieces.chain(tokio_stream::once(trailers()));
        let request = Request::new(Body::new(StreamBody::new(pieces)));
        let answer = echo(&tasks).call(request).await.unwrap().into_body();
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        assert_eq!(made.load(Ordering::Relaxed), 2);
        assert_eq!(answer.collect().await.unwrap().to_bytes().len(), 500);
    }

    #[tokio::test]
    async fn a_call_ends_with_its_client() {
        let tasks = TaskTracker::new();
        let (alive, mut gone) = oneshot::channel::<()>();
        let alive = Arc::new(std::sync::Mutex::new(Some(alive)));
        let service = tower::service_fn(move |_: Request<Body>| {
            let alive = alive.lock().unwrap().take();
            async move {
                let _alive = alive;
                std::future::pending::<Result<Response<Body>, Infallible>>().await
            }
        });
        let calls = InProcess::new(service, tasks.clone());
        let mut call = calls.call(Request::new(Body::empty()));
        tokio::select! {
            biased;
            _ = &mut call => unreachable!(),
            () = tokio::task::yield_now() => {}
        }
        assert!(gone.try_recv().is_err());
        drop(call);
        assert!(gone.await.is_err());
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_is_an_error_and_one_that_is_all_head_is_not() {
        let pieces = || StreamBody::new(tokio_stream::once(data(b"piece")));
        let call = echo(&TaskTracker::new()).call(Request::new(Body::new(pieces())));
        let mut answer = call.await.unwrap().into_body();
        assert!(answer.frame().await.unwrap().is_ok());
        assert!(answer.frame().await.unwrap().is_err());
        assert!(answer.frame().await.is_none());

        let service = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Status::not_found("no such thing").into_http::<Body>())
        });
        let calls = InProcess::new(service, TaskTracker::new());
        let answer = calls.call(Request::new(Body::empty())).await.unwrap();
        assert!(answer.into_body().frame().await.is_none());
    }

    #[tokio::test]
    async fn a_server_that_panics_is_an_error() {
        let tasks = TaskTracker::new();
        let service = tower::service_fn(|_: Request<Body>| async { broken() });
        let calls = InProcess::new(service, tasks);
        let error = calls.call(Request::new(Body::empty())).await.unwrap_err();
        assert!(error.downcast_ref::<std::io::Error>().is_some());
    }

    fn broken() -> Result<Response<Body>, Infallible> {
        panic!("as a test has it");
    }
}
