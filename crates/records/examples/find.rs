//! What a search in a large log costs: `find MEGABYTES [DIR]`.
//!
//! Fills a log as a hundred hosts would that send a batch of records a second by turns, opens it anew, and looks for the first record of its
//! last minute, for the last minute of one host, and for one record in the middle.

#![expect(clippy::print_stdout, reason = "it is what this program is for")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use legwork_records::query::{From, Item, Query};
use legwork_records::{Batch, Clock, Config, Content, Log, Observed, Timestamp, Validator};

/// A clock that moves with what is appended.
#[derive(Debug)]
struct Moved(AtomicI64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let megabytes: u64 = args.next().map_or(Ok(1000), |n| n.parse())?;
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("legwork-find-{}", std::process::id()));
    let clock = Arc::new(Moved(AtomicI64::new(1_795_348_800_000_000)));
    let config = Config {
        packing: None,
        clock: Arc::clone(&clock) as _,
        ..Config::new(&dir, "find")
    };
    let (log, _) = Log::open(config.clone())?;
    let mut validator = Validator::default();
    let pad = "x".repeat(220);
    let mut batch = 0_u64;
    while log.next_seq() * 500 < megabytes << 20 {
        let lines: String = (0..200)
            .map(|n| format!("{{\"batch\":{batch},\"n\":{n},\"pad\":\"{pad}\"}}\n"))
            .collect();
        let host = format!("host-{}", batch % 100);
        log.append(Batch {
            client: host.clone(),
            host,
            origin: None,
            content: Content::Records(validator.batch(lines.as_bytes(), Observed::Unsaid, None)?),
        })?;
        clock.0.fetch_add(1_000_000, Ordering::Relaxed);
        batch += 1;
    }
    println!("{} records, {} bytes", log.next_seq() - 1, log.disk_bytes());
    drop(log);
    search(&config, clock.now().earlier_by(Duration::from_secs(60)))?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn search(config: &Config, last_minute: Timestamp) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let (log, _) = Log::open(config.clone())?;
    println!("opened after {:?}", began.elapsed());
    let since = Some(last_minute);
    let first = |what: &str, query: Query| -> Result<(), Box<dyn Error>> {
        let began = Instant::now();
        let mut reader = log.read(query);
        let found = matches!(reader.next_item()?, Some(Item::Entry(_)));
        println!("{what}: found {found}, first after {:?}", began.elapsed());
        let mut count = 1;
        while count < 1000 && reader.next_item()?.is_some() {
            count += 1;
        }
        println!("  {count} after {:?}", began.elapsed());
        Ok(())
    };
    first(
        "last minute",
        Query {
            since,
            ..Query::default()
        },
    )?;
    let clients = vec!["host-7".to_owned()];
    first(
        "last minute of one host",
        Query {
            since,
            clients: clients.clone(),
            ..Query::default()
        },
    )?;
    first(
        "one host, from the start",
        Query {
            clients,
            ..Query::default()
        },
    )?;
    let from = From::Seq(log.next_seq() / 2);
    first(
        "from the middle",
        Query {
            from,
            ..Query::default()
        },
    )
}
