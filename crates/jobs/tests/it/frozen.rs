//! Job directories that earlier versions of the shim wrote, kept in `testdata`, and what is told of them.
//!
//! `testdata/v1` was made once, by the shim of that version, and is never made again: that this version can read it is the promise. A new
//! version of a format gets a directory of its own beside it (see `testdata/README.md`), and then both are read.

mod make;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use legwork_jobs::output::{OutputEvent, Read, Streams};
use legwork_jobs::{Cause, Finished, Job, JobId, JobState, Jobs, ListQuery, LostWhy, Spec};
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, line};

/// The boot of which the claims there are.
pub(super) const BOOT: &str = "b0070000-0000-4000-8000-000000000001";
/// What the files there were last changed at; a checkout does not keep it.
const CHANGED: Duration = Duration::from_secs(2_000_000_000);

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A state directory as it was, for a test to use up.
fn thawed(version: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    copy(&testdata().join(version).join("state"), &sandbox.state());
    sandbox
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
            let changed: SystemTime = UNIX_EPOCH + CHANGED;
            File::options()
                .write(true)
                .open(&to)
                .and_then(|file| file.set_modified(changed))
                .unwrap();
        }
    }
}

/// Everything below a directory, with the times of its files.
fn content(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for name in names(dir) {
        let path = dir.join(name);
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            let changed = path.metadata().unwrap().modified().unwrap();
            found.insert(path.clone(), (std::fs::read(&path).unwrap(), changed));
        }
    }
    found
}

fn opened(sandbox: &Sandbox, boot: &str) -> Jobs {
    let mut config = sandbox.config();
    config.boot_id = Some(boot.to_owned());
    Jobs::open(config).unwrap()
}

async fn listed(jobs: &Jobs) -> Vec<Job> {
    jobs.list(&ListQuery::default()).await.unwrap().jobs
}

/// What `status`, `wait` and `logs` tell of a job, by its name.
async fn facts(jobs: &Jobs, job: &Job) -> Value {
    let state = match &job.state {
        JobState::Finished(end) => ended(end),
        other => json!(other.phase().name()),
    };
    let (id, asked) = (job.id, &job.asked);
    json!({
        "id": id.uuid(),
        "argv": asked.argv,
        "dir": asked.dir,
        "stdin": asked.stdin,
        "merge": asked.merge,
        "timeout_ms": asked.timeout_ms,
        "stop_grace_ms": asked.stop_grace_ms,
        "meta": asked.meta,
        "state": state,
        "raw": output(jobs, id, Streams::Raw).await,
        "stdout": output(jobs, id, Streams::Stdout).await,
        "stderr": output(jobs, id, Streams::Stderr).await,
    })
}

fn cause(cause: &Cause) -> Value {
    match cause {
        Cause::Own => json!("own"),
        Cause::Timeout => json!("timeout"),
        Cause::Stopped { by } => json!(["stopped", by]),
        Cause::OutOfMemory => json!("out of memory"),
        Cause::CpuTime => json!("processor time"),
        Cause::Disk => json!("disk"),
        Cause::NotStarted(why) => json!(["not started", why.step, why.errno, why.subject]),
        Cause::Lost(LostWhy::ShimDied) => json!("shim died"),
        Cause::Lost(LostWhy::HostRebooted) => json!("host rebooted"),
        Cause::Lost(LostWhy::DirectoryGone) => json!("directory gone"),
        Cause::Other(word) => json!(["other", word]),
    }
}

fn ended(end: &Finished) -> Value {
    json!({
        "cause": cause(&end.cause),
        "status": end.status,
        "started_at_ms": end.started_at_ms,
        "ended_at_ms": end.ended_at_ms,
        "elapsed_ms": end.elapsed_ms,
        "output_end": end.output_end,
        "output_dropped": end.output_dropped,
        "output_failed": end.output_failed,
        "usage": end.usage,
        "survivors": end.survivors,
    })
}

async fn output(jobs: &Jobs, id: JobId, streams: Streams) -> Value {
    let read = Read {
        streams,
        ..Read::all()
    };
    let mut output = jobs.output(id, read).await.unwrap();
    let (mut told, mut text) = (Vec::new(), Vec::new());
    while let Some(event) = output.next().await {
        let event = event.unwrap();
        if let OutputEvent::Chunk(chunk) = &event {
            text.extend_from_slice(&chunk.data);
            continue;
        }
        if !text.is_empty() {
            told.push(summary(&std::mem::take(&mut text)));
        }
        told.push(match event {
            OutputEvent::Gap { offset, len } => json!({"gap": len, "at": offset}),
            OutputEvent::End { offset, job } => json!({"end": offset, "over": job.is_some()}),
            OutputEvent::Chunk(_) => Value::Null,
        });
    }
    json!(told)
}

/// The text where it is short, else its length, its edges, and a sum (FNV-1a) of all of it.
fn summary(text: &[u8]) -> Value {
    let sum = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if text.len() <= 200 {
        return json!(words(text));
    }
    let (first, last) = (words(&text[..16]), words(&text[text.len() - 16..]));
    json!({"bytes": text.len(), "first": first, "last": last, "sum": format!("{sum:016x}")})
}

async fn all_facts(jobs: &Jobs) -> Value {
    let mut told = BTreeMap::new();
    for job in listed(jobs).await {
        let name = job.asked.meta.name.clone().unwrap();
        told.insert(name, facts(jobs, &job).await);
    }
    json!(told)
}

#[tokio::test]
async fn whatever_an_earlier_version_wrote_is_told_as_then_and_left_as_it_is() {
    for version in names(&testdata())
        .iter()
        .filter(|name| name.starts_with('v'))
    {
        let sandbox = thawed(version);
        let jobs_dir = sandbox.state().join("jobs");
        let before = content(&jobs_dir);
        let jobs = opened(&sandbox, BOOT);
        let told = all_facts(&jobs).await;
        let raw = std::fs::read(testdata().join(version).join("facts.json")).unwrap();
        let known: Value = serde_json::from_slice(&raw).unwrap();
        for (name, facts) in known.as_object().unwrap() {
            assert_eq!(&told[name], facts, "{version}: {name}");
            assert_ne!(facts["state"]["cause"], Value::Null, "{version}: {name}");
        }
        assert_eq!(
            told.as_object().unwrap().len(),
            known.as_object().unwrap().len()
        );
        for job in listed(&jobs).await {
            let dir = jobs.job_dir(job.id);
            let spec: Spec = jobs.spec(job.id).await.unwrap();
            let written: Value = serde_json::from_str(&line(&dir, "spec")).unwrap();
            assert_eq!(serde_json::to_value(spec).unwrap(), written["spec"]);
            assert_eq!(jobs.wait(job.id).await.unwrap(), job);
        }
        jobs.rebuild().await.unwrap();
        assert_eq!(all_facts(&jobs).await, told);
        assert_eq!(content(&jobs_dir), before, "{version}");
    }
}

/// In words of this file, so that the facts that were written down cannot all be wrong together.
#[tokio::test]
async fn what_the_first_version_wrote_means_what_it_meant() {
    let sandbox = thawed("v1");
    let told = all_facts(&opened(&sandbox, BOOT)).await;
    let code = |code: i32| json!({ "code": code });
    let signal = |number: i32| json!({ "signal": number });
    let never = |step: &str, subject: &str| json!(["not started", step, 2, subject]);
    for (name, cause, status) in [
        ("code-0", json!("own"), code(0)),
        ("code-3-merged", json!("own"), code(3)),
        ("signal", json!("own"), signal(9)),
        ("timeout", json!("timeout"), signal(15)),
        ("stopped", json!(["stopped", "tester"]), signal(15)),
        ("cpu-time", json!("processor time"), signal(15)),
        ("out-of-memory", json!("out of memory"), signal(9)),
        ("stdin", json!("own"), code(0)),
        ("limits", json!("own"), code(0)),
        ("truncated", json!("own"), code(0)),
        ("no-program", never("exec", "/no/such/program"), Value::Null),
        (
            "no-directory",
            never("dir", "/no/such/directory"),
            Value::Null,
        ),
        ("shim-killed", json!("shim died"), Value::Null),
        ("shim-killed-paused", json!("shim died"), Value::Null),
    ] {
        let state = &told[name]["state"];
        assert_eq!(
            (&state["cause"], &state["status"]),
            (&cause, &status),
            "{name}"
        );
    }
    assert_eq!(told["stdin"]["raw"][0], json!("hello\n"));
    assert_eq!(told["code-0"]["stdout"][0], json!("out\n"));
    assert_eq!(told["code-0"]["stderr"][0], json!("err\n"));
    assert_eq!(told["code-3-merged"]["stdout"][0], json!("out\nerr\n"));
    let truncated = &told["truncated"]["state"];
    assert_eq!(truncated["output_end"], json!(440_000));
    assert_eq!(truncated["output_dropped"], json!(440_000 - 63_168));

    // What ran then and was never seen to end is lost to whoever looks after a reboot.
    let after = all_facts(&opened(&thawed("v1"), "another")).await;
    assert_eq!(
        after["shim-killed"]["state"]["cause"],
        json!("host rebooted")
    );
    assert_eq!(after["stopped"], told["stopped"]);
}
