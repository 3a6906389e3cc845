//! A sender and a server in one process: `forward DIR BATCHES`. Tests kill it at its system calls.
//!
//! Batches are pushed to a spool in `DIR/spool`, and every few of them everything that waits is sent to a log in `DIR/log`. A line for each
//! batch that was pushed is written to standard output at once. Another run pushes those behind what the one before pushed last, and first
//! sends what it left behind.

use std::error::Error;
use std::io::Write;
use std::path::Path;

use legwork_records::query::Query;
use legwork_records::spool::{Parcel, Spool, SpoolConfig};
use legwork_records::{Batch, Config, Content, Log, Observed, Origin, Validator};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("the directory is missing")?;
    let batches: u64 = args
        .next()
        .ok_or("the number of batches is missing")?
        .parse()?;
    let dir = Path::new(&dir);
    let (spool, _) = Spool::open(SpoolConfig {
        // So that segments end, and go, after a few batches.
        bytes: 16_000,
        free_bytes_min: 0,
        ..SpoolConfig::new(dir.join("spool"))
    })?;
    let (log, _) = Log::open(Config {
        segment_bytes: 2000,
        packing: None,
        free_bytes_min: 0,
        ..Config::new(dir.join("log"), "kill")
    })?;
    send(&spool, &log)?;
    let next = last(&log)? + 1;
    let mut out = std::io::stdout().lock();
    for n in next..next + batches {
        let text = format!("{{\"n\":{n},\"i\":0}}\n{{\"n\":{n},\"i\":1}}\n");
        spool.push(Validator::default().batch(text.as_bytes(), Observed::Unsaid, None)?)?;
        writeln!(out, "{n}")?;
        out.flush()?;
        if n % 3 == 0 {
            send(&spool, &log)?;
        }
    }
    send(&spool, &log)?;
    spool.close()?;
    Ok(())
}

/// Sends everything that waits.
fn send(spool: &Spool, log: &Log) -> Result<(), Box<dyn Error>> {
    let producer = spool.producer();
    let mut outgoing = spool.outgoing();
    while let Some(parcel) = outgoing.next_parcel()? {
        let sequence = parcel.sequence();
        let content = match parcel {
            Parcel::Records {
                lines, observed, ..
            } => {
                let observed = Observed::Each(&observed);
                Content::Records(Validator::default().batch(&lines, observed, None)?)
            }
            Parcel::Gap { gap, .. } => Content::Gap(gap),
        };
        log.append(Batch {
            client: "c".to_owned(),
            host: "h".to_owned(),
            origin: Some(Origin {
                producer: producer.clone(),
                sequence,
                session: 0,
            }),
            content,
        })?;
        spool.acknowledged(sequence)?;
    }
    Ok(())
}

/// The last batch that arrived.
fn last(log: &Log) -> Result<u64, Box<dyn Error>> {
    let mut lines = Vec::new();
    log.read(Query::default()).export(&mut lines, false)?;
    let last = lines
        .split(|&byte| byte == b'\n')
        .rfind(|line| !line.is_empty());
    let last: Option<serde_json::Value> = last.map(serde_json::from_slice).transpose()?;
    Ok(last.and_then(|record| record["n"].as_u64()).unwrap_or(0))
}
