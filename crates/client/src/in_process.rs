//! Calls on a server in this process.
//!
//! They are the calls that a connection would carry: the same messages, encoded by the same codec, with the same headers and statuses,
//! through whatever stands before the services. Only the connection is left out: a body is a stream in memory and not cut into
//! HTTP/2 frames and put together again, which was a third of what a line of output cost on its way through a command
//! (`docs/design/in-process.md`).
//!
//! The server's side of each call runs as a task of its own, as it would behind a connection, until it has heard all that the client
//! has to say: so either side may wait for the other. What is left then is made by whoever reads it. A client that goes away takes the
//! call with it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
        let asked = Asked::default();
        let note = asked.clone();
        let request = request.map(|body| Body::new(Question { body, asked: note }));
        self.tasks.spawn(async move {
            answer(services.call(request), asked, head).await;
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
    asked: Asked,
    mut head: oneshot::Sender<Response<Body>>,
) {
    let Ok(response) = tokio::select! {
        biased;
        response = answering => response,
        () = head.closed() => return,
    };
    let (parts, mut body) = response.into_parts();
    // An answer may be all in its head.
    let is_complete = parts.headers.contains_key(Status::GRPC_STATUS);
    let answered = |source| {
        let frames = Frames {
            source,
            is_complete,
        };
        Response::from_parts(parts, Body::new(frames))
    };
    if asked.is_over() {
        drop(head.send(answered(Source::Body(body))));
        return;
    }
    let (frames, waiting) = mpsc::channel(FRAMES);
    if head.send(answered(Source::Task(waiting))).is_err() {
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

/// Whether the server has heard all that the client has to say in a call.
#[derive(Debug, Clone, Default)]
struct Asked(Arc<AtomicBool>);

impl Asked {
    fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request's body, which notes its end.
struct Question {
    body: Body,
    asked: Asked,
}

impl http_body::Body for Question {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() {
            self.asked.0.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }
}

/// An answer's body.
struct Frames {
    source: Source,
    /// The server has said how the call ended. A body that ends without was cut off.
    is_complete: bool,
}

/// Where an answer's frames come from.
enum Source {
    Body(Body),
    Task(mpsc::Receiver<Result<Frame<Bytes>, Status>>),
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(match &mut self.source {
            Source::Body(body) => Pin::new(body).poll_frame(cx),
            Source::Task(waiting) => waiting.poll_recv(cx),
        });
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
    async fn an_answer_to_one_who_has_said_all_is_made_as_it_is_read() {
        let tasks = TaskTracker::new();
        let (alive, gone) = oneshot::channel::<()>();
        let made = Arc::new(AtomicUsize::new(0));
        let (alive, counter) = (Arc::new(alive), made.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (alive, counter) = (alive.clone(), counter.clone());
            async move {
                let asked = request.into_body().collect().await.unwrap().to_bytes();
                let pieces = tokio_stream::iter(0..10).map(move |_| {
                    counter.fetch_add(1, Ordering::Relaxed);
                    let _alive = &alive;
                    Ok::<_, Status>(Frame::data(asked.clone()))
                });
                Ok::<_, Infallible>(Response::new(Body::new(StreamBody::new(pieces))))
            }
        });
        let calls = InProcess::new(service, tasks.clone());
        let question = Body::new(StreamBody::new(tokio_stream::once(data(b"piece"))));
        let mut answer = calls
            .call(Request::new(question))
            .await
            .unwrap()
            .into_body();
        tasks.close();
        tasks.wait().await;
        assert_eq!(made.load(Ordering::Relaxed), 0);
        let frame = answer.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "piece");
        assert_eq!(made.load(Ordering::Relaxed), 1);
        drop((answer, calls));
        assert!(gone.await.is_err(), "it goes with its reader");
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
