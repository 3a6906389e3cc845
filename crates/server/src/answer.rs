//! What happens around a call that came over a socket: its answer ends when the server does, and it is logged.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::access::Call;
use crate::access_log::{AccessLog, Entry};
use crate::audit::Audit;
use crate::in_flight::Arriving;
use crate::metrics::{Done, Metrics};
use crate::oversize;
use crate::problem::Problem;
use crate::quotas::Stream;

/// The one whose last word is that the server stops.
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// The one that has to tell what became of what it was sent, and ends by itself once the server stops.
const INGEST: &str = "/legwork.v1.RecordService/Ingest";

/// The methods whose answers go on until somebody ends them.
pub(crate) const STREAMS: &[&str] = &[
    "/legwork.v1.JobService/Run",
    "/legwork.v1.JobService/Logs",
    "/legwork.v1.JobService/Input",
    "/legwork.v1.SyncService/Commit",
    "/legwork.v1.SyncService/Pull",
    INGEST,
    "/legwork.v1.RecordService/Tail",
    "/legwork.v1.RecordService/At",
    WATCH,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];

/// What the answers of a connection obey, and where they are logged and counted.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub(crate) draining: CancellationToken,
    pub(crate) log: Option<AccessLog>,
    pub(crate) metrics: Option<Metrics>,
    pub(crate) audit: Option<Audit>,
}

impl Watched {
    pub(crate) fn begin(
        self,
        path: String,
        call: Arc<Call>,
        stream: Option<Stream>,
        incoming: Option<Arriving>,
    ) -> Watch {
        if let Some(metrics) = &self.metrics {
            metrics.begin(&path);
        }
        Watch {
            watched: self,
            path,
            call,
            began: Instant::now(),
            received: Arc::default(),
            sent: 0,
            code: None,
            reason: String::new(),
            begun: false,
            stream,
            incoming: Arc::new(Mutex::new(incoming)),
            over: false,
        }
    }
}

/// One call under way. Its end, or at the latest its drop, logs and counts it.
#[derive(Debug)]
pub(crate) struct Watch {
    watched: Watched,
    path: String,
    call: Arc<Call>,
    began: Instant,
    received: Arc<AtomicU64>,
    sent: u64,
    code: Option<Code>,
    /// Why it was refused, if somebody wants to know.
    reason: String,
    /// Something was answered.
    begun: bool,
    /// Its place among the streams of its caller.
    stream: Option<Stream>,
    /// What it has in memory of what it was sent, if that is counted.
    incoming: Arc<Mutex<Option<Arriving>>>,
    over: bool,
}

impl Watch {
    /// The same request, counting its bytes.
    pub(crate) fn count(&self, request: http::Request<Body>) -> http::Request<Counted> {
        request.map(|inner| Counted {
            inner,
            bytes: Arc::clone(&self.received),
            incoming: Arc::clone(&self.incoming),
        })
    }

    fn see(&mut self, headers: &http::HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.code = Some(status.code());
            if status.code() != Code::Ok && self.watched.audit.is_some() {
                let told = status.get_details_error_info();
                self.reason = told.map(|told| told.reason).unwrap_or_default();
            }
        }
    }

    /// The first piece of an answer is on its way.
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true)
            && let Some(audit) = &self.watched.audit
        {
            audit.begun(&self.call, &self.path);
        }
    }

    /// To be called before the caller can see the end: whoever has seen it finds the call counted and its place free.
    fn end(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        self.stream = None;
        drop(lock(&self.incoming).take());
        let done = Done {
            // Nobody was there any more to be told.
            code: self.code.unwrap_or(Code::Cancelled),
            took: self.began.elapsed(),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent,
        };
        if let Some(metrics) = &self.watched.metrics {
            metrics.end(&self.path, done);
        }
        if let Some(audit) = &self.watched.audit {
            audit.ended(&self.call, &self.path, done, &self.reason);
        }
        if let Some(log) = &self.watched.log {
            log.write(&Entry {
                call: &self.call,
                method: &self.path,
                done,
            });
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

/// A request's body that is counted.
#[derive(Debug)]
pub(crate) struct Counted {
    inner: Body,
    bytes: Arc<AtomicU64>,
    incoming: Arc<Mutex<Option<Arriving>>>,
}

fn lock(incoming: &Mutex<Option<Arriving>>) -> MutexGuard<'_, Option<Arriving>> {
    incoming.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
            let taken = lock(&self.incoming)
                .as_mut()
                .map(|incoming| incoming.take(data));
            if let Some(Err(problem)) = taken {
                return Poll::Ready(Some(Err(problem.into())));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body: the service's own, until the server stops.
pub(crate) struct Answer {
    inner: Option<Body>,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Whether something may still be said after the stop.
    last_word: bool,
    watch: Watch,
}

impl Answer {
    pub(crate) fn wrap(mut answer: http::Response<Body>, mut watch: Watch) -> http::Response<Body> {
        oversize::reword(answer.headers_mut());
        watch.see(answer.headers());
        if answer.body().is_end_stream() {
            watch.end();
        }
        let endless = STREAMS.contains(&watch.path.as_str());
        let stop = (endless && watch.path != INGEST)
            .then(|| Box::pin(watch.watched.draining.clone().cancelled_owned()));
        let last_word = watch.path == WATCH;
        answer.map(|inner| {
            Body::new(Self {
                inner: Some(inner),
                stop,
                last_word,
                watch,
            })
        })
    }

    /// Lets go of all that the call had, before its last word is on its way.
    fn end(&mut self) {
        self.inner = None;
        self.watch.end();
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        if let Some(stop) = &mut this.stop
            && stop.as_mut().poll(cx).is_ready()
        {
            if std::mem::take(&mut this.last_word)
                && let Poll::Ready(Some(Ok(frame))) = Pin::new(inner).poll_frame(cx)
                && let Ok(data) = frame.into_data()
            {
                this.watch.sent += data.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            this.watch.code = Some(Code::Unavailable);
            this.end();
            return Poll::Ready(Some(Ok(Frame::trailers(farewell()))));
        }
        let mut polled = Pin::new(inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled {
            if let Some(data) = frame.data_ref() {
                this.watch.sent += data.len() as u64;
                this.watch.begin();
            } else if let Some(trailers) = frame.trailers_mut() {
                oversize::reword(trailers);
                this.watch.see(trailers);
                this.end();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// How a stream ends that the server cuts off: the client may go on elsewhere, or later.
fn farewell() -> http::HeaderMap {
    let message = "the server is shutting down: go on when it is back";
    let status = Status::from(Problem::new(Code::Unavailable, "SHUTTING_DOWN", message));
    let mut trailers = http::HeaderMap::new();
    if let Err(unwritten) = status.add_header(&mut trailers) {
        // Its own words cannot be a header's: the number is what counts.
        drop(unwritten);
        trailers.insert("grpc-status", http::HeaderValue::from_static("14"));
    }
    trailers
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};
    use prost::Message;
    use tokio_util::sync::CancellationToken;
    use tonic::Status;
    use tonic::body::Body;
    use uuid::Uuid;

    use super::{Answer, STREAMS, Watched};
    use crate::access::Call;
    use crate::quotas::{Quotas, Usage};

    /// A body of these frames, whose caller may have one stream, answering a call of this method.
    fn answer(usage: &Usage, frames: Vec<Frame<Bytes>>) -> Body {
        let watched = Watched {
            draining: CancellationToken::new(),
            log: None,
            metrics: None,
            audit: None,
        };
        let call = Arc::new(Call::new(None, None));
        let stream = usage.stream(Uuid::nil()).unwrap();
        let watch = watched.begin(STREAMS[0].to_owned(), call, Some(stream), None);
        let frames = frames.into_iter().map(Ok::<_, Status>);
        let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
        Answer::wrap(http::Response::new(body), watch).into_body()
    }

    #[tokio::test]
    async fn who_has_seen_the_end_of_a_stream_may_have_another() {
        let usage = Usage::default();
        usage.limit(Quotas {
            streams: 1,
            ..Quotas::default()
        });
        let another = || usage.stream(Uuid::nil());
        let data = Frame::data(Bytes::from_static(b"x"));
        let mut ended = answer(&usage, vec![data, Frame::trailers(http::HeaderMap::new())]);
        assert!(ended.frame().await.unwrap().unwrap().is_data());
        assert!(another().is_err());
        assert!(ended.frame().await.unwrap().unwrap().is_trailers());
        drop(another().unwrap());
        drop(ended);
        // One that nobody reads to its end is over when it is let go of.
        drop(answer(&usage, Vec::new()));
        drop(another().unwrap());
    }

    #[test]
    fn the_streams_are_those_of_the_services() {
        let sets = [
            legwork_proto::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ];
        let mut found = Vec::new();
        for set in sets {
            for file in prost_types::FileDescriptorSet::decode(set).unwrap().file {
                for service in &file.service {
                    let streams = service.method.iter().filter(|m| m.server_streaming());
                    let prefix = format!("/{}.{}", file.package(), service.name());
                    found.extend(streams.map(|method| format!("{prefix}/{}", method.name())));
                }
            }
        }
        found.sort_unstable();
        let mut listed = STREAMS.to_vec();
        listed.sort_unstable();
        assert_eq!(found, listed);
    }
}
