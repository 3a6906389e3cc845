//! The records of a journal as this version understands them, or why it does not.
//!
//! What is older can be read, fields that are not known are passed over, and a `version` above our own means that whoever goes
//! on regardless would be wrong (`docs/design/formats.md`). A job with such a record is shown and left alone: nothing is concluded from
//! what is missing in its directory, nothing of it is killed or deleted.

use std::fmt;

use legwork_shim::ByteString;
use legwork_shim::exit::{self, Exit};
use legwork_shim::journal::Journal;
use legwork_shim::launch::{self, Launch};
use legwork_shim::spec::{self, Meta, Spec, Stdin};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::job::Asked;

/// What of a job this version does not understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
pub enum Newer {
    /// A record of a newer version.
    Record {
        /// Which.
        kind: RecordKind,
        /// Its version.
        found: u32,
        /// The newest that this build knows.
        known: u32,
    },
    /// Lines in the journal that are none of ours, and no claim of ours that would say what they are beside.
    Lines,
}

/// A record of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
pub enum RecordKind {
    /// What to run.
    Spec,
    /// The claim of a launch.
    Launch,
    /// How it ended.
    Exit,
}

impl fmt::Display for Newer {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { kind, found, known } => {
                let what = match kind {
                    RecordKind::Spec => "what it is to run",
                    RecordKind::Launch => "its launch",
                    RecordKind::Exit => "its end",
                };
                write!(
                    to,
                    "{what} is recorded in version {found}, and this legwork knows up to {known}"
                )
            }
            Self::Lines => to.write_str("its journal has lines that this legwork does not know"),
        }
    }
}

/// Why a record cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    #[error("{0}")]
    Newer(Newer),
    #[error("{0}")]
    Malformed(serde_json::Error),
}

/// A record of which newer versions may exist.
pub(crate) trait Record: DeserializeOwned {
    const KIND: RecordKind;
    /// The newest version that this build reads.
    const NEWEST: u32;
    fn version(&self) -> u32;
}

impl Record for Spec {
    const KIND: RecordKind = RecordKind::Spec;
    const NEWEST: u32 = spec::VERSION;
    fn version(&self) -> u32 {
        self.version
    }
}

impl Record for Launch {
    const KIND: RecordKind = RecordKind::Launch;
    const NEWEST: u32 = launch::VERSION;
    fn version(&self) -> u32 {
        self.version
    }
}

impl Record for Exit {
    const KIND: RecordKind = RecordKind::Exit;
    const NEWEST: u32 = exit::VERSION;
    fn version(&self) -> u32 {
        self.version
    }
}

/// What every version of every record has.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// Reads a record.
pub(crate) fn parse<R: Record>(content: &[u8]) -> Result<R, Unread> {
    let parsed = serde_json::from_slice::<R>(content);
    let version = match &parsed {
        Ok(record) => record.version(),
        // A newer version need not look like ours in anything but its version.
        Err(_) => version_of(content),
    };
    match newer::<R>(version) {
        Some(newer) => Err(Unread::Newer(newer)),
        None => parsed.map_err(Unread::Malformed),
    }
}

fn newer<R: Record>(found: u32) -> Option<Newer> {
    let (kind, known) = (R::KIND, R::NEWEST);
    (found > known).then_some(Newer::Record { kind, found, known })
}

/// 0 where there is none, or no JSON.
fn version_of(content: &[u8]) -> u32 {
    serde_json::from_slice::<Head>(content).map_or(0, |head| head.version)
}

/// As every writer so far begins a record.
const FIRST: &[u8] = br#"{"version":1,"#;

fn is_newer<R: Record>(content: Option<&[u8]>) -> Option<Newer> {
    let content = content.filter(|content| !content.starts_with(FIRST))?;
    newer::<R>(version_of(content))
}

/// The last record of a job that this version does not understand. The last one decides, for it is about what came of the others.
pub(crate) fn newest(lines: &Journal<'_>) -> Option<Newer> {
    let stranger = || (lines.others > 0 && lines.launch.is_none()).then_some(Newer::Lines);
    is_newer::<Exit>(lines.exit)
        .or_else(|| is_newer::<Launch>(lines.launch))
        .or_else(|| is_newer::<Spec>(lines.spec))
        .or_else(stranger)
}

/// As much as can be told of what a newer spec asks: whatever is where it is in ours, and looks as in ours.
pub(crate) fn gleaned(content: &[u8]) -> Asked {
    let spec: Value = serde_json::from_slice(content).unwrap_or_default();
    Asked {
        argv: field::<Vec<ByteString>>(&spec, "argv").unwrap_or_default(),
        dir: field(&spec, "dir").unwrap_or_default(),
        stdin: field(&spec, "stdin").unwrap_or(Stdin::Pipe),
        merge: field(&spec, "merge").unwrap_or_default(),
        timeout_ms: field(&spec, "timeout_ms"),
        stop_grace_ms: field(&spec, "stop_grace_ms").unwrap_or_default(),
        meta: gleaned_meta(spec.get("meta").unwrap_or(&Value::Null)),
    }
}

fn gleaned_meta(meta: &Value) -> Meta {
    Meta {
        created_at_ms: field(meta, "created_at_ms").unwrap_or_default(),
        name: field(meta, "name"),
        labels: field(meta, "labels").unwrap_or_default(),
        owner: field(meta, "owner").unwrap_or_default(),
        workspace: field(meta, "workspace"),
        root: field(meta, "root"),
        user: field(meta, "user"),
        ..Meta::default()
    }
}

fn field<T: DeserializeOwned>(of: &Value, name: &str) -> Option<T> {
    serde_json::from_value(of.get(name)?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use legwork_shim::journal::Journal;
    use legwork_shim::spec::Spec;

    use super::{Newer, RecordKind, Unread, gleaned, newest, parse};

    fn of(raw: &str) -> Option<Newer> {
        newest(&Journal::parse(raw.as_bytes()))
    }

    const fn record(kind: RecordKind, found: u32) -> Option<Newer> {
        let known = 1;
        Some(Newer::Record { kind, found, known })
    }

    #[test]
    fn the_last_record_that_is_newer_decides() {
        let spec = "{\"spec\":{\"version\":1,\"a\":2}}\n";
        assert_eq!(of(spec), None);
        assert_eq!(
            of("{\"spec\":{\"a\":{\"version\":7},\"version\":1}}\n"),
            None
        );
        let newer = "{\"spec\":{\"a\":2,\"version\":3}}\n";
        assert_eq!(of(newer), record(RecordKind::Spec, 3));
        let launch = format!("{newer}{{\"launch\":{{\"version\":4}}}}\n");
        assert_eq!(of(&launch), record(RecordKind::Launch, 4));
        let exit = format!("{spec}{{\"exit\":{{\"version\":5}}}}\n");
        assert_eq!(of(&exit), record(RecordKind::Exit, 5));
        let line = "{\"relaunch\":{\"version\":1}}\n";
        assert_eq!(of(&format!("{spec}{line}")), Some(Newer::Lines));
        let claimed = "{\"launch\":{\"version\":1,\"a\":2}}\n";
        assert_eq!(of(&format!("{spec}{line}{claimed}")), None);
    }

    #[test]
    fn of_a_newer_spec_is_told_what_looks_like_ours() {
        let raw = br#"{"version":2,"argv":["sh",{"base64":"/w=="}],"dir":{"new":1},"stdin":"tty",
            "meta":{"owner":"me","name":7,"labels":{"k":"v"},"created_at_ms":5}}"#;
        assert!(matches!(parse::<Spec>(raw), Err(Unread::Newer(_))));
        let asked = gleaned(raw);
        assert_eq!(asked.argv[1].as_bytes(), b"\xff");
        assert_eq!((asked.meta.owner.as_str(), asked.meta.name), ("me", None));
        assert_eq!(asked.meta.created_at_ms, 5);
        assert_eq!(gleaned(b"").argv.len(), 0);
    }
}
