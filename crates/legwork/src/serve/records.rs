//! `[records]` of `server.toml`: how streams are kept, all of them and single ones.

mod exports;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use legwork_server::{AUDIT_STREAM, Durability, RecordRules, Schema, StreamRule};
use serde::Deserialize;

use crate::error::{CommandError, FAILED};

/// What is said of all streams.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Records {
    durability: Option<String>,
    retention_bytes: Option<u64>,
    retention_age_s: Option<u64>,
    segment_bytes: Option<u64>,
    segment_age_s: Option<u64>,
    record_bytes: Option<usize>,
    depth: Option<usize>,
    schema: Option<PathBuf>,
    records_per_s: Option<u64>,
    bytes_per_s: Option<u64>,
    streams_each: Option<usize>,
    senders_each: Option<usize>,
    bytes_under_way: Option<usize>,
    free_bytes: Option<u64>,
    stream: BTreeMap<String, Stream>,
    otlp: Otlp,
    export: BTreeMap<String, exports::Export>,
}

/// What is said of records that come by OTLP.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Otlp {
    stream: Option<String>,
}

/// What is said of one; the rest is as for all.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Stream {
    durability: Option<String>,
    retention_bytes: Option<u64>,
    retention_age_s: Option<u64>,
    segment_bytes: Option<u64>,
    segment_age_s: Option<u64>,
    record_bytes: Option<usize>,
    depth: Option<usize>,
    schema: Option<PathBuf>,
    records_per_s: Option<u64>,
    bytes_per_s: Option<u64>,
}

/// Bytes of a batch: no record can be larger.
const RECORD_BYTES_MAX: usize = 4 << 20;
/// Objects and arrays within each other: more than this, nobody reads.
const DEPTH_MAX: usize = 128;

/// What it means.
pub(super) fn rules(file: &Records) -> Result<RecordRules, CommandError> {
    let usual = RecordRules::default();
    let all = Stream {
        durability: file.durability.clone(),
        retention_bytes: file.retention_bytes,
        retention_age_s: file.retention_age_s,
        segment_bytes: file.segment_bytes,
        segment_age_s: file.segment_age_s,
        record_bytes: file.record_bytes,
        depth: file.depth,
        schema: file.schema.clone(),
        records_per_s: file.records_per_s,
        bytes_per_s: file.bytes_per_s,
    };
    let rule = rule("records", &usual.usual, &all)?;
    let mut streams = BTreeMap::new();
    for (name, stream) in &file.stream {
        let place = format!("records.stream.{name}");
        let usual = match name.as_str() {
            AUDIT_STREAM => &usual.audit,
            _ => &rule,
        };
        streams.insert(name.clone(), self::rule(&place, usual, stream)?);
    }
    let otlp_stream = file.otlp.stream.clone().unwrap_or(usual.otlp_stream);
    legwork_server::check_stream(&otlp_stream)
        .map_err(|problem| bad("records.otlp", &problem.message))?;
    Ok(RecordRules {
        usual: rule,
        streams,
        audit: usual.audit,
        exports: exports::rules(&file.export)?,
        otlp_stream,
        streams_each: file.streams_each.unwrap_or(usual.streams_each),
        senders_each: file.senders_each.unwrap_or(usual.senders_each),
        bytes_under_way: file.bytes_under_way.unwrap_or(usual.bytes_under_way),
        free_bytes_min: file.free_bytes.unwrap_or(usual.free_bytes_min),
    })
}

/// Zero is for no bound of what is kept and of what is sent.
fn rule(place: &str, usual: &StreamRule, told: &Stream) -> Result<StreamRule, CommandError> {
    let mut rule = usual.clone();
    if let Some(text) = &told.durability {
        rule.durability = durability(text).ok_or_else(|| {
            bad(
                place,
                &format!("durability {text:?} is not durable, interval=MS or os"),
            )
        })?;
    }
    let bound = |told: Option<u64>, usual| told.map_or(usual, |set| (set > 0).then_some(set));
    let age = rule.retention.age.map(|age| age.as_secs());
    rule.retention.bytes = bound(told.retention_bytes, rule.retention.bytes);
    rule.retention.age = bound(told.retention_age_s, age).map(Duration::from_secs);
    rule.records_per_s = bound(told.records_per_s, rule.records_per_s);
    rule.bytes_per_s = bound(told.bytes_per_s, rule.bytes_per_s);
    rule.segment_bytes = told.segment_bytes.unwrap_or(rule.segment_bytes).max(1);
    if let Some(age) = told.segment_age_s {
        rule.segment_age = Duration::from_secs(age.max(1));
    }
    let limits = &mut rule.limits;
    limits.record_bytes = told.record_bytes.unwrap_or(limits.record_bytes);
    limits.depth = told.depth.unwrap_or(limits.depth);
    if !(2..=RECORD_BYTES_MAX).contains(&limits.record_bytes) {
        return Err(bad(
            place,
            &format!("record_bytes is 2 to {RECORD_BYTES_MAX}"),
        ));
    }
    if !(1..=DEPTH_MAX).contains(&limits.depth) {
        return Err(bad(place, &format!("depth is 1 to {DEPTH_MAX}")));
    }
    if let Some(path) = &told.schema {
        rule.schema = Some(Arc::new(schema(place, path)?));
    }
    Ok(rule)
}

fn durability(text: &str) -> Option<Durability> {
    match text {
        "durable" => Some(Durability::Durable),
        "os" => Some(Durability::Os),
        _ => {
            let every: u64 = text.strip_prefix("interval=")?.parse().ok()?;
            (every > 0).then(|| Durability::Interval(Duration::from_millis(every)))
        }
    }
}

fn schema(place: &str, path: &Path) -> Result<Schema, CommandError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| bad(place, &format!("schema {}: {error}", path.display())))?;
    Schema::compile(&text)
        .map_err(|error| bad(place, &format!("schema {}: {error}", path.display())))
}

fn bad(place: &str, what: &str) -> CommandError {
    CommandError::new(FAILED, "BAD_CONFIG", format!("[{place}]: {what}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use legwork_server::Durability;

    use super::{Records, rules};

    pub(super) fn read(text: &str) -> Result<legwork_server::RecordRules, String> {
        let file: Records = toml::from_str(text).map_err(|error| error.to_string())?;
        rules(&file).map_err(|error| error.message)
    }

    #[test]
    fn a_stream_is_kept_like_all_where_nothing_else_is_said() {
        let told = read(
            "durability = \"interval=50\"\nretention_bytes = 9\nrecords_per_s = 5\n\
             [stream.audit]\ndurability = \"os\"\nretention_bytes = 0\n",
        )
        .unwrap();
        let every = Duration::from_millis(50);
        assert_eq!(told.usual.durability, Durability::Interval(every));
        let audit = &told.streams["audit"];
        assert_eq!(audit.durability, Durability::Os);
        assert_eq!(
            (audit.retention.bytes, audit.records_per_s),
            (None, Some(5))
        );
        let kept = read("[stream.\"legwork.audit\"]\nretention_bytes = 7\n").unwrap();
        let own = &kept.streams["legwork.audit"];
        let every = Duration::from_secs(1);
        assert_eq!(own.durability, Durability::Interval(every));
        assert!(own.retention.bytes == Some(7) && own.retention.age.is_some());
        assert_eq!(read("").unwrap().usual.durability, Durability::Durable);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        for (text, told) in [
            ("durability = \"interval=0\"", "[records]: durability"),
            ("[stream.a]\ndepth = 0", "[records.stream.a]: depth"),
            ("record_bytes = 99999999", "record_bytes"),
            ("schema = \"/nowhere\"", "/nowhere"),
            ("[otlp]\nstream = \"legwork.audit\"", "[records.otlp]"),
            ("[otlp]\nstream = \"\"", "1 to 128 bytes"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
