//! `legwork records stats`.

use clap::Args;
use legwork_client::{LogStats, StreamInfo};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::CommandError;
use crate::output::printable;

/// How streams are doing: all of them in a line each, or the log of one.
#[derive(Debug, Args)]
pub(super) struct Stats {
    /// This stream; else all
    #[arg(long, short)]
    stream: Option<String>,
}

pub(super) async fn run(app: &App, args: Stats) -> Result<u8, CommandError> {
    let session = app.connect().await?;
    let Some(stream) = args.stream else {
        let streams = session.client.streams().await?;
        session.close_logs().await;
        if app.out.json {
            let all: Vec<Value> = streams.iter().map(info).collect();
            app.out.json_line(&all)?;
        } else {
            app.out.text(&table(&streams))?;
        }
        return Ok(0);
    };
    let stats = session.client.stream_stats(&stream).await?;
    session.close_logs().await;
    if app.out.json {
        app.out.json_line(&to_json(&stats))?;
    } else {
        app.out.text(&text(&stats))?;
    }
    Ok(0)
}

fn table(streams: &[StreamInfo]) -> String {
    let mut text = format!(
        "{:<24} {:>12} {:>12} {:<27}\n",
        "STREAM", "LINES", "BYTES", "LATEST"
    );
    for stream in streams {
        let name = printable(&stream.name);
        text.push_str(&match &stream.problem {
            Some(problem) => format!("{name:<24} {}\n", printable(problem)),
            None => format!(
                "{name:<24} {:>12} {:>12} {:<27}\n",
                stream.next.saturating_sub(stream.first),
                stream.disk_bytes,
                stream
                    .times
                    .map(|(_, latest)| moment(latest))
                    .unwrap_or_default(),
            ),
        });
    }
    text
}

fn moment(micros: u64) -> String {
    let micros = i64::try_from(micros).unwrap_or(i64::MAX);
    let moment = jiff::Timestamp::from_microsecond(micros);
    moment
        .map(|moment| format!("{moment:.6}"))
        .unwrap_or_default()
}

fn info(stream: &StreamInfo) -> Value {
    json!({
        "name": stream.name,
        "diskBytes": stream.disk_bytes,
        "first": stream.first,
        "next": stream.next,
        "earliest": stream.times.map(|(earliest, _)| moment(earliest)),
        "latest": stream.times.map(|(_, latest)| moment(latest)),
        "problem": stream.problem,
    })
}

fn to_json(stats: &LogStats) -> Value {
    json!({
        "info": info(&stats.info),
        "durability": stats.durability.to_string(),
        "opened": moment(stats.opened),
        "segments": stats.segments,
        "freeBytes": stats.free_bytes,
        "producers": stats.producers,
        "queueBytes": stats.queue_bytes,
        "batches": stats.batches,
        "duplicates": stats.duplicates,
        "accepted": stats.accepted,
        "rejected": stats.rejected,
        "writtenBytes": stats.written_bytes,
        "syncs": stats.syncs,
        "syncFailures": stats.sync_failures,
        "syncTimes": stats.sync_times,
        "senders": stats.senders,
        "readers": stats.readers,
    })
}

fn text(stats: &LogStats) -> String {
    let info = &stats.info;
    let refused: u64 = stats.rejected.values().sum();
    let rows = [
        ("stream", printable(&info.name)),
        ("durability", stats.durability.to_string()),
        (
            "lines",
            format!("{} to {}", info.first, info.next.saturating_sub(1)),
        ),
        (
            "times",
            info.times.map_or_else(String::new, |(earliest, latest)| {
                format!("{} to {}", moment(earliest), moment(latest))
            }),
        ),
        (
            "disk",
            format!(
                "{} bytes in {} segments, {} bytes free",
                info.disk_bytes, stats.segments, stats.free_bytes
            ),
        ),
        (
            "now",
            format!(
                "{} senders, {} readers, {} bytes wait",
                stats.senders, stats.readers, stats.queue_bytes
            ),
        ),
        ("opened", moment(stats.opened)),
        (
            "since then",
            format!(
                "{} records accepted, {refused} refused, {} batches, {} of them again",
                stats.accepted, stats.batches, stats.duplicates
            ),
        ),
        (
            "syncs",
            format!(
                "{}, half of them within {} µs, {} failed",
                stats.syncs,
                median(&stats.sync_times),
                stats.sync_failures
            ),
        ),
    ];
    rows.iter()
        .map(|(name, value)| format!("{name:<12}{value}\n"))
        .collect()
}

/// The bound of the bucket in which the middle one is.
fn median(times: &[u64]) -> u64 {
    let all: u64 = times.iter().sum();
    let mut seen = 0;
    let place = times.iter().position(|count| {
        seen += count;
        seen * 2 >= all
    });
    place.filter(|_| all > 0).map_or(0, |n| 1 << n.min(63))
}

#[cfg(test)]
mod tests {
    use super::{median, moment};

    #[test]
    fn the_middle_one_is_in_its_bucket() {
        assert_eq!(median(&[0, 0, 0]), 0);
        assert_eq!(median(&[1, 0, 5, 1]), 4);
        assert_eq!(moment(1_795_348_800_000_001), "2026-11-22T12:00:00.000001Z");
    }
}
