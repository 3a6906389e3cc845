//! Requests that are taken apart, good ones and such as take much.

use bytes::Bytes;
use legwork_proto::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use legwork_proto::opentelemetry::proto::common::v1::any_value::Value;
use legwork_proto::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use legwork_proto::opentelemetry::proto::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use legwork_proto::opentelemetry::proto::resource::v1::Resource;
use prost::Message;

use super::{Bad, Bounds, Chunk, EXPANDED_MAX, Request};

const BOUNDS: Bounds = Bounds {
    record_bytes: 1 << 10,
    chunk_bytes: 1 << 20,
    chunk_records: 1000,
    now: 77,
};

fn said(text: &str) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(text.to_owned())),
    }
}

fn record(text: &str) -> LogRecord {
    LogRecord {
        time_unix_nano: 1_700_000_000_123_456_789,
        severity_number: 9,
        body: Some(said(text)),
        ..LogRecord::default()
    }
}

fn request(records: Vec<LogRecord>, service: &str) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: vec![KeyValue {
                    key: "service.name".to_owned(),
                    value: Some(said(service)),
                }],
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs {
                scope: Some(InstrumentationScope {
                    name: "app".to_owned(),
                    ..InstrumentationScope::default()
                }),
                log_records: records,
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}

fn chunks(message: Bytes, bounds: Bounds) -> Result<Vec<Chunk>, Bad> {
    let mut request = Request::new(message)?;
    Ok(std::iter::from_fn(|| request.chunk(bounds)).collect())
}

#[test]
fn a_record_tells_its_resource_and_scope() {
    let message = request(vec![record("hello")], "web").encode_to_vec();
    let chunks = chunks(message.into(), BOUNDS).unwrap();
    let [chunk] = chunks.as_slice() else {
        unreachable!("{chunks:?}")
    };
    let wanted = concat!(
        r#"{"otlp":1,"time":"2023-11-14T22:13:20.123456789Z","severity_number":9,"body":"hello","#,
        r#""scope":{"name":"app"},"resource":{"attributes":{"service.name":"web"}}}"#,
        "\n"
    );
    assert_eq!(String::from_utf8_lossy(&chunk.json), wanted);
    assert_eq!(chunk.observed, [1_700_000_000_123_456]);
}

#[test]
fn a_record_that_is_bad_costs_its_neighbours_nothing() {
    let large = "x".repeat(2 << 10);
    let records = vec![record("a"), record("\u{1}?"), record(&large), record("b")];
    let mut message = request(records, "web").encode_to_vec();
    let at = message.windows(2).position(|two| two == b"\x01?").unwrap();
    message[at] = 0xff;
    let chunks = chunks(message.into(), BOUNDS).unwrap();
    let [chunk] = chunks.as_slice() else {
        unreachable!("{chunks:?}")
    };
    assert_eq!(chunk.places, [0, 3]);
    let refused: Vec<_> = chunk
        .refused
        .iter()
        .map(|(at, why)| (*at, &why[..9]))
        .collect();
    assert_eq!(refused, [(1, "BAD_ENCOD"), (2, "TOO_LARGE")]);
}

#[test]
fn chunks_are_bounded_and_nothing_is_left_out() {
    let records = (0..25).map(|n| record(&n.to_string())).collect();
    let message: Bytes = request(records, "web").encode_to_vec().into();
    let few = Bounds {
        chunk_records: 10,
        ..BOUNDS
    };
    let places: Vec<Vec<u32>> = chunks(message.clone(), few)
        .unwrap()
        .into_iter()
        .map(|chunk| chunk.places)
        .collect();
    assert_eq!(places.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
    assert_eq!(places.concat(), (0..25).collect::<Vec<_>>());
    let small = Bounds {
        chunk_bytes: 300,
        ..BOUNDS
    };
    assert!(chunks(message, small).unwrap().len() > 8);
}

#[test]
fn what_would_grow_without_bound_is_refused_before_it_grows() {
    let empty = vec![LogRecord::default(); EXPANDED_MAX / 256 + 1];
    let message = request(empty, "web").encode_to_vec();
    assert!(message.len() < 1 << 20);
    assert_eq!(Request::new(message.into()).unwrap_err(), Bad::Expanded);
    let service = "x".repeat(100 << 10);
    let many = request(vec![LogRecord::default(); 1000], &service).encode_to_vec();
    assert_eq!(Request::new(many.into()).unwrap_err(), Bad::Expanded);
}

#[test]
fn what_is_no_request_is_told() {
    let message = request(vec![record("hello")], "web").encode_to_vec();
    let cut = Bytes::from(message).slice(..40);
    assert!(matches!(Request::new(cut), Err(Bad::Encoding(_))));
    let noise = Bytes::from_static(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    assert!(matches!(Request::new(noise), Err(Bad::Encoding(_))));
    assert_eq!(Request::new(Bytes::new()).unwrap().records(), 0);
}
