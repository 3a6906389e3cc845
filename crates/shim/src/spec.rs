//! What to run: written once by the launcher, read once by the shim, kept for everyone else.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ByteString;
use crate::limits::{Confinement, Limits};

/// The newest version of the spec that this build writes and reads.
pub const VERSION: u32 = 1;

/// Everything a shim needs to run one job, and what others want to know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// [`VERSION`] of the writer. A shim refuses one above its own.
    pub version: u32,
    /// The job's id (`UUIDv7`), made by the client.
    pub id: Uuid,
    /// Program and arguments; never empty. A program without `/` is looked up in the `PATH` of `env`.
    pub argv: Vec<ByteString>,
    /// The whole environment of the payload, in order; the shim adds only `LEGWORK_JOB`.
    pub env: Vec<(ByteString, ByteString)>,
    /// Absolute working directory of the payload.
    pub dir: ByteString,
    /// What the payload reads.
    #[serde(default)]
    pub stdin: Stdin,
    /// Both output streams through one pipe: exact order, one stream name.
    #[serde(default)]
    pub merge: bool,
    /// Time limit in milliseconds from exec; then stopped with cause `Timeout`.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// First signal of a stop; a number as in signal(7).
    pub stop_signal: i32,
    /// Milliseconds between that signal and the end of the whole tree.
    pub stop_grace_ms: u64,
    /// Bytes of output kept: the first half and the last half of what was printed.
    /// Rounded up to a multiple of 64 KiB; 0 keeps nothing.
    pub output_limit: u64,
    /// What becomes of processes that the main process leaves behind.
    #[serde(default)]
    pub on_exit: OnExit,
    /// A file whose shared flock(2) the shim takes before it runs anything and holds for life.
    #[serde(default)]
    pub lease: Option<ByteString>,
    /// Whom to run as; absent means as the launcher's own user.
    #[serde(default)]
    pub run_as: Option<RunAs>,
    /// What holds it in.
    #[serde(default, skip_serializing_if = "Confinement::is_none")]
    pub confinement: Confinement,
    /// What the shim does not look at.
    #[serde(default)]
    pub meta: Meta,
}

/// What the payload's standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// A pipe fed through the control socket.
    Pipe,
}

/// What becomes of processes that the main process leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExit {
    /// Kill them.
    #[default]
    Kill,
    /// Wait for them; the job ends with the last of them.
    Wait,
}

/// The credentials of the payload, already looked up: the shim reads no user database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAs {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

/// What the shim carries for others and does not look at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// Milliseconds since the epoch, when the job was accepted.
    pub created_at_ms: u64,
    /// A name for people; need not be unique.
    #[serde(default)]
    pub name: Option<String>,
    /// Key and value pairs to find jobs by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Who started it: the name of the principal.
    #[serde(default)]
    pub owner: String,
    /// The workspace that it runs in, if any.
    #[serde(default)]
    pub workspace: Option<String>,
    /// The mirror root (64 hex digits) that it was started on, if any.
    #[serde(default)]
    pub root: Option<String>,
    /// The name of the user as whom it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The limits that were asked for.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
}

#[cfg(test)]
mod tests {
    use super::{OnExit, RunAs, Spec, Stdin};

    /// As written by the first version; what that wrote must be readable for ever.
    const FIRST: &str = r#"{
        "version": 1, "id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "argv": ["sh", {"base64": "/w=="}], "env": [["A", "b"]], "dir": "/tmp",
        "stdin": "pipe", "merge": true, "timeout_ms": 5, "stop_signal": 15, "stop_grace_ms": 10000,
        "output_limit": 4294967296, "on_exit": "wait", "lease": "/l",
        "run_as": {"uid": 1, "gid": 2, "groups": [3]},
        "meta": {"created_at_ms": 7, "name": "n", "labels": {"k": "v"}, "owner": "o",
                 "workspace": "w", "root": "r"}
    }"#;

    #[test]
    fn the_first_version_can_be_read() {
        let spec: Spec = serde_json::from_str(FIRST).unwrap();
        assert_eq!(spec.argv[1].as_bytes(), b"\xff");
        assert_eq!((spec.stdin, spec.on_exit), (Stdin::Pipe, OnExit::Wait));
        let user = RunAs {
            uid: 1,
            gid: 2,
            groups: vec![3],
        };
        assert_eq!(spec.run_as, Some(user));
        assert_eq!(spec.meta.labels["k"], "v");
    }

    #[test]
    fn what_is_written_is_what_was_written_first() {
        let spec: Spec = serde_json::from_str(FIRST).unwrap();
        let first: serde_json::Value = serde_json::from_str(FIRST).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), first);
    }

    #[test]
    fn most_fields_may_be_absent_and_unknown_ones_present() {
        let spec: Spec = serde_json::from_str(
            r#"{"version": 1, "id": "01890a5d-ac96-774b-bcce-b302099a8057", "argv": ["true"], "env": [],
                "dir": "/", "stop_signal": 15, "stop_grace_ms": 0, "output_limit": 0, "future": {}}"#,
        )
        .unwrap();
        assert_eq!((spec.stdin, spec.on_exit), (Stdin::Null, OnExit::Kill));
        assert_eq!((spec.merge, spec.lease), (false, None));
    }
}
