//! The standard door for logs: `LogsService` of OpenTelemetry, so that its SDKs and the Collector can send without an adapter.
//!
//! `request` takes a request apart, `record` and `value` make JSON of it (and OTLP of JSON), and each record then goes the way of those that
//! `RecordService` takes: the same checks, limits, stamps and log, and the same promise with the answer. What differs is what the
//! protocol has no word for: batches have no numbers, so one that is sent again is written again; of the records that were refused, only their number and a
//! text come back. See `docs/design/otlp.md`.
//!
//! The method is served by hand and not by the generated trait, for that decodes a whole message before anybody can say how large it becomes,
//! and answers what is malformed with codes that make senders try for ever.

mod answer;
pub(crate) mod back;
mod record;
mod request;
mod value;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use legwork_proto::opentelemetry::proto::collector::logs::v1::ExportLogsServiceResponse;
use legwork_proto::v1 as wire;
use legwork_records::{Clock, SystemClock};
use prost::Message;
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{ClientStreamingService, Grpc, NamedService};
use tonic::{Code, Response, Status, Streaming};
use tower::Service;
use wire::ingest_response::Message::{Ack, Refusal};

use self::answer::Outcome;
use self::request::{Bounds, Chunk, Request};
use crate::access::Call;
use crate::problem::Problem;
use crate::records::ingest::Session;
use crate::server::Shared;
use crate::workspaces::blocking;

const SERVICE: &str = "opentelemetry.proto.collector.logs.v1.LogsService";
const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// Where a request may say which stream it is for.
const STREAM: &str = "legwork-stream";
/// Bytes of a request, unpacked: what the protocol wants a server to take.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// How long a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);
/// Bytes of JSON that are made and handed to the log at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// A larger request is taken apart on a thread for such work.
const INLINE_MAX: usize = 64 << 10;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct LogsService(pub(crate) Arc<Shared>);

impl NamedService for LogsService {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for LogsService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != EXPORT {
            let unknown = Status::unimplemented("no such method").into_http();
            return Box::pin(std::future::ready(Ok(unknown)));
        }
        let export = Export(Arc::clone(&self.0));
        Box::pin(async move {
            let mut grpc = Grpc::new(Plain)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(REQUEST_BYTES_MAX);
            Ok(grpc.client_streaming(export, request).await)
        })
    }
}

/// Messages as they came, and answers as they are usual.
#[derive(Debug, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = ExportLogsServiceResponse;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = ExportLogsServiceResponse;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let encoded = item.encode(to);
        encoded.map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// The one method. It has one message, and is served as if there could be more, because what is wrong with the message is then ours to tell.
struct Export(Arc<Shared>);

impl ClientStreamingService<Bytes> for Export {
    type Response = ExportLogsServiceResponse;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Self::Response>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let outcome = export(shared, request).await?;
            Ok(Response::new(outcome.into_response()))
        })
    }
}

async fn export(
    shared: Arc<Shared>,
    request: tonic::Request<Streaming<Bytes>>,
) -> Result<Outcome, Status> {
    let call = Call::of(&request)?;
    let stream = stream(&shared, &request)?;
    call.about(&stream);
    let open = wire::IngestOpen {
        stream,
        ..wire::IngestOpen::default()
    };
    // Before the request is read: whoever has as many calls as it may have is not listened to.
    let session = Session::open(shared, call.principal()?, open).await;
    let mut session = session.map_err(answer::problem)?;
    let mut messages = request.into_inner();
    let message = match tokio::time::timeout(ARRIVAL, messages.message()).await {
        Ok(Ok(message)) => message.unwrap_or_default(),
        Ok(Err(status)) => return Err(answer::unreadable(status)),
        Err(_late) => {
            let message = "the request did not arrive in time";
            return Err(Problem::new(Code::DeadlineExceeded, "TOO_SLOW", message).into());
        }
    };
    let large = message.len() > INLINE_MAX;
    let mut request = if large {
        blocking(move || Request::new(message))
            .await
            .map_err(answer::problem)?
    } else {
        Request::new(message)
    }
    .map_err(|bad| answer::bad(&bad))?;
    // Once for all of it: a request that is let through in part would be sent again from its start, and again.
    session.throttle().map_err(answer::throttled)?;
    let bounds = bounds(&session);
    let mut outcome = Outcome::new(request.records());
    loop {
        let chunk = if large {
            let (left, chunk) = blocking(move || {
                let chunk = request.chunk(bounds);
                (request, chunk)
            })
            .await
            .map_err(answer::problem)?;
            request = left;
            chunk
        } else {
            request.chunk(bounds)
        };
        let Some(chunk) = chunk else {
            return Ok(outcome);
        };
        append(&mut session, chunk, &mut outcome).await?;
    }
}

/// The stream that a request is for.
fn stream<T>(shared: &Shared, request: &tonic::Request<T>) -> Result<String, Problem> {
    let Some(named) = request.metadata().get(STREAM) else {
        return Ok(shared.records.streams.rules.otlp_stream.clone());
    };
    // What names there may be is checked where all streams are opened.
    let named = std::str::from_utf8(named.as_bytes());
    named
        .map(str::to_owned)
        .map_err(|_| Problem::malformed("the metadata legwork-stream is not UTF-8"))
}

fn bounds(session: &Session) -> Bounds {
    let limits = session.limits();
    let chunk_bytes = limits.batch_bytes.saturating_sub(limits.record_bytes + 1);
    Bounds {
        record_bytes: limits.record_bytes,
        chunk_bytes: chunk_bytes.clamp(1, CHUNK_BYTES),
        chunk_records: limits.batch_records.max(1),
        now: SystemClock.now().as_micros().unsigned_abs(),
    }
}

/// Hands a chunk to the log, and notes what became of it.
async fn append(session: &mut Session, chunk: Chunk, outcome: &mut Outcome) -> Result<(), Status> {
    for (place, why) in chunk.refused {
        session.count_rejected(why.split(':').next().unwrap_or_default());
        outcome.refuse(place, &why);
    }
    if chunk.places.is_empty() {
        return Ok(());
    }
    let appended = session.append(chunk.json.into(), chunk.observed).await;
    match appended.map_err(answer::problem)? {
        Ack(ack) => {
            for told in &ack.rejections {
                let place = chunk.places.get(told.index as usize).copied();
                let why = format!("{} {}: {}", told.reason, told.field, told.message);
                outcome.refuse(place.unwrap_or_default(), &why);
            }
            outcome.refuse_more(ack.rejected.saturating_sub(ack.rejections.len() as u64));
            Ok(())
        }
        Refusal(refusal) if refusal.retry_after_ms.is_none() => {
            let why = format!("{}: {}", refusal.reason, refusal.message);
            for place in chunk.places {
                outcome.refuse(place, &why);
            }
            Ok(())
        }
        Refusal(refusal) => Err(answer::refusal(refusal)),
        _ => Err(Problem::new(Code::Internal, "NO_ANSWER", "the log did not answer").into()),
    }
}
