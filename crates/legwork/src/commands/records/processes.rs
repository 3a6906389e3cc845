//! `legwork records send --processes`: one snapshot of this host.

use clap::Args;
use legwork_client::{FromMemory, Heard, SendOptions};
use legwork_processes::{Collector, Recorder};
use legwork_records::{Clock, SystemClock};
use serde_json::json;

use crate::agent::sample::{batches, failed, run_id};
use crate::app::App;
use crate::commands::agent::Cmdlines;
use crate::error::{CommandError, FAILED};

/// The stream of processes, unless another one is named.
const PROCESSES: &str = "process";

/// What is sent instead of input.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Snapshot {
    /// Send what runs on this host now, to the stream `process` unless another one is named
    #[arg(long, conflicts_with = "file")]
    processes: bool,
    #[command(flatten)]
    cmdlines: Cmdlines,
}

impl Snapshot {
    pub(super) const fn is_wanted(self) -> bool {
        self.processes
    }
}

/// Collects one and sends it.
pub(super) async fn send(
    app: &App,
    stream: Option<&str>,
    host: String,
    snapshot: Snapshot,
) -> Result<u8, CommandError> {
    let stream = stream.unwrap_or(PROCESSES);
    let session = app.connect().await?;
    let observed = SystemClock.now();
    let mut collector = Collector::open(snapshot.cmdlines.settings()).map_err(failed)?;
    let table = collector.collect().map_err(failed)?;
    let processes = table.processes.len();
    let batches = batches(Recorder::new(run_id(), 0).record(table));
    let (feed, mut source) = FromMemory::new(batches.len());
    for batch in batches {
        let records = batch.iter().filter(|byte| **byte == b'\n').count();
        // There is room for all of them.
        let put = feed.put(batch, vec![observed; records]).await;
        put.map_err(std::io::Error::other)?;
    }
    drop(feed);
    let options = SendOptions {
        stream: stream.to_owned(),
        host,
    };
    let mut refused = None;
    let hear = |heard| {
        if let Heard::Ack(ack) = heard {
            let first = ack.rejections.into_iter().next();
            refused = refused.take().or(first.map(|rejection| rejection.message));
        }
    };
    session
        .client
        .send_records(&options, &mut source, hear)
        .await?;
    if let Some(why) = refused {
        let message = format!("{stream} refuses some of it: {why}");
        return Err(CommandError::new(FAILED, "REJECTED", message));
    }
    if app.out.json {
        app.out
            .json_line(&json!({ "stream": stream, "processes": processes }))?;
    } else {
        // There is always more than one.
        app.out.note(&format!(
            "a snapshot of {processes} processes is in {stream}"
        ));
    }
    Ok(0)
}
