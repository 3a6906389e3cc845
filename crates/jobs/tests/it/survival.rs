//! A job outlives everything but its host, and a lost one is told so.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use legwork_jobs::output::Read;
use legwork_jobs::{Cause, Config, JobId, Jobs, LostWhy, Status, Stop, TypedId};

use crate::sandbox::{
    Sandbox, drain, end_of, kill, line, printed, request, rewrite, runs, shell, until,
    until_printed,
};

const HELPER_STATE: &str = "LEGWORK_TEST_STATE";

#[tokio::test]
async fn its_starter_may_die() {
    let sandbox = Sandbox::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "a process to be killed, which is no job"
    )]
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "survival::helper_starts_a_job",
            "--ignored",
            "--nocapture",
        ])
        .env(HELPER_STATE, sandbox.state())
        .env("HELPER_GATE", sandbox.path("gate"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(starter.stdout.take().unwrap());
    let id = said
        .lines()
        .find_map(|line| Some(line.unwrap().split_once("started ")?.1.to_owned()))
        .unwrap();
    starter.kill().unwrap();
    starter.wait().unwrap();

    let jobs = sandbox.open();
    let TypedId::Whole(id) = id.parse().unwrap() else {
        panic!("{id}");
    };
    until_printed(&jobs, id, "before").await;
    let follower = jobs.output(id, Read::all()).await.unwrap();
    std::fs::write(sandbox.path("gate"), "").unwrap();
    let end = jobs.wait(id).await.unwrap();
    assert_eq!(end_of(&end).status, Some(Status::Code(6)));
    let mut follower = follower;
    assert_eq!(drain(&mut follower).await.0, b"before\nafter\n");
}

/// Not a test: the process that [`its_starter_may_die`] kills.
#[tokio::test]
#[ignore = "run by its_starter_may_die"]
#[expect(clippy::print_stdout, reason = "tells the test which job it started")]
async fn helper_starts_a_job() {
    let state = PathBuf::from(std::env::var_os(HELPER_STATE).unwrap());
    let gate = PathBuf::from(std::env::var_os("HELPER_GATE").unwrap());
    let jobs = Jobs::open(Config::new(state)).unwrap();
    let script = format!(
        "echo before; while [ ! -e {} ]; do sleep 0.01; done; echo after; exit 6",
        gate.display()
    );
    let job = jobs.start(shell(&script)).await.unwrap();
    println!("started {}", job.id.uuid());
    std::future::pending::<()>().await;
}

async fn with_a_tree(jobs: &Jobs) -> (JobId, Vec<u32>) {
    let script =
        "setsid sleep 61 & echo $!; (setsid sleep 62 & echo $!); echo $$; echo ready; sleep 63";
    let id = jobs.start(shell(script)).await.unwrap().id;
    until_printed(jobs, id, "ready").await;
    let mut past = jobs.output(id, Read::past()).await.unwrap();
    let text = String::from_utf8(drain(&mut past).await.0).unwrap();
    let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|pid| runs(*pid)));
    (id, pids)
}

/// Whoever was killed has let go of all it had, and may still be on its way out.
async fn all_gone(pids: &[u32]) {
    until(|| pids.iter().all(|pid| !runs(*pid))).await;
}

#[tokio::test]
async fn a_killed_shim_is_noticed_at_once_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let (id, pids) = with_a_tree(&jobs).await;
    let waiting = jobs.wait(id);
    let killing = async { kill(sandbox.launch(id).shim_pid) };
    let soon = std::time::Duration::from_secs(4);
    let (job, ()) = tokio::join!(tokio::time::timeout(soon, waiting), killing);
    let job = job.unwrap().unwrap();
    let end = end_of(&job);
    assert_eq!(end.cause, Cause::Lost(LostWhy::ShimDied));
    let printed_all = printed(&jobs, id).await;
    assert_eq!(
        (end.status, end.output_end, end.output_dropped),
        (None, Some(printed_all.len() as u64), 0)
    );
    assert!(end.started_at_ms <= end.ended_at_ms);
    assert!(end.survivors.is_empty(), "{end:?}");
    all_gone(&pids).await;
    assert!(printed_all.ends_with("ready\n"));
    assert_eq!(sandbox.open().get(id).await.unwrap(), job);
    let stop = Stop {
        signal: None,
        grace: None,
        by: String::new(),
    };
    assert_eq!(jobs.stop(id, stop).await.unwrap(), job);
    jobs.remove(id).await.unwrap();
}

#[tokio::test]
async fn whoever_looks_next_sweeps() {
    let sandbox = Sandbox::new();
    let first = sandbox.open();
    let (id, pids) = with_a_tree(&first).await;
    first.close().await;
    let shim = sandbox.launch(id).shim_pid;
    kill(shim);
    until(|| !runs(shim)).await;
    let next = sandbox.open();
    assert_eq!(next.recover().await.unwrap(), 1);
    all_gone(&pids).await;
    assert_eq!(
        end_of(&next.get(id).await.unwrap()).cause,
        Cause::Lost(LostWhy::ShimDied)
    );
    assert_eq!(next.recover().await.unwrap(), 0);
}

#[tokio::test]
async fn after_a_reboot_it_is_lost_and_a_late_record_is_believed() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let id = jobs.start(request(&["sleep", "60"])).await.unwrap().id;
    let done = jobs.start(request(&["true"])).await.unwrap().id;
    let done = jobs.wait(done).await.unwrap();
    let shim = sandbox.launch(id).shim_pid;
    kill(shim);
    until(|| !runs(shim)).await;
    drop(jobs);
    // What the shim wrote last says until when it lived at least, and how far the output goes.
    let segment = sandbox.job_dir(id).join("output.00000000000000000000");
    std::fs::write(&segment, "seven\n\n").unwrap();
    let seen = std::time::UNIX_EPOCH + std::time::Duration::from_secs(4_000_000_000);
    File::options()
        .write(true)
        .open(&segment)
        .and_then(|segment| segment.set_modified(seen))
        .unwrap();

    let mut config = sandbox.config();
    config.boot_id = Some("11111111-2222-3333-4444-555555555555".into());
    let rebooted = Jobs::open(config).unwrap();
    let lost = rebooted.get(id).await.unwrap();
    let end = end_of(&lost);
    assert_eq!(end.cause, Cause::Lost(LostWhy::HostRebooted));
    let seen_ms = seen
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    assert_eq!(end.ended_at_ms.map(u128::from), Some(seen_ms));
    assert_eq!(end.output_end, Some(7));
    let elapsed = end.ended_at_ms.unwrap() - end.started_at_ms.unwrap();
    assert_eq!(end.elapsed_ms, elapsed);
    assert_eq!(rebooted.get(id).await.unwrap(), lost);
    assert_eq!(rebooted.get(done.id).await.unwrap(), done);

    let record = line(&rebooted.job_dir(done.id), "exit");
    let mut journal = File::options()
        .append(true)
        .open(rebooted.job_dir(id).join("journal"));
    // Its line feed need not have come to the disk.
    journal
        .as_mut()
        .unwrap()
        .write_all(record.as_bytes())
        .unwrap();
    let told = rebooted.get(id).await.unwrap();
    assert_eq!(end_of(&told).status, Some(Status::Code(0)));
}

#[tokio::test]
async fn a_launch_that_never_came_about_can_be_made_again() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let asked = shell("echo ran");
    let id = jobs.start(asked.clone()).await.unwrap().id;
    jobs.wait(id).await.unwrap();
    let shim = sandbox.launch(id).shim_pid;
    until(|| !runs(shim)).await;
    // As if its starter had died between spec and shim.
    let dir = jobs.job_dir(id);
    for name in ["index", "output.00000000000000000000"] {
        std::fs::remove_file(dir.join(name)).unwrap();
    }
    rewrite(&dir, |line| {
        line.starts_with("{\"spec\"").then(|| line.to_owned())
    });
    jobs.rebuild().await.unwrap();
    let never = jobs.get(id).await.unwrap();
    assert!(
        matches!(end_of(&never).cause, Cause::NotStarted(_)),
        "{never:?}"
    );
    jobs.start(asked).await.unwrap();
    assert_eq!(printed(&jobs, id).await, "ran\n");
    assert_eq!(
        end_of(&jobs.wait(id).await.unwrap()).status,
        Some(Status::Code(0))
    );
}
