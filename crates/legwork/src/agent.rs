//! Reporting this host's processes: collected on a thread, kept in a spool on disk, sent as the server takes it.
//!
//! Collecting does not wait for sending. The [`Sampler`] makes a snapshot when one is planned and pushes it into the spool, where it is durable
//! before the next one is made; [`send`] takes it from there, for as long as there is a server, and seeks the server anew, ever less often, while
//! there is none. What the spool has no room for is dropped with a gap in its place. So a death at any moment loses at most the snapshot that
//! is just being made.

pub(crate) mod sample;
mod send;
mod spool;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use legwork_processes::Settings;
use legwork_records::spool::Spool;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use self::sample::Sampler;
use crate::app::App;
use crate::error::CommandError;
use crate::notify::Manager;

/// How long what waits may be sent after the end has begun.
const FINISH: Duration = Duration::from_secs(5);
/// Between two looks whether all is sent.
const LOOK: Duration = Duration::from_millis(20);

/// What is asked of an agent.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) every: Duration,
    pub(crate) stream: String,
    pub(crate) spool_bytes: u64,
    pub(crate) settings: Settings,
}

/// What has happened, and what one half tells the other.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) snapshots: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) skipped: AtomicU64,
    /// Snapshots that could not be collected or not be kept.
    pub(crate) failed: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) rejected: AtomicU64,
    /// What was recorded did not arrive as it was: the next snapshot has to be whole.
    pub(crate) anew: AtomicBool,
}

/// Reports until it is told to end.
pub(crate) async fn run(app: &App, wanted: Wanted) -> Result<u8, CommandError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let choice = app.choice()?;
    let dir = spool::dir(app, &choice, &wanted.stream)?;
    let spool = Arc::new(spool::open(app, &dir, wanted.spool_bytes)?);
    let figures = Arc::new(Figures::default());
    let sampler = Sampler::begin(app.out, &wanted, Arc::clone(&spool), Arc::clone(&figures))?;
    let manager = Manager::of_environment();
    manager.ready("collecting");
    {
        let sending = send::send(app, &choice, &wanted.stream, &spool, &figures);
        tokio::pin!(sending);
        tokio::select! {
            () = &mut sending => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        manager.stopping();
        // What is being collected is collected to its end.
        tokio::task::spawn_blocking(move || sampler.end())
            .await
            .map_err(std::io::Error::other)?;
        tokio::select! {
            () = &mut sending => {}
            () = sent(&spool) => {}
            () = tokio::time::sleep(FINISH) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    let waiting = spool.waiting();
    let closing = Arc::clone(&spool);
    tokio::task::spawn_blocking(move || closing.close())
        .await
        .map_err(std::io::Error::other)??;
    tell(app, &figures, waiting)?;
    Ok(0)
}

/// Until the server has acknowledged everything.
async fn sent(spool: &Spool) {
    while spool.waiting() > 0 {
        tokio::time::sleep(LOOK).await;
    }
}

fn tell(app: &App, figures: &Figures, waiting: u64) -> Result<(), CommandError> {
    let count = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    if app.out.json {
        return app.out.json_line(&json!({
            "snapshots": count(&figures.snapshots),
            "late": count(&figures.late),
            "skipped": count(&figures.skipped),
            "failed": count(&figures.failed),
            "acknowledged": count(&figures.acknowledged),
            "rejected": count(&figures.rejected),
            "waiting": waiting,
        }));
    }
    let snapshots = crate::mirror::count(count(&figures.snapshots), "snapshot");
    app.out.note(&match waiting {
        0 => format!("{snapshots}, and the server has all that was collected"),
        _ => format!("{snapshots}; batches that the server has not taken, and that are kept for the next agent: {waiting}"),
    });
    Ok(())
}
