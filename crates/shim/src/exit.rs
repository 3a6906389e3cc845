//! How a job ended: the last thing its shim writes.
//!
//! Written to the [`crate::journal`] after every byte of output is in its segment, and not to be seen before it is durable.
//! Written once; a reader that sees it has seen the end.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::ByteString;

/// The newest version of the record that this build writes and reads.
pub const VERSION: u32 = 1;

/// The end of a job: why, with what status, and what it left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// Why it ended.
    pub cause: Cause,
    /// The main process's own status; `None` when it never ran.
    pub status: Option<Status>,
    /// Milliseconds since the epoch, at the exec; `None` when it never ran.
    pub started_at_ms: Option<u64>,
    /// Milliseconds since the epoch, when the last process of the tree was gone.
    pub ended_at_ms: u64,
    /// Milliseconds of the monotonic clock from exec to the end of the main process.
    #[serde(default)]
    pub elapsed_ms: u64,
    /// Offset after the last byte printed, dropped bytes included.
    pub output_end: u64,
    /// Bytes of the output that were not kept, over the limit or for want of disk space.
    #[serde(default)]
    pub output_dropped: u64,
    /// Of those, the bytes for which there was no room on the disk.
    #[serde(default)]
    pub output_failed: u64,
    /// What it consumed.
    #[serde(default)]
    pub usage: Usage,
    /// Processes of the tree that could not be killed.
    #[serde(default)]
    pub survivors: Vec<Survivor>,
}

impl Exit {
    /// The end, at `at_ms` (milliseconds since the epoch), of a job that never ran.
    #[must_use]
    pub fn never_ran(cause: Cause, at_ms: u64) -> Self {
        Self {
            version: VERSION,
            cause,
            status: None,
            started_at_ms: None,
            ended_at_ms: at_ms,
            elapsed_ms: 0,
            output_end: 0,
            output_dropped: 0,
            output_failed: 0,
            usage: Usage::default(),
            survivors: Vec::new(),
        }
    }
}

/// Why a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// By itself: exited, or killed by a signal that legwork did not send as a stop.
    Own,
    /// Its time limit.
    Timeout,
    /// Stopped on request.
    Stopped {
        /// The principal who asked.
        by: String,
    },
    /// It was killed for want of memory: its own limit's, or the host's.
    OutOfMemory,
    /// Its limit of processor time.
    CpuTime,
    /// Its directory took more disk space than it may.
    Disk,
    /// It never ran.
    NotStarted(NotStarted),
    /// A cause that a later version has added.
    #[serde(untagged)]
    Other(Word),
}

/// A word of a later version, where this one knows of none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word(pub String);

/// The words of [`Cause`]: one of them with something else in it than it has had from the beginning is damage.
const CAUSES: [&str; 7] = [
    "own",
    "timeout",
    "stopped",
    "out_of_memory",
    "cpu_time",
    "disk",
    "not_started",
];

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = from.deserialize_any(WordVisitor)?;
        if CAUSES.contains(&word.0.as_str()) {
            return Err(de::Error::custom("a known cause of another form"));
        }
        Ok(word)
    }
}

/// Takes `"word"`, and `{"word": …}` whatever is in it.
struct WordVisitor;

impl<'de> de::Visitor<'de> for WordVisitor {
    type Value = Word;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a word, or an object with one")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Word, E> {
        Ok(Word(word.into()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Word, A::Error> {
        let first: Option<(String, de::IgnoredAny)> = map.next_entry()?;
        let (word, _) = first.ok_or_else(|| de::Error::custom("an object without a word"))?;
        while let Some((de::IgnoredAny, de::IgnoredAny)) = map.next_entry()? {}
        Ok(Word(word))
    }
}

/// What kept a job from starting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotStarted {
    /// Which step failed.
    pub step: Step,
    /// errno(3) of that step; 0 where there is none.
    pub errno: i32,
    /// What the step was about: the program, the directory, the file.
    pub subject: ByteString,
}

/// A step on the way to a running payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Reading the spec.
    Spec,
    /// Taking the lease on the workspace.
    Lease,
    /// Making pipes, output files or the claim.
    Setup,
    /// Applying a limit.
    Limit,
    /// Becoming the user.
    User,
    /// Entering the working directory.
    Dir,
    /// Executing the program.
    Exec,
    /// Never handed to a shim: decided by the server before the launch.
    Launch,
    /// A step that a later version has added.
    #[serde(other)]
    Other,
}

/// The main process's own status, from wait(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Exited with this code, 0 to 255.
    Code(i32),
    /// Killed by this signal number.
    Signal(i32),
}

/// What a job consumed.
///
/// Without a control group, from getrusage(2) of reaped children, the processor times are lower bounds: a process that nobody waits for,
/// because its parent ignores SIGCHLD, is not in them, and nothing tells whether there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// User CPU time in microseconds.
    pub user_us: u64,
    /// System CPU time in microseconds.
    pub system_us: u64,
    /// Peak resident bytes of the largest single process.
    pub max_rss_bytes: u64,
    /// The processor times were counted by the kernel for the whole job.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exact: bool,
    /// Peak bytes of memory of the whole job, page cache included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// Most processes and threads at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_peak: Option<u64>,
    /// Bytes read from block devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Bytes written to block devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// Microseconds for which it was held back by its limit of processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_us: Option<u64>,
    /// Processes of it that were killed for want of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// Bytes that its directory took when that was counted last; only with a limit of disk space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// A process that would not die.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// Process id.
    pub pid: u32,
    /// The kernel's name of it, at most 15 bytes.
    pub name: ByteString,
}

#[cfg(test)]
mod tests {
    use super::{CAUSES, Cause, Exit, NotStarted, Status, Step, Survivor, Usage, Word};

    #[test]
    fn the_record_is_pinned() {
        let exit = Exit {
            version: 1,
            cause: Cause::Stopped { by: "me".into() },
            status: Some(Status::Signal(9)),
            started_at_ms: Some(1),
            ended_at_ms: 2,
            elapsed_ms: 3,
            output_end: 4,
            output_dropped: 5,
            output_failed: 6,
            usage: Usage {
                user_us: 7,
                system_us: 8,
                max_rss_bytes: 9,
                ..Usage::default()
            },
            survivors: vec![Survivor {
                pid: 10,
                name: "stuck".into(),
            }],
        };
        let json = concat!(
            r#"{"version":1,"cause":{"stopped":{"by":"me"}},"status":{"signal":9},"started_at_ms":1,"#,
            r#""ended_at_ms":2,"elapsed_ms":3,"output_end":4,"output_dropped":5,"output_failed":6,"#,
            r#""usage":{"user_us":7,"system_us":8,"max_rss_bytes":9},"#,
            r#""survivors":[{"pid":10,"name":"stuck"}]}"#,
        );
        assert_eq!(serde_json::to_string(&exit).unwrap(), json);
        assert_eq!(serde_json::from_str::<Exit>(json).unwrap(), exit);
    }

    #[test]
    fn causes_and_statuses_are_pinned() {
        let why = NotStarted {
            step: Step::Exec,
            errno: 2,
            subject: "tool".into(),
        };
        for (cause, json) in [
            (Cause::Own, r#""own""#),
            (Cause::Timeout, r#""timeout""#),
            (Cause::OutOfMemory, r#""out_of_memory""#),
            (Cause::CpuTime, r#""cpu_time""#),
            (Cause::Disk, r#""disk""#),
            (
                Cause::NotStarted(why),
                r#"{"not_started":{"step":"exec","errno":2,"subject":"tool"}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&cause).unwrap(), json);
            assert_eq!(serde_json::from_str::<Cause>(json).unwrap(), cause);
        }
        let limit = serde_json::to_string(&Step::Limit).unwrap();
        assert_eq!(limit, r#""limit""#);
        let code = serde_json::to_string(&Status::Code(101)).unwrap();
        assert_eq!(code, r#"{"code":101}"#);
    }

    #[test]
    fn a_word_of_a_later_version_is_kept_and_damage_is_not_taken_for_one() {
        for (json, word) in [
            (r#""evicted""#, "evicted"),
            (r#"{"evicted":{"by":["x"],"n":1}}"#, "evicted"),
            (r#"{"power":{},"more":2}"#, "power"),
        ] {
            let cause: Cause = serde_json::from_str(json).unwrap();
            assert_eq!(cause, Cause::Other(Word(word.into())));
        }
        for json in [
            "1",
            "null",
            "[]",
            "{}",
            r#"{"stopped":{"by":1}}"#,
            r#""stopped""#,
        ] {
            assert!(serde_json::from_str::<Cause>(json).is_err(), "{json}");
        }
        for word in CAUSES {
            let json = format!(r#"{{"{word}":[[]]}}"#);
            assert!(serde_json::from_str::<Cause>(&json).is_err(), "{json}");
        }
        let later = r#"{"not_started":{"step":"unpack","errno":5,"subject":"x","n":1}}"#;
        let why = NotStarted {
            step: Step::Other,
            errno: 5,
            subject: "x".into(),
        };
        let cause: Cause = serde_json::from_str(later).unwrap();
        assert_eq!(cause, Cause::NotStarted(why));
    }

    #[test]
    fn what_a_control_group_counts_is_pinned() {
        let usage = Usage {
            exact: true,
            memory_peak_bytes: Some(1),
            pids_peak: Some(2),
            read_bytes: Some(3),
            written_bytes: Some(4),
            throttled_us: Some(5),
            oom_kills: Some(6),
            ..Usage::default()
        };
        let json = concat!(
            r#"{"user_us":0,"system_us":0,"max_rss_bytes":0,"exact":true,"memory_peak_bytes":1,"pids_peak":2,"#,
            r#""read_bytes":3,"written_bytes":4,"throttled_us":5,"oom_kills":6}"#,
        );
        assert_eq!(serde_json::to_string(&usage).unwrap(), json);
        assert_eq!(serde_json::from_str::<Usage>(json).unwrap(), usage);
    }

    #[test]
    fn a_record_without_the_later_fields_can_be_read() {
        let exit: Exit = serde_json::from_str(
            r#"{"version":1,"cause":"own","status":null,"started_at_ms":null,"ended_at_ms":0,"output_end":0}"#,
        )
        .unwrap();
        assert_eq!((exit.elapsed_ms, exit.survivors.len()), (0, 0));
    }
}
