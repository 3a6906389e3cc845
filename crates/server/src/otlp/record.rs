//! A log record of OTLP as a JSON object, and back.
//!
//! Members are named as in the protocol, those that have nothing to say are left out, and come in this order:
//!
//! ```json
//! {"otlp":1,"time":"2026-11-22T12:21:35.123456789Z","observed_time":"…","severity_number":9,"severity_text":"INFO","body":"hello",
//!  "attributes":{"http.status":200},"dropped_attributes_count":1,"flags":1,"trace_id":"…","span_id":"…","event_name":"…",
//!  "scope":{"name":"app","version":"1","attributes":{},"dropped_attributes_count":1,"schema_url":"…"},
//!  "resource":{"attributes":{"service.name":"web"},"dropped_attributes_count":1,"schema_url":"…"}}
//! ```
//!
//! `otlp` is the version of this form. See [`value`](super::value) for values.

use data_encoding::HEXLOWER;
use legwork_proto::opentelemetry::proto::common::v1::{InstrumentationScope, KeyValue};
use legwork_proto::opentelemetry::proto::logs::v1::LogRecord;
use legwork_proto::opentelemetry::proto::resource::v1::Resource;

use super::value::{write, write_pairs, write_text};

/// What such an object begins with.
const BEGIN: &[u8] = b"{\"otlp\":1";

/// Nanoseconds of a microsecond.
const NANOS: u64 = 1000;

/// Writes a record, with the members that tell of its scope and resource.
pub(super) fn write_record(out: &mut Vec<u8>, record: &LogRecord, context: &[u8]) {
    out.extend_from_slice(BEGIN);
    time(out, "time", record.time_unix_nano);
    time(out, "observed_time", record.observed_time_unix_nano);
    if record.severity_number != 0 {
        name(out, "severity_number");
        out.extend_from_slice(record.severity_number.to_string().as_bytes());
    }
    text(out, "severity_text", &record.severity_text);
    if let Some(body) = &record.body {
        name(out, "body");
        write(out, Some(body));
    }
    attributes(out, &record.attributes, record.dropped_attributes_count);
    number(out, "flags", record.flags);
    text(out, "trace_id", &HEXLOWER.encode(&record.trace_id));
    text(out, "span_id", &HEXLOWER.encode(&record.span_id));
    text(out, "event_name", &record.event_name);
    out.extend_from_slice(context);
    out.push(b'}');
}

/// When a record was observed, in microseconds: what it tells of first, else when it was collected.
pub(super) fn observed(record: &LogRecord) -> Option<u64> {
    let times = [record.time_unix_nano, record.observed_time_unix_nano];
    times
        .into_iter()
        .find(|&nanos| nanos != 0)
        .map(|nanos| nanos / NANOS)
}

/// The member that tells of a scope; nothing if there is nothing to tell.
pub(super) fn write_scope(out: &mut Vec<u8>, scope: &InstrumentationScope, schema_url: &str) {
    let mut inside = Vec::new();
    text(&mut inside, "name", &scope.name);
    text(&mut inside, "version", &scope.version);
    attributes(
        &mut inside,
        &scope.attributes,
        scope.dropped_attributes_count,
    );
    text(&mut inside, "schema_url", schema_url);
    member(out, "scope", &inside);
}

/// The member that tells of a resource; nothing if there is nothing to tell.
pub(super) fn write_resource(out: &mut Vec<u8>, resource: &Resource, schema_url: &str) {
    let mut inside = Vec::new();
    let dropped = resource.dropped_attributes_count;
    attributes(&mut inside, &resource.attributes, dropped);
    text(&mut inside, "schema_url", schema_url);
    member(out, "resource", &inside);
}

/// An object of these members, each of which begins with a comma.
fn member(out: &mut Vec<u8>, key: &str, members: &[u8]) {
    if let Some((_comma, members)) = members.split_first() {
        name(out, key);
        out.push(b'{');
        out.extend_from_slice(members);
        out.push(b'}');
    }
}

fn name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(out: &mut Vec<u8>, key: &str, text: &str) {
    if !text.is_empty() {
        name(out, key);
        write_text(out, text);
    }
}

fn number(out: &mut Vec<u8>, key: &str, number: u32) {
    if number != 0 {
        name(out, key);
        out.extend_from_slice(number.to_string().as_bytes());
    }
}

fn attributes(out: &mut Vec<u8>, pairs: &[KeyValue], dropped: u32) {
    if !pairs.is_empty() {
        name(out, "attributes");
        write_pairs(out, pairs);
    }
    number(out, "dropped_attributes_count", dropped);
}

fn time(out: &mut Vec<u8>, key: &str, nanos: u64) {
    if nanos != 0
        && let Ok(moment) = jiff::Timestamp::from_nanosecond(i128::from(nanos))
    {
        name(out, key);
        write_text(out, &format!("{moment:.9}"));
    }
}
