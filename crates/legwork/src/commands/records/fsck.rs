//! `legwork records fsck`.

use clap::Args;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{CommandError, FAILED};

/// Look at every line of a stream's log, or of all, and change nothing: what is damaged, missing or torn. Exits with 1 if anything is.
///
/// A log that is being written may look torn at its end.
#[derive(Debug, Args)]
pub(super) struct Fsck {
    /// This stream; else all
    #[arg(long, short)]
    stream: Option<String>,
}

pub(super) async fn run(app: &App, args: Fsck) -> Result<u8, CommandError> {
    let session = app.connect().await?;
    let names = match args.stream {
        Some(stream) => vec![stream],
        None => {
            let streams = session.client.streams().await?;
            streams.into_iter().map(|stream| stream.name).collect()
        }
    };
    let mut code = 0;
    for name in names {
        let report = session.client.fsck(&name).await?;
        if report.total > 0 {
            code = FAILED;
        }
        if app.out.json {
            let problems: Vec<Value> = report
                .problems
                .iter()
                .map(|found| {
                    json!({
                        "segment": found.segment,
                        "offset": found.offset,
                        "kind": found.kind,
                        "message": found.message,
                    })
                })
                .collect();
            app.out.json_line(&json!({
                "stream": name,
                "segments": report.segments,
                "lines": report.lines,
                "bytes": report.bytes,
                "total": report.total,
                "problems": problems,
            }))?;
            continue;
        }
        app.out.text(&format!(
            "{}: {} good lines, {} bytes in {} segments, {} problems\n",
            crate::output::printable(&name),
            report.lines,
            report.bytes,
            report.segments,
            report.total
        ))?;
        for found in &report.problems {
            app.out.text(&format!(
                "  segment {} at byte {}: {} ({})\n",
                found.segment,
                found.offset,
                crate::output::printable(&found.message),
                crate::output::printable(&found.kind)
            ))?;
        }
    }
    session.close_logs().await;
    Ok(code)
}
