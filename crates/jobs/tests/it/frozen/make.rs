//! Makes the directory of a new version below `testdata`; run by hand, see the page there.

use std::path::Path;
use std::time::Duration;

use legwork_jobs::{JobId, Jobs, Limits, LimitsMode, Resource, Rlimit, StartRequest, Stdin, Stop};
use legwork_shim::layout;

use super::{BOOT, all_facts, opened, testdata, thawed};
use crate::sandbox::{Sandbox, kill, request, rewrite, runs, shell, until, until_printed};

/// Nobody can make a job run out of memory on every host: this is what becomes of one that was killed otherwise.
const KILLED: &str = r#""cause":"own""#;
const OUT_OF_MEMORY: &str = r#""cause":"out_of_memory""#;
const COUNTED: &str = r#""exact":true,"memory_peak_bytes":1048576,"pids_peak":3,"read_bytes":4096,"written_bytes":0,"throttled_us":7,"oom_kills":1}"#;

fn named(name: &str, mut request: StartRequest) -> StartRequest {
    request.name = Some(name.to_owned());
    request.owner = "tester".to_owned();
    request
}

fn simple() -> Vec<StartRequest> {
    let mut merged = named("code-3-merged", shell("echo out; echo err >&2; exit 3"));
    merged.merge = true;
    merged.labels.insert("kind".into(), "merged".into());
    let mut timeout = named("timeout", shell("echo begun; exec sleep 60"));
    timeout.timeout = Some(Duration::from_millis(300));
    let mut spent = named("cpu-time", shell("while :; do :; done"));
    spent.limits.cpu_time_ms = Some(100);
    let mut large = named("disk", shell("exec sleep 60"));
    // Whatever is in there takes more than that.
    (large.dir, large.limits.disk) = ("/etc".into(), Some(1));
    let mut limits = named("limits", shell("ulimit -n"));
    limits.limits = Limits {
        memory: Some(1 << 30),
        nice: Some(5),
        oom_score_adj: Some(500),
        cpuset: vec![0],
        rlimits: vec![Rlimit {
            resource: Resource::Nofile,
            soft: Some(77),
            hard: Some(88),
        }],
        ..Limits::default()
    };
    limits.limits_mode = LimitsMode::BestEffort;
    let lines =
        "i=0; while [ $i -lt 40000 ]; do echo 012345678; i=$((i+1)); done; printf %040000d 1";
    let mut truncated = named("truncated", shell(lines));
    truncated.output_limit = 64 * 1024;
    let mut nowhere = named("no-directory", request(&["true"]));
    nowhere.dir = "/no/such/directory".into();
    vec![
        named("code-0", shell("echo out; sleep 0.05; echo err >&2")),
        merged,
        named("signal", shell("kill -9 $$")),
        named("out-of-memory", shell("kill -9 $$")),
        timeout,
        spent,
        large,
        limits,
        truncated,
        named("no-program", request(&["/no/such/program", "argument"])),
        nowhere,
    ]
}

async fn begun(jobs: &Jobs, name: &str, script: &str) -> JobId {
    let id = jobs.start(named(name, shell(script))).await.unwrap().id;
    until_printed(jobs, id, "ready").await;
    id
}

async fn others(sandbox: &Sandbox, jobs: &Jobs) {
    let stopped = begun(jobs, "stopped", "echo ready; exec sleep 60").await;
    let stop = Stop {
        signal: None,
        grace: None,
        by: "tester".into(),
    };
    jobs.stop(stopped, stop).await.unwrap();
    let mut fed = named("stdin", request(&["cat"]));
    fed.stdin = Stdin::Pipe;
    let fed = jobs.start(fed).await.unwrap().id;
    let mut stdin = jobs.stdin(fed).await.unwrap();
    stdin.write_at(0, b"hello\n").await.unwrap();
    stdin.finish().await.unwrap();
    jobs.wait(fed).await.unwrap();
    for name in ["shim-killed", "shim-killed-paused"] {
        let id = begun(jobs, name, "echo ready; exec sleep 60").await;
        if name.ends_with("paused") {
            jobs.pause(id).await.unwrap();
        }
        let shim = sandbox.launch(id).shim_pid;
        kill(shim);
        until(|| !runs(shim)).await;
        jobs.wait(id).await.unwrap();
    }
}

fn freeze(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in super::names(from) {
        // A socket of a shim that was killed cannot be kept.
        if name == layout::CONTROL {
            continue;
        }
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            freeze(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "makes a new directory below testdata, which is named by LEGWORK_FREEZE"]
async fn a_new_version() {
    #[expect(clippy::disallowed_methods, reason = "it is run by hand")]
    let version = std::env::var("LEGWORK_FREEZE").unwrap();
    let target = testdata().join(&version);
    assert!(version.starts_with('v') && !target.exists(), "{target:?}");
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    for request in simple() {
        let id = jobs.start(request).await.unwrap().id;
        jobs.wait(id).await.unwrap();
    }
    others(&sandbox, &jobs).await;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for job in super::listed(&jobs).await {
        let out_of_memory = job.asked.meta.name.as_deref() == Some("out-of-memory");
        rewrite(&jobs.job_dir(job.id), |line| {
            let line = line.replace(boot.trim_end(), BOOT);
            Some(if out_of_memory && line.starts_with("{\"exit\"") {
                let counted = line.replace(KILLED, OUT_OF_MEMORY);
                let (before, after) = counted.split_once("},\"survivors\"").unwrap();
                format!("{before},{COUNTED},\"survivors\"{after}")
            } else {
                line
            })
        });
    }
    let state = target.join("state");
    freeze(&sandbox.state().join("jobs"), &state.join("jobs"));
    std::fs::copy(sandbox.state().join("version"), state.join("version")).unwrap();
    let facts = all_facts(&opened(&thawed(&version), BOOT)).await;
    let facts = serde_json::to_string_pretty(&facts).unwrap();
    std::fs::write(target.join("facts.json"), facts + "\n").unwrap();
}
