//! Directories of starts that came to nothing, and jobs whose files are damaged.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use legwork_jobs::{Clock, Jobs, ListQuery, SystemClock};
use legwork_shim::lock;

use crate::sandbox::{Sandbox, new_id, printed, request, rewrite, shell};

/// A clock that is ahead.
#[derive(Debug)]
struct Ahead(u64);

impl Clock for Ahead {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() + self.0
    }
}

fn open_ahead(sandbox: &Sandbox, by_ms: u64) -> Jobs {
    let mut config = sandbox.config();
    config.clock = Arc::new(Ahead(by_ms));
    Jobs::open(config).unwrap()
}

/// A job directory with these files.
fn left(sandbox: &Sandbox, files: &[(&str, &str)]) -> PathBuf {
    let dir = sandbox.job_dir(new_id());
    fs::create_dir(&dir).unwrap();
    for (name, content) in files {
        fs::write(dir.join(name), content).unwrap();
    }
    dir
}

#[tokio::test]
async fn what_a_killed_start_or_a_power_failure_left_is_removed_when_it_is_old() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let never = jobs.start(request(&["true"])).await.unwrap().id;
    jobs.wait(never).await.unwrap();
    for rebuild in [false, true] {
        let gone = [
            left(&sandbox, &[]),
            left(&sandbox, &[("journal", "")]),
            left(&sandbox, &[("journal", "\0\0\0")]),
            left(&sandbox, &[("journal", "{\"spec\":{\"version\":1,\"id")]),
            left(&sandbox, &[("journal", "{\"spec\":{}}\n")]),
        ];
        let newer = left(&sandbox, &[("journal", "{\"spec\":{\"version\":99}}\n")]);
        let damaged = left(&sandbox, &[("journal", "\0\0\0\n")]);
        let claimed = left(&sandbox, &[("journal", "{\"launch\":}\n")]);
        let ended = left(&sandbox, &[("journal", "{\"exit\":{}}")]);
        let printed = left(&sandbox, &[("journal", ""), ("index", "")]);
        let started = left(&sandbox, &[("journal", "")]);
        let held = File::options()
            .write(true)
            .open(started.join("journal"))
            .unwrap();
        assert!(lock::acquire(&held).unwrap());

        let clear = async |jobs: Jobs| {
            if rebuild {
                jobs.rebuild().await.map(drop).unwrap();
            } else {
                jobs.recover().await.map(drop).unwrap();
            }
        };
        clear(open_ahead(&sandbox, 0)).await;
        assert!(gone.iter().all(|dir| dir.exists()));
        clear(open_ahead(&sandbox, 120_000)).await;
        assert!(!gone.iter().any(|dir| dir.exists()));
        let ran = sandbox.job_dir(never);
        for stays in [newer, damaged, claimed, ended, printed, started, ran] {
            assert!(stays.exists(), "{stays:?}");
        }
    }
}

#[tokio::test]
async fn what_is_left_of_a_start_is_no_obstacle_to_the_next_of_its_id() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let asked = shell("echo ran");
    fs::create_dir(sandbox.job_dir(asked.id)).unwrap();
    fs::write(sandbox.job_dir(asked.id).join("journal"), "{\"spec\":").unwrap();
    let clearing = open_ahead(&sandbox, 120_000);
    let (cleared, started) = tokio::join!(clearing.recover(), jobs.start(asked.clone()));
    cleared.unwrap();
    started.unwrap();
    assert_eq!(printed(&jobs, asked.id).await, "ran\n");
}

#[tokio::test]
async fn a_rebuild_names_the_jobs_whose_files_are_damaged_and_leaves_them() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = jobs.start(request(&["true"])).await.unwrap().id;
        jobs.wait(id).await.unwrap();
        ids.push(id);
    }
    let damage = |id, kind: &str| {
        let is_it = |line: &str| line.starts_with(&format!("{{\"{kind}"));
        let damaged = |line: &str| if is_it(line) { "{" } else { line }.to_owned();
        rewrite(&jobs.job_dir(id), |line| Some(damaged(line)));
    };
    damage(ids[0], "spec");
    rewrite(&jobs.job_dir(ids[1]), |line| {
        Some(line.replace("{\"exit\":{", "{\"exit\":"))
    });
    let ahead = open_ahead(&sandbox, 120_000);
    let mut rebuilt = ahead.rebuild().await.unwrap();
    rebuilt.damaged.sort();
    assert_eq!((rebuilt.jobs, &rebuilt.damaged[..]), (1, &ids[..2]));
    assert!(ids.iter().all(|id| jobs.job_dir(*id).exists()));
    let page = jobs.list(&ListQuery::default()).await.unwrap();
    assert_eq!(page.jobs.len(), 1);
}
