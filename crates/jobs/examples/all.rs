//! Everything once: create, start, status, pid, read bytes and lines, several readers, wait, stop, remove.
//!
//! `cargo run -p legwork-jobs --example all`
#![allow(
    clippy::print_stdout,
    clippy::allow_attributes,
    dead_code,
    unreachable_pub,
    reason = "an example prints; the tests run it as a module, without its main function"
)]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use legwork_jobs::output::{LinesEvent, OutputEvent, Position, Read};
use legwork_jobs::{
    Clock, Config, JobId, JobState, Jobs, ListQuery, StartRequest, Stop, SystemClock,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let state = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(show(state.path()))
}

/// The whole show.
pub async fn show(state: &Path) -> Outcome<()> {
    let jobs = Jobs::open(Config::new(state))?;

    // Create and start. The id is the caller's, so that a start can be repeated without harm.
    let id = JobId::generate(SystemClock.now_ms());
    let script = "for n in 1 2 3; do echo line $n; done; echo oops >&2; exec sleep 60";
    let mut request = StartRequest::new(id, ["sh", "-c", script], "/");
    request.env.push(("PATH".into(), "/usr/bin:/bin".into()));
    request.name = Some("show".into());
    let job = jobs.start(request).await?;
    println!("job {:.8} is {:?}", job.id, job.state);

    // Status and pid.
    let status = jobs.get(id).await?;
    println!("{:?} runs as {:?}", status.asked.argv, jobs.pid(id).await?);

    // Several readers, each at its own pace: bytes and lines, past and then live.
    let bytes = read_bytes(&jobs, id);
    let lines = read_lines(&jobs, id);
    let stopping = stop_after_four_lines(&jobs, id);
    let (bytes, lines, stopped) = tokio::join!(bytes, lines, stopping);
    println!("{} bytes, {} lines", bytes?, lines?);
    stopped?;

    // Wait: it has ended, so that is at once.
    let JobState::Finished(end) = jobs.wait(id).await?.state else {
        return Err("waited for, and not finished".into());
    };
    println!("ended: {:?}, {:?}", end.cause, end.status);

    for job in jobs.list(&ListQuery::default()).await?.jobs {
        println!("{:.8} {:?}", job.id, job.asked.meta.name);
    }
    jobs.remove(jobs.resolve(&id.short(), None).await?).await?;
    jobs.close().await;
    Ok(())
}

async fn read_bytes(jobs: &Jobs, id: JobId) -> Outcome<usize> {
    let mut output = jobs.output(id, Read::all()).await?;
    let mut count = 0;
    while let Some(event) = output.next().await {
        match event? {
            OutputEvent::Chunk(chunk) => count += chunk.data.len(),
            OutputEvent::Gap { offset, len } => println!("{len} bytes at {offset} were not kept"),
            OutputEvent::End { job, .. } => println!("bytes end with the job: {}", job.is_some()),
        }
    }
    Ok(count)
}

async fn read_lines(jobs: &Jobs, id: JobId) -> Outcome<usize> {
    let mut lines = jobs.output(id, Read::all()).await?.lines();
    let mut count = 0;
    while let Some(event) = lines.next().await {
        if let LinesEvent::Lines(batch) = event? {
            count += batch.len();
            for line in batch {
                println!("{:?}: {}", line.stream, String::from_utf8_lossy(&line.data));
            }
        }
    }
    Ok(count)
}

async fn stop_after_four_lines(jobs: &Jobs, id: JobId) -> Outcome<()> {
    let read = Read {
        from: Position::TailLines(10),
        ..Read::all()
    };
    let mut lines = jobs.output(id, read).await?.lines();
    let mut seen = 0;
    while seen < 4 {
        match lines.next().await.ok_or("ended early")?? {
            LinesEvent::Lines(batch) => seen += batch.len(),
            LinesEvent::Gap { .. } => {}
            LinesEvent::End { .. } => return Err("ended early".into()),
        }
    }
    let how = Stop {
        signal: None,
        grace: Some(Duration::from_secs(1)),
        by: "the example".into(),
    };
    jobs.stop(id, how).await?;
    Ok(())
}
