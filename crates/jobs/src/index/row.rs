//! How a job is stored in a row of the index: two compact blobs beside the columns that are searched.
//!
//! Listing ten thousand jobs must take milliseconds, so the blobs borrow what they can when they are read. They follow the
//! index's version and nothing else reads them: a change of form is a new version, and the index is built anew.

use legwork_shim::ByteString;
use legwork_shim::exit::{NotStarted, Status, Survivor, Usage};
use legwork_shim::limits::Limits;
use legwork_shim::spec::{Meta, Stdin};
use serde::{Deserialize, Serialize};

use crate::job::Asked;
use crate::record::Newer;
use crate::state::{Cause, Finished, JobState, LostWhy, PendingWhy};

#[derive(Serialize, Deserialize)]
struct AskedRow<'a> {
    #[serde(borrow)]
    argv: Vec<&'a [u8]>,
    dir: &'a [u8],
    stdin: Stdin,
    merge: bool,
    timeout_ms: Option<u64>,
    stop_grace_ms: u64,
    created_at_ms: u64,
    name: Option<&'a str>,
    labels: Vec<(&'a str, &'a str)>,
    owner: &'a str,
    workspace: Option<&'a str>,
    root: Option<&'a str>,
    user: Option<&'a str>,
}

/// The stored form of what was asked.
pub(super) fn encode_asked(asked: &Asked) -> Vec<u8> {
    let meta = &asked.meta;
    encode(&AskedRow {
        argv: asked.argv.iter().map(ByteString::as_bytes).collect(),
        dir: asked.dir.as_bytes(),
        stdin: asked.stdin,
        merge: asked.merge,
        timeout_ms: asked.timeout_ms,
        stop_grace_ms: asked.stop_grace_ms,
        created_at_ms: meta.created_at_ms,
        name: meta.name.as_deref(),
        labels: meta
            .labels
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect(),
        owner: &meta.owner,
        workspace: meta.workspace.as_deref(),
        root: meta.root.as_deref(),
        user: meta.user.as_deref(),
    })
}

/// Reads it back, if every one of these labels is on it.
pub(super) fn decode_asked(
    raw: &[u8],
    wanted: &[(String, String)],
) -> Result<Option<Asked>, postcard::Error> {
    let row: AskedRow<'_> = postcard::from_bytes(raw)?;
    let has =
        |(key, value): &(String, String)| row.labels.contains(&(key.as_str(), value.as_str()));
    if !wanted.iter().all(has) {
        return Ok(None);
    }
    Ok(Some(Asked {
        argv: row
            .argv
            .iter()
            .map(|argument| argument.to_vec().into())
            .collect(),
        dir: row.dir.to_vec().into(),
        stdin: row.stdin,
        merge: row.merge,
        timeout_ms: row.timeout_ms,
        stop_grace_ms: row.stop_grace_ms,
        meta: Meta {
            created_at_ms: row.created_at_ms,
            name: row.name.map(str::to_owned),
            labels: row
                .labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            owner: row.owner.to_owned(),
            workspace: row.workspace.map(str::to_owned),
            root: row.root.map(str::to_owned),
            user: row.user.map(str::to_owned),
            limits: Limits::default(),
        },
    }))
}

#[derive(Serialize, Deserialize)]
enum StateRow<'a> {
    Pending(PendingWhy),
    Starting,
    Running(u32, u64),
    Paused(u32, u64, u64),
    #[serde(borrow)]
    Finished(Box<FinishedRow<'a>>),
    Unknown(Newer, bool),
}

#[derive(Serialize, Deserialize)]
struct FinishedRow<'a> {
    #[serde(borrow)]
    cause: CauseRow<'a>,
    status: Option<Status>,
    started_at_ms: Option<u64>,
    ended_at_ms: Option<u64>,
    elapsed_ms: u64,
    output_end: Option<u64>,
    output_dropped: u64,
    output_failed: u64,
    usage: UsageRow,
    survivors: Vec<(u32, &'a [u8])>,
}

/// Field by field, for the form of a record leaves out what is absent, and this one cannot.
#[derive(Serialize, Deserialize)]
struct UsageRow {
    user_us: u64,
    system_us: u64,
    max_rss_bytes: u64,
    exact: bool,
    others: [Option<u64>; 7],
}

impl From<Usage> for UsageRow {
    fn from(usage: Usage) -> Self {
        Self {
            user_us: usage.user_us,
            system_us: usage.system_us,
            max_rss_bytes: usage.max_rss_bytes,
            exact: usage.exact,
            others: [
                usage.memory_peak_bytes,
                usage.pids_peak,
                usage.read_bytes,
                usage.written_bytes,
                usage.throttled_us,
                usage.oom_kills,
                usage.disk_bytes,
            ],
        }
    }
}

impl From<UsageRow> for Usage {
    fn from(row: UsageRow) -> Self {
        let [memory, pids, read, written, throttled, kills, disk] = row.others;
        Self {
            user_us: row.user_us,
            system_us: row.system_us,
            max_rss_bytes: row.max_rss_bytes,
            exact: row.exact,
            memory_peak_bytes: memory,
            pids_peak: pids,
            read_bytes: read,
            written_bytes: written,
            throttled_us: throttled,
            oom_kills: kills,
            disk_bytes: disk,
        }
    }
}

#[derive(Serialize, Deserialize)]
enum CauseRow<'a> {
    Own,
    Timeout,
    Stopped(&'a str),
    OutOfMemory,
    CpuTime,
    Disk,
    NotStarted(legwork_shim::exit::Step, i32, &'a [u8]),
    Lost(LostWhy),
    Other(&'a str),
}

/// The stored form of a state.
pub(super) fn encode_state(state: &JobState) -> Vec<u8> {
    encode(&match state {
        JobState::Pending { why } => StateRow::Pending(*why),
        JobState::Starting => StateRow::Starting,
        JobState::Running { pid, since_ms } => StateRow::Running(*pid, *since_ms),
        JobState::Paused {
            pid,
            since_ms,
            paused_ms,
        } => StateRow::Paused(*pid, *since_ms, *paused_ms),
        JobState::Unknown { what, alive } => StateRow::Unknown(*what, *alive),
        JobState::Finished(end) => StateRow::Finished(Box::new(FinishedRow {
            cause: match &end.cause {
                Cause::Own => CauseRow::Own,
                Cause::Timeout => CauseRow::Timeout,
                Cause::Stopped { by } => CauseRow::Stopped(by),
                Cause::OutOfMemory => CauseRow::OutOfMemory,
                Cause::CpuTime => CauseRow::CpuTime,
                Cause::Disk => CauseRow::Disk,
                Cause::NotStarted(why) => {
                    CauseRow::NotStarted(why.step, why.errno, why.subject.as_bytes())
                }
                Cause::Lost(why) => CauseRow::Lost(*why),
                Cause::Other(word) => CauseRow::Other(word),
            },
            status: end.status,
            started_at_ms: end.started_at_ms,
            ended_at_ms: end.ended_at_ms,
            elapsed_ms: end.elapsed_ms,
            output_end: end.output_end,
            output_dropped: end.output_dropped,
            output_failed: end.output_failed,
            usage: end.usage.into(),
            survivors: end
                .survivors
                .iter()
                .map(|s| (s.pid, s.name.as_bytes()))
                .collect(),
        })),
    })
}

/// Reads it back.
pub(super) fn decode_state(raw: &[u8]) -> Result<JobState, postcard::Error> {
    Ok(match postcard::from_bytes(raw)? {
        StateRow::Pending(why) => JobState::Pending { why },
        StateRow::Starting => JobState::Starting,
        StateRow::Running(pid, since_ms) => JobState::Running { pid, since_ms },
        StateRow::Paused(pid, since_ms, paused_ms) => JobState::Paused {
            pid,
            since_ms,
            paused_ms,
        },
        StateRow::Unknown(what, alive) => JobState::Unknown { what, alive },
        StateRow::Finished(row) => JobState::Finished(Box::new(Finished {
            cause: match row.cause {
                CauseRow::Own => Cause::Own,
                CauseRow::Timeout => Cause::Timeout,
                CauseRow::Stopped(by) => Cause::Stopped { by: by.to_owned() },
                CauseRow::OutOfMemory => Cause::OutOfMemory,
                CauseRow::CpuTime => Cause::CpuTime,
                CauseRow::Disk => Cause::Disk,
                CauseRow::NotStarted(step, errno, subject) => Cause::NotStarted(NotStarted {
                    step,
                    errno,
                    subject: subject.to_vec().into(),
                }),
                CauseRow::Lost(why) => Cause::Lost(why),
                CauseRow::Other(word) => Cause::Other(word.to_owned()),
            },
            status: row.status,
            started_at_ms: row.started_at_ms,
            ended_at_ms: row.ended_at_ms,
            elapsed_ms: row.elapsed_ms,
            output_end: row.output_end,
            output_dropped: row.output_dropped,
            output_failed: row.output_failed,
            usage: row.usage.into(),
            survivors: row
                .survivors
                .iter()
                .map(|(pid, name)| Survivor {
                    pid: *pid,
                    name: name.to_vec().into(),
                })
                .collect(),
        })),
    })
}

fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    postcard::to_stdvec(row).expect("memory is the only limit of these plain values")
}

#[cfg(test)]
mod tests {
    use legwork_shim::exit::{NotStarted, Status, Step, Survivor, Usage};
    use legwork_shim::spec::{Meta, Stdin};

    use super::{decode_asked, decode_state, encode_asked, encode_state};
    use crate::job::Asked;
    use crate::record::Newer;
    use crate::state::{Cause, Finished, JobState, LostWhy, PendingWhy};

    fn asked() -> Asked {
        Asked {
            argv: vec!["sh".into(), vec![0xff, 0x20].into()],
            dir: "/tmp".into(),
            stdin: Stdin::Pipe,
            merge: true,
            timeout_ms: Some(7),
            stop_grace_ms: 10_000,
            meta: Meta {
                created_at_ms: 1 << 40,
                name: Some("name".into()),
                labels: [("k".into(), "v".into())].into(),
                owner: "me".into(),
                workspace: None,
                root: Some("00".into()),
                user: Some("builder".into()),
                ..Meta::default()
            },
        }
    }

    #[test]
    fn what_was_asked_survives_and_is_found_by_its_labels() {
        let raw = encode_asked(&asked());
        let label = |value: &str| vec![("k".to_owned(), value.to_owned())];
        assert_eq!(decode_asked(&raw, &[]).unwrap(), Some(asked()));
        assert_eq!(decode_asked(&raw, &label("v")).unwrap(), Some(asked()));
        assert_eq!(decode_asked(&raw, &label("w")).unwrap(), None);
    }

    #[test]
    fn every_state_survives() {
        let end = Finished::lost(LostWhy::ShimDied, Some(5), None);
        let causes = [
            Cause::Own,
            Cause::Timeout,
            Cause::Stopped { by: "me".into() },
            Cause::OutOfMemory,
            Cause::CpuTime,
            Cause::Disk,
            Cause::Lost(LostWhy::HostRebooted),
            Cause::Other("evicted".into()),
            Cause::NotStarted(NotStarted {
                step: Step::Exec,
                errno: 2,
                subject: vec![0xff].into(),
            }),
        ];
        let ends = causes.map(|cause| {
            JobState::Finished(Box::new(Finished {
                cause,
                status: Some(Status::Signal(9)),
                ended_at_ms: Some(9),
                output_end: Some(1 << 40),
                usage: Usage {
                    user_us: 1,
                    system_us: 2,
                    max_rss_bytes: 3,
                    exact: true,
                    memory_peak_bytes: Some(4),
                    pids_peak: Some(5),
                    read_bytes: None,
                    written_bytes: Some(7),
                    throttled_us: Some(8),
                    oom_kills: Some(9),
                    disk_bytes: Some(10),
                },
                survivors: vec![Survivor {
                    pid: 4,
                    name: "d".into(),
                }],
                ..end.clone()
            }))
        });
        let others = [
            JobState::Pending {
                why: PendingWhy::Root,
            },
            JobState::Starting,
            JobState::Running {
                pid: 1,
                since_ms: 2,
            },
            JobState::Paused {
                pid: 1,
                since_ms: 2,
                paused_ms: 3,
            },
            JobState::Unknown {
                what: Newer::Lines,
                alive: true,
            },
        ];
        for state in others.into_iter().chain(ends) {
            assert_eq!(decode_state(&encode_state(&state)).unwrap(), state);
        }
    }
}
