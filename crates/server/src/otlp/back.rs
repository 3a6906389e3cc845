//! Lines of a log as records of OTLP, for an export.
//!
//! One that came by OTLP becomes what it was. Of any other, the JSON is the body. Each gets attributes that say where it stands: `legwork.stream`,
//! `legwork.seq`, `legwork.client` and `legwork.host`.

use data_encoding::HEXLOWER;
use legwork_proto::opentelemetry::proto::common::v1::any_value::Value;
use legwork_proto::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use legwork_proto::opentelemetry::proto::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use legwork_proto::opentelemetry::proto::resource::v1::Resource;
use legwork_records::query::Entry;
use legwork_records::{Kind, Timestamp};

use super::value::Read;

/// The version of the form that is known.
const VERSION: i64 = 1;

/// A record with what it is of.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Line {
    record: LogRecord,
    scope: Option<InstrumentationScope>,
    scope_schema: String,
    resource: Option<Resource>,
    resource_schema: String,
}

/// Lines as a request tells them: those of one resource and scope that follow each other together.
pub(crate) fn grouped(lines: Vec<Line>) -> Vec<ResourceLogs> {
    let mut all: Vec<ResourceLogs> = Vec::new();
    for line in lines {
        let fits = |last: &&mut ResourceLogs| {
            (&last.resource, &last.schema_url) == (&line.resource, &line.resource_schema)
        };
        let resource = match all.last_mut().filter(fits) {
            Some(_) => all.last_mut(),
            None => {
                all.push(ResourceLogs {
                    resource: line.resource,
                    scope_logs: Vec::new(),
                    schema_url: line.resource_schema,
                });
                all.last_mut()
            }
        };
        let Some(resource) = resource else { continue };
        let last = resource.scope_logs.last_mut();
        match last
            .filter(|last| (&last.scope, &last.schema_url) == (&line.scope, &line.scope_schema))
        {
            Some(last) => last.log_records.push(line.record),
            None => resource.scope_logs.push(ScopeLogs {
                scope: line.scope,
                log_records: vec![line.record],
                schema_url: line.scope_schema,
            }),
        }
    }
    all
}

/// A line of the log.
pub(crate) fn line(entry: &Entry<'_>, stream: &str) -> Line {
    let mut line = match entry.kind {
        Some(Kind::Record) => record(entry.body).unwrap_or_else(|| plain(entry, stream)),
        _ => plain(entry, stream),
    };
    let nanos = |moment: Option<Timestamp>| {
        moment.map_or(0, |moment| moment.as_micros().unsigned_abs() * 1000)
    };
    if line.record.observed_time_unix_nano == 0 {
        line.record.observed_time_unix_nano = nanos(entry.received());
    }
    if line.record.time_unix_nano == 0 {
        line.record.time_unix_nano = nanos(entry.observed());
    }
    let seq = i64::try_from(entry.seq).unwrap_or(i64::MAX);
    line.record.attributes.extend([
        pair("legwork.stream", text(stream)),
        pair("legwork.seq", Value::IntValue(seq)),
        pair("legwork.client", text(entry.client)),
        pair("legwork.host", text(entry.host)),
    ]);
    line
}

/// What is not of this protocol: its JSON as it is.
fn plain(entry: &Entry<'_>, stream: &str) -> Line {
    let body = serde_json::from_slice::<Read>(entry.body).map(|Read(body)| body);
    // Lines in which the log speaks of what is missing in it.
    let event = entry.kind.filter(|kind| *kind != Kind::Record);
    Line {
        record: LogRecord {
            body: body.ok(),
            event_name: event.map_or_else(String::new, |kind| format!("legwork.{}", kind.name())),
            ..LogRecord::default()
        },
        scope: Some(InstrumentationScope {
            name: stream.to_owned(),
            ..InstrumentationScope::default()
        }),
        resource: Some(Resource {
            attributes: vec![pair("host.name", text(entry.host))],
            ..Resource::default()
        }),
        ..Line::default()
    }
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
    }
}

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

/// What [`write_record`](super::record::write_record) wrote; `None` for anything else.
fn record(json: &[u8]) -> Option<Line> {
    let read: Read = serde_json::from_slice(json).ok()?;
    let mut members = read.into_pairs()?.into_iter();
    let first = members.next()?;
    if first.key != "otlp" || int(first.value?)? != VERSION {
        return None;
    }
    let mut line = Line::default();
    let record = &mut line.record;
    for KeyValue { key, value } in members {
        let value = value?;
        match key.as_str() {
            "time" => record.time_unix_nano = nanos(value)?,
            "observed_time" => record.observed_time_unix_nano = nanos(value)?,
            "severity_number" => record.severity_number = number(value)?,
            "severity_text" => record.severity_text = string(value)?,
            "body" => record.body = Some(value),
            "attributes" => record.attributes = pairs(value)?,
            "dropped_attributes_count" => record.dropped_attributes_count = number(value)?,
            "flags" => record.flags = number(value)?,
            "trace_id" => record.trace_id = id(value)?,
            "span_id" => record.span_id = id(value)?,
            "event_name" => record.event_name = string(value)?,
            "scope" => {
                let mut scope = InstrumentationScope::default();
                for KeyValue { key, value } in pairs(value)? {
                    let value = value?;
                    match key.as_str() {
                        "name" => scope.name = string(value)?,
                        "version" => scope.version = string(value)?,
                        "attributes" => scope.attributes = pairs(value)?,
                        "dropped_attributes_count" => {
                            scope.dropped_attributes_count = number(value)?;
                        }
                        "schema_url" => line.scope_schema = string(value)?,
                        _ => return None,
                    }
                }
                line.scope = Some(scope);
            }
            "resource" => {
                let mut resource = Resource::default();
                for KeyValue { key, value } in pairs(value)? {
                    let value = value?;
                    match key.as_str() {
                        "attributes" => resource.attributes = pairs(value)?,
                        "dropped_attributes_count" => {
                            resource.dropped_attributes_count = number(value)?;
                        }
                        "schema_url" => line.resource_schema = string(value)?,
                        _ => return None,
                    }
                }
                line.resource = Some(resource);
            }
            _ => return None,
        }
    }
    Some(line)
}

fn int(value: AnyValue) -> Option<i64> {
    match value.value? {
        Value::IntValue(number) => Some(number),
        _ => None,
    }
}

fn number<T: TryFrom<i64>>(value: AnyValue) -> Option<T> {
    T::try_from(int(value)?).ok()
}

fn string(value: AnyValue) -> Option<String> {
    match value.value? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn pairs(value: AnyValue) -> Option<Vec<KeyValue>> {
    Read(value).into_pairs()
}

fn id(value: AnyValue) -> Option<bytes::Bytes> {
    Some(HEXLOWER.decode(string(value)?.as_bytes()).ok()?.into())
}

fn nanos(value: AnyValue) -> Option<u64> {
    let moment: jiff::Timestamp = string(value)?.parse().ok()?;
    u64::try_from(moment.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use legwork_proto::opentelemetry::proto::common::v1::InstrumentationScope;
    use legwork_proto::opentelemetry::proto::logs::v1::LogRecord;
    use legwork_proto::opentelemetry::proto::resource::v1::Resource;
    use proptest::prelude::*;

    use super::super::record::{write_record, write_resource, write_scope};
    use super::{Line, Value, grouped, pair, record, text};

    fn json(line: &Line) -> Vec<u8> {
        let (mut context, mut out) = (Vec::new(), Vec::new());
        let scope = line.scope.clone().unwrap_or_default();
        write_scope(&mut context, &scope, &line.scope_schema);
        let resource = line.resource.clone().unwrap_or_default();
        write_resource(&mut context, &resource, &line.resource_schema);
        write_record(&mut out, &line.record, &context);
        out
    }

    proptest! {
        #[test]
        fn a_record_that_came_goes_as_it_was(
            (time, observed, severity) in (any::<u64>(), any::<u64>(), any::<i32>()),
            (name, key, said) in (".{0,5}", ".{0,5}", ".{1,9}"),
            (dropped, flags, id) in (any::<u32>(), any::<u32>(), any::<[u8; 16]>()),
        ) {
            let attributes = vec![pair(&key, text(&said)), pair("n", Value::DoubleValue(2.0))];
            let line = Line {
                record: LogRecord {
                    time_unix_nano: time,
                    observed_time_unix_nano: observed,
                    severity_number: severity,
                    severity_text: name.clone(),
                    body: pair("", text(&said)).value,
                    attributes: attributes.clone(),
                    dropped_attributes_count: dropped,
                    flags,
                    trace_id: Bytes::copy_from_slice(&id),
                    span_id: Bytes::copy_from_slice(&id[..8]),
                    event_name: name.clone(),
                },
                scope: Some(InstrumentationScope {
                    name,
                    version: said.clone(),
                    attributes: attributes.clone(),
                    dropped_attributes_count: dropped,
                }),
                scope_schema: key.clone(),
                resource: Some(Resource {
                    attributes,
                    dropped_attributes_count: flags,
                }),
                resource_schema: key,
            };
            prop_assert_eq!(record(&json(&line)), Some(line));
        }
    }

    #[test]
    fn what_only_looks_alike_is_not_taken_for_it() {
        for other in [
            r#"{"otlp":2}"#,
            r#"{"otlp":1,"flags":-1}"#,
            r#"{"otlp":1,"trace_id":"xyz"}"#,
            r#"{"otlp":1,"mine":true}"#,
            r#"{"a":1,"otlp":1}"#,
        ] {
            assert_eq!(record(other.as_bytes()), None, "{other}");
        }
        assert_eq!(record(br#"{"otlp":1}"#), Some(Line::default()));
    }

    #[test]
    fn lines_of_one_origin_are_told_together() {
        let of = |name: &str, body: &str| Line {
            record: LogRecord {
                body: pair("", text(body)).value,
                ..LogRecord::default()
            },
            scope: Some(InstrumentationScope {
                name: name.to_owned(),
                ..InstrumentationScope::default()
            }),
            ..Line::default()
        };
        let told = grouped(vec![of("a", "1"), of("a", "2"), of("b", "3"), of("a", "4")]);
        assert_eq!(told.len(), 1);
        let counts: Vec<usize> = told[0]
            .scope_logs
            .iter()
            .map(|s| s.log_records.len())
            .collect();
        assert_eq!(counts, [2, 1, 1], "the order of lines is kept");
    }
}
