//! Where launches are somebody else's business, and where the kernel tells no news.

use std::path::Path;
use std::sync::Arc;

use legwork_jobs::output::Read;
use legwork_jobs::{
    Cause, JobState, Jobs, LaunchOrder, Launched, Launcher, Liveness, LocalLauncher, LostWhy,
};

use crate::sandbox::{Sandbox, drain, end_of, kill, runs, shell, until, until_printed};

/// Starts jobs, hears nothing from them, and never knows whether they live.
#[derive(Debug)]
struct Blind;

impl Launcher for Blind {
    fn launch(&self, order: LaunchOrder<'_>) -> std::io::Result<Launched> {
        let launched = LocalLauncher.launch(order)?;
        Ok(Launched {
            handshake: None,
            ..launched
        })
    }

    fn liveness(&self, _: &Path) -> Liveness {
        Liveness::Unknown
    }
}

#[tokio::test]
async fn what_is_not_known_is_never_gone() {
    let sandbox = Sandbox::new();
    let mut config = sandbox.config();
    config.launcher = Some(Arc::new(Blind));
    let blind = Jobs::open(config).unwrap();
    let job = blind.start(shell("echo ready; sleep 60")).await.unwrap();
    assert_eq!(job.state, JobState::Starting);
    until_printed(&blind, job.id, "ready").await;
    let shim = sandbox.launch(job.id).shim_pid;
    kill(shim);
    until(|| !runs(shim)).await;
    let seen = blind.get(job.id).await.unwrap();
    assert!(matches!(seen.state, JobState::Running { .. }), "{seen:?}");
    assert_eq!(blind.recover().await.unwrap(), 0);

    let seeing = sandbox.open().get(job.id).await.unwrap();
    assert_eq!(end_of(&seeing).cause, Cause::Lost(LostWhy::ShimDied));
}

#[tokio::test]
async fn all_of_it_by_the_clock() {
    let sandbox = Sandbox::new();
    let mut config = sandbox.config();
    config.poll = true;
    let jobs = Jobs::open(config).unwrap();
    let id = jobs
        .start(shell("echo ready; read line; echo end"))
        .await
        .unwrap()
        .id;
    let ended = jobs.wait(id).await.unwrap();
    let (bytes, _) = drain(&mut jobs.output(id, Read::all()).await.unwrap()).await;
    assert_eq!(bytes, b"ready\nend\n");
    assert_eq!(end_of(&ended).output_end, Some(10));

    let id = jobs.start(shell("echo ready; sleep 60")).await.unwrap().id;
    until_printed(&jobs, id, "ready").await;
    let (lost, ()) = tokio::join!(jobs.wait(id), async { kill(sandbox.launch(id).shim_pid) });
    assert_eq!(end_of(&lost.unwrap()).cause, Cause::Lost(LostWhy::ShimDied));
}
