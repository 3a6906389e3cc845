//! A request of OTLP, taken apart record by record.
//!
//! A message of 4 MiB can have two million empty records, each of which takes a quarter of a KiB once it is decoded, and one large
//! resource for all of them. So a request is not decoded as a whole: its outer levels are walked over in place, each record is
//! decoded by itself, and what the request will take as JSON is counted before anything is written. A record that cannot be decoded
//! is refused by itself.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Buf, Bytes};
use legwork_proto::opentelemetry::proto::common::v1::InstrumentationScope;
use legwork_proto::opentelemetry::proto::logs::v1::LogRecord;
use legwork_proto::opentelemetry::proto::resource::v1::Resource;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};

use super::record::{observed, write_record, write_resource, write_scope};

/// Bytes that a request may take as JSON.
pub(super) const EXPANDED_MAX: usize = 64 << 20;
/// What counts for a record beside what it says.
const ENVELOPE: usize = 256;

// The numbers of fields on the way to a record.
const RESOURCE_LOGS: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPE_LOGS: u32 = 2;
const SCOPE: u32 = 1;
const LOG_RECORDS: u32 = 2;
const SCHEMA_URL: u32 = 3;

/// Why a request is refused as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// It is not what it says it is.
    Encoding(String),
    /// It would take more than [`EXPANDED_MAX`] as JSON.
    Expanded,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encoding(why) => write!(f, "this is no request of OTLP: {why}"),
            Self::Expanded => write!(
                f,
                "the request takes more than {} MiB as JSON, for each record tells its resource and scope: send fewer at once",
                EXPANDED_MAX >> 20
            ),
        }
    }
}

impl From<DecodeError> for Bad {
    fn from(error: DecodeError) -> Self {
        Self::Encoding(error.to_string())
    }
}

/// Some of a request's records, as JSON one behind the other.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) json: Vec<u8>,
    /// When each was observed, in microseconds.
    pub(super) observed: Vec<u64>,
    /// The place of each in the request.
    pub(super) places: Vec<u32>,
    /// Those that did not get as far: their places, and why.
    pub(super) refused: Vec<(u32, String)>,
}

/// How large chunks and records may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) record_bytes: usize,
    pub(super) chunk_bytes: usize,
    pub(super) chunk_records: usize,
    /// What stands for a time that a record does not tell.
    pub(super) now: u64,
}

/// The fields of a message that have a length; the others are passed over.
#[derive(Debug, Clone)]
struct Fields(Bytes);

impl Iterator for Fields {
    type Item = Result<(u32, Bytes), Bad>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.0.has_remaining() {
            match self.step() {
                Ok(None) => {}
                Ok(Some(field)) => return Some(Ok(field)),
                Err(error) => {
                    self.0.clear();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl Fields {
    fn step(&mut self) -> Result<Option<(u32, Bytes)>, Bad> {
        let (number, kind) = decode_key(&mut self.0)?;
        if kind != WireType::LengthDelimited {
            skip_field(kind, number, &mut self.0, DecodeContext::default())?;
            return Ok(None);
        }
        let length = usize::try_from(decode_varint(&mut self.0)?).unwrap_or(usize::MAX);
        if length > self.0.len() {
            return Err(Bad::Encoding("a message is cut off".to_owned()));
        }
        Ok(Some((number, self.0.split_to(length))))
    }

    /// The next one with this number.
    fn numbered(&mut self, number: u32) -> Result<Option<Bytes>, Bad> {
        for field in self {
            let (found, field) = field?;
            if found == number {
                return Ok(Some(field));
            }
        }
        Ok(None)
    }

    /// The last one with this number, which is the one that counts where there should be one.
    fn only<M: Message + Default>(&self, number: u32) -> Result<M, Bad> {
        Ok(M::decode(self.last(number)?)?)
    }

    fn text(&self, number: u32) -> Result<String, Bad> {
        let bytes = self.last(number)?;
        let text = std::str::from_utf8(&bytes).map(str::to_owned);
        text.map_err(|_| Bad::Encoding("a text is not UTF-8".to_owned()))
    }

    fn last(&self, number: u32) -> Result<Bytes, Bad> {
        let (mut fields, mut last) = (self.clone(), Bytes::new());
        while let Some(field) = fields.numbered(number)? {
            last = field;
        }
        Ok(last)
    }
}

/// The records of one scope.
#[derive(Debug)]
struct Scope {
    /// The members that tell of it and of its resource.
    context: Vec<u8>,
    records: Fields,
}

/// The records of a request, in chunks.
#[derive(Debug)]
pub(super) struct Request {
    scopes: VecDeque<Scope>,
    records: u32,
    /// How many have been given out.
    done: u32,
    cost: usize,
}

impl Request {
    /// Looks at the outer levels, and at nothing of the records but how many there are.
    pub(super) fn new(message: Bytes) -> Result<Self, Bad> {
        let mut request = Self {
            scopes: VecDeque::new(),
            records: 0,
            done: 0,
            cost: 0,
        };
        let mut all = Fields(message);
        while let Some(logs) = all.numbered(RESOURCE_LOGS)? {
            let logs = Fields(logs);
            let mut resource = Vec::new();
            let told: Resource = logs.only(RESOURCE)?;
            write_resource(&mut resource, &told, &logs.text(SCHEMA_URL)?);
            let mut scopes = logs;
            while let Some(scope) = scopes.numbered(SCOPE_LOGS)? {
                request.scope(Fields(scope), &resource)?;
            }
        }
        Ok(request)
    }

    fn scope(&mut self, logs: Fields, resource: &[u8]) -> Result<(), Bad> {
        let (mut records, mut bytes) = (logs.clone(), 0);
        let mut count = 0_u32;
        while let Some(record) = records.numbered(LOG_RECORDS)? {
            count += 1;
            bytes += record.len() + ENVELOPE;
        }
        if count == 0 {
            return Ok(());
        }
        let mut context = Vec::new();
        let scope: InstrumentationScope = logs.only(SCOPE)?;
        write_scope(&mut context, &scope, &logs.text(SCHEMA_URL)?);
        let each = (context.len() + resource.len()).saturating_mul(count as usize);
        self.cost = self.cost.saturating_add(each).saturating_add(bytes);
        if self.cost > EXPANDED_MAX {
            return Err(Bad::Expanded);
        }
        context.extend_from_slice(resource);
        self.records += count;
        let records = logs;
        self.scopes.push_back(Scope { context, records });
        Ok(())
    }

    /// How many records there are.
    pub(super) fn records(&self) -> u32 {
        self.records
    }

    /// The next records; `None` when all have been given out.
    pub(super) fn chunk(&mut self, bounds: Bounds) -> Option<Chunk> {
        let mut chunk = Chunk::default();
        while let Some(scope) = self.scopes.front_mut() {
            // The levels around records were looked at before.
            let Ok(Some(record)) = scope.records.numbered(LOG_RECORDS) else {
                self.scopes.pop_front();
                continue;
            };
            let place = self.done;
            self.done += 1;
            if let Err(why) = chunk.push(place, &record, &scope.context, bounds) {
                chunk.refused.push((place, why));
            }
            let count = chunk.places.len() + chunk.refused.len();
            if chunk.json.len() >= bounds.chunk_bytes || count >= bounds.chunk_records {
                return Some(chunk);
            }
        }
        (!chunk.places.is_empty() || !chunk.refused.is_empty()).then_some(chunk)
    }
}

impl Chunk {
    fn push(
        &mut self,
        place: u32,
        record: &Bytes,
        context: &[u8],
        bounds: Bounds,
    ) -> Result<(), String> {
        let max = bounds.record_bytes;
        let too_large = || format!("TOO_LARGE: more than {max} bytes");
        // Before it is decoded: its parts take more room than itself.
        if record.len().max(context.len()) > max {
            return Err(too_large());
        }
        let record =
            LogRecord::decode(record.as_ref()).map_err(|error| format!("BAD_ENCODING: {error}"))?;
        let before = self.json.len();
        write_record(&mut self.json, &record, context);
        if self.json.len() - before > max {
            self.json.truncate(before);
            return Err(too_large());
        }
        self.json.push(b'\n');
        self.observed.push(observed(&record).unwrap_or(bounds.now));
        self.places.push(place);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
