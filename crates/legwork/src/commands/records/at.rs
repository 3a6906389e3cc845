//! `legwork records at`.

use clap::{Args, ValueEnum};
use legwork_client::{AtQuery, ProcessesAt};
use legwork_processes::{Host, Process};
use serde_json::json;

use crate::app::App;
use crate::error::{CommandError, FAILED};
use crate::records::moment::parse;
use crate::render::{moment, processes};

/// Show what ran on a host at a time, as its agent saw it last before.
#[derive(Debug, Args)]
pub(super) struct At {
    /// When, by the clock of that host: `now`, `10m` ago, `14:05` or `2026-11-22 14:05:00` in this machine's time zone,
    /// `2026-11-22T14:05:00Z`, or `@` and seconds since 1970
    #[arg(value_parser = parse)]
    time: u64,
    /// Of this sender; needed where several send
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// Of the host of this name; needed where several send
    #[arg(long = "of", value_name = "HOST")]
    of: Option<String>,
    /// The stream to which it is sent
    #[arg(long, short, value_name = "NAME", default_value = "process")]
    stream: String,
    /// Those first that used the most time of a processor since they began, or that have the most memory
    #[arg(long, value_enum, default_value = "pid", conflicts_with = "tree")]
    sort: Sort,
    /// Children below their parents
    #[arg(long)]
    tree: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    Cpu,
    Mem,
    Pid,
}

pub(super) async fn run(app: &App, args: At) -> Result<u8, CommandError> {
    let session = app.connect().await?;
    let asked_us = args.time;
    let query = AtQuery {
        stream: args.stream,
        client: args.client.unwrap_or_default(),
        host: args.of.unwrap_or_default(),
        time_us: Some(asked_us),
    };
    let found = session.client.processes_at(&query).await?;
    let host: Host = read(&found.facts)?;
    let list: Result<Vec<Process>, _> = found.processes.iter().map(|text| read(text)).collect();
    let mut list = list?;
    match args.sort {
        Sort::Cpu => {
            list.sort_by(|a, b| processes::cpu(b, &host).total_cmp(&processes::cpu(a, &host)));
        }
        Sort::Mem => list.sort_by_key(|process| std::cmp::Reverse(process.rss_kb)),
        Sort::Pid => list.sort_by_key(|process| process.pid),
    }
    if app.out.json {
        return to_json(app, &found, asked_us, &host, &list);
    }
    app.out.note(&heading(&found, asked_us, &host));
    let rows = if args.tree {
        processes::tree(&list)
    } else {
        list.iter().map(|process| (0, process)).collect()
    };
    app.out
        .text(&processes::table(&rows, &host, found.time_us))?;
    Ok(0)
}

fn read<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, CommandError> {
    serde_json::from_slice(text).map_err(|error| {
        let message = format!("the server's answer cannot be read: {error}");
        CommandError::new(FAILED, "PROTOCOL", message)
    })
}

fn to_json(
    app: &App,
    found: &ProcessesAt,
    asked_us: u64,
    host: &Host,
    list: &[Process],
) -> Result<u8, CommandError> {
    let rows: Result<Vec<_>, serde_json::Error> = list
        .iter()
        .map(|process| {
            let mut row = serde_json::to_value(process)?;
            row["started_at"] =
                moment::rfc3339(processes::started_us(process, host, found.time_us)).into();
            Ok(row)
        })
        .collect();
    app.out.json_line(&json!({
        "asked": moment::rfc3339(asked_us),
        "time": moment::rfc3339(found.time_us),
        "ageMs": asked_us.saturating_sub(found.time_us) / 1000,
        "next": found.next_us.map(moment::rfc3339),
        "client": found.client,
        "hostName": found.host,
        "everyMs": found.every_ms,
        "lateMs": found.late_ms,
        "host": host,
        "processes": rows.map_err(std::io::Error::from)?,
    }))?;
    Ok(0)
}

/// Which snapshot this is, and how far it is from the time.
fn heading(found: &ProcessesAt, asked_us: u64, host: &Host) -> String {
    let age_ms = asked_us.saturating_sub(found.time_us) / 1000;
    let mut words = format!(
        "{} at {}, {} before the time asked for",
        crate::output::printable(&found.host),
        moment::local(found.time_us),
        humantime::format_duration(std::time::Duration::from_millis(age_ms)),
    );
    let is_old = found.every_ms > 0 && age_ms > 2 * found.every_ms;
    match found.next_us {
        None if is_old => words += "; nothing was heard of it since",
        Some(next) if is_old => {
            words += &format!("; the next snapshot was made at {}", moment::local(next));
        }
        _ => {}
    }
    if host.hidden {
        words += "; processes of other users were hidden from its agent";
    }
    if host.unreadable > 0 {
        words += &format!("; processes that it could not look at: {}", host.unreadable);
    }
    words
}
