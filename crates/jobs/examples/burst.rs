//! How fast is it? Prints figures for many short jobs, for opening, listing and following.
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

use legwork_jobs::output::{OutputEvent, Read};
use legwork_jobs::{
    Clock, Config, JobId, JobState, Jobs, ListQuery, StartRequest, Status, SystemClock,
};
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
        list(&state).await?;
        follow(&state).await?;
        delay(&state).await
    })
}

fn request() -> StartRequest {
    let now = SystemClock.now_ms();
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
    let jobs = Jobs::open(Config::new(state))?.rebuild().await?.jobs;
    println!("built the index of {jobs} jobs in {:?}", begun.elapsed());
    Ok(())
}

/// 1 GiB through shim, disk and reader.
async fn follow(state: &Path) -> Result<(), Box<dyn Error>> {
    let jobs = Jobs::open(Config::new(state))?;
    for _ in 0..2 {
        let now = SystemClock.now_ms();
        let argv = ["/usr/bin/head", "-c", "1073741824", "/dev/zero"];
        let request = StartRequest::new(JobId::generate(now), argv, "/");
        let (begun, id) = (Instant::now(), request.id);
        jobs.start(request).await?;
        for kind in ["live", "past"] {
            let begun = if kind == "live" {
                begun
            } else {
                Instant::now()
            };
            let mut output = jobs.output(id, Read::all()).await?;
            let (mut bytes, mut events) = (0, 0);
            while let Some(event) = output.next().await {
                if let OutputEvent::Chunk(chunk) = event? {
                    bytes += chunk.data.len();
                    events += 1;
                }
            }
            let rate = 1024.0 / begun.elapsed().as_secs_f64();
            println!("{kind}: {bytes} bytes in {events} pieces, {rate:.0} MiB/s");
        }
        jobs.remove(id).await.or(Err("not removed"))?;
    }
    Ok(())
}

/// From the shim's reading of a line to its reader.
async fn delay(state: &Path) -> Result<(), Box<dyn Error>> {
    let jobs = Jobs::open(Config::new(state))?;
    let script = "for n in $(seq 100); do echo $n; sleep 0.005; done";
    let mut request = StartRequest::new(
        JobId::generate(SystemClock.now_ms()),
        ["/bin/sh", "-c", script],
        "/",
    );
    request.env.push(("PATH".into(), "/usr/bin:/bin".into()));
    let id = jobs.start(request).await?.id;
    let mut output = jobs.output(id, Read::all()).await?;
    let mut delays = Vec::new();
    while let Some(event) = output.next().await {
        if let OutputEvent::Chunk(chunk) = event? {
            let now = std::time::UNIX_EPOCH.elapsed()?.as_micros();
            delays.push(now.saturating_sub(chunk.runs[chunk.runs.len() - 1].time_us.into()));
        }
    }
    delays.sort_unstable();
    println!(
        "a line's delay: median {} us, worst {} us",
        delays[delays.len() / 2],
        delays[delays.len() - 1]
    );
    Ok(())
}
