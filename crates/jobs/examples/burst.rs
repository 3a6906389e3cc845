//! How fast is it? Prints figures for many short jobs, for opening, and for listing.
//!
//! `cargo run --release -p legwork-jobs --example burst [JOBS [AT_ONCE [STATE]]]`
//!
//! Without STATE the jobs live in a temporary directory, which is deleted in the end. Beware: ext4 makes files slowly for
//! minutes where many have been deleted, so measure with a STATE that is kept.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use legwork_jobs::{Config, JobId, JobState, Jobs, ListQuery, StartRequest, Status};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let jobs = arguments.next().map_or(Ok(200), |count| count.parse())?;
    let at_once = arguments.next().map_or(Ok(8), |count| count.parse())?;
    let temporary = tempfile::tempdir()?;
    let state = arguments
        .next()
        .map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for round in 0..5 {
            let opened = Jobs::open(Config::new(&state))?;
            let begun = Instant::now();
            burst(&opened, jobs, at_once).await?;
            let seconds = begun.elapsed().as_secs_f64();
            println!(
                "round {round}: {jobs} jobs, {at_once} at once: {:.0} /s",
                f64::from(jobs) / seconds
            );
            opened.close().await;
        }
        one(&state).await?;
        list(&state).await
    })
}

fn request() -> StartRequest {
    let now = legwork_jobs::Clock::now_ms(&legwork_jobs::SystemClock);
    StartRequest::new(JobId::generate(now), ["/bin/true"], "/")
}

async fn burst(jobs: &Jobs, count: u32, at_once: usize) -> Result<(), Box<dyn Error>> {
    let slots = Arc::new(Semaphore::new(at_once));
    let mut running = JoinSet::new();
    for _ in 0..count {
        let slot = slots.clone().acquire_owned().await?;
        let (jobs, request) = (jobs.clone(), request());
        running.spawn(async move {
            let job = jobs.start(request).await;
            let ended = match job {
                Ok(job) => jobs.wait(job.id).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            drop(slot);
            ended
        });
    }
    while let Some(ended) = running.join_next().await {
        let JobState::Finished(end) = ended??.state else {
            return Err("waited for, and not finished".into());
        };
        assert_eq!(end.status, Some(Status::Code(0)));
    }
    Ok(())
}

/// What a command line does: open, start, wait.
async fn one(state: &Path) -> Result<(), Box<dyn Error>> {
    for _ in 0..5 {
        let begun = Instant::now();
        let jobs = Jobs::open(Config::new(state))?;
        let opened = begun.elapsed();
        let job = jobs.start(request()).await?;
        let started = begun.elapsed();
        jobs.wait(job.id).await?;
        println!(
            "opened after {opened:?}, started after {started:?}, ended after {:?}",
            begun.elapsed()
        );
    }
    Ok(())
}

async fn list(state: &Path) -> Result<(), Box<dyn Error>> {
    for _ in 0..3 {
        let begun = Instant::now();
        let jobs = Jobs::open(Config::new(state))?;
        let page = jobs.list(&ListQuery::default()).await?;
        println!("listed {} jobs in {:?}", page.jobs.len(), begun.elapsed());
    }
    let begun = Instant::now();
    let jobs = Jobs::open(Config::new(state))?.rebuild().await?;
    println!("built the index of {jobs} jobs in {:?}", begun.elapsed());
    Ok(())
}
