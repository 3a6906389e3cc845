//! How fast records are taken by a server, each batch acknowledged when it is as durable as the stream promises.
//!
//! `cargo run --release -p legwork-client --example ingest -- CONTEXT ADDRESS STREAM FILE SENDERS BATCH UNDER_WAY`
//!
//! CONTEXT is the directory of a context, as `legwork join` leaves it below `~/.local/share/legwork/contexts`; ADDRESS is where the server
//! is; FILE has a record on each line. Its lines are dealt out among the senders, of which each has a connection of its own, sends BATCH lines
//! at a time, and has at most so many batches under way. The time is that from before the first connection to after the last
//! acknowledgement; the file is in memory by then.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use legwork_client::{Client, FromMemory, Heard, Options, SendOptions, Target, TlsTarget};
use legwork_identity::SystemClock;
use legwork_identity::ca::CaCertificate;
use legwork_identity::tls::Credentials;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

struct Load {
    target: Target,
    stream: String,
    /// Batches that each sender may have under way.
    under_way: usize,
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [context, address, stream, file, senders, batch, under_way] = &words[..] else {
        return Err("usage: ingest CONTEXT ADDRESS STREAM FILE SENDERS BATCH UNDER_WAY".into());
    };
    let load = Arc::new(Load {
        target: target(Path::new(context), address)?,
        stream: stream.clone(),
        under_way: under_way.parse()?,
    });
    let text = std::fs::read(file)?;
    let records = text.iter().filter(|&&byte| byte == b'\n').count();
    let shares = shares(&text, records.div_ceil(senders.parse()?), batch.parse()?);
    drop(text);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let begun = Instant::now();
    let accepted = runtime.block_on(send_all(&load, shares))?;
    let took = begun.elapsed().as_secs_f64();
    if accepted != records {
        return Err(format!("{accepted} of {records} records were accepted").into());
    }
    println!("records_s {:.0}", records as f64 / took);
    Ok(())
}

/// The batches of each sender.
fn shares(text: &[u8], each: usize, batch: usize) -> Vec<Vec<Vec<u8>>> {
    let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    let share = |lines: &[&[u8]]| lines.chunks(batch).map(<[&[u8]]>::concat).collect();
    lines.chunks(each).map(share).collect()
}

async fn send_all(load: &Arc<Load>, shares: Vec<Vec<Vec<u8>>>) -> Result<usize> {
    let sending = shares
        .into_iter()
        .map(|share| send(Arc::clone(load), share));
    let mut sending: JoinSet<_> = sending.collect();
    let mut accepted = 0;
    while let Some(sent) = sending.join_next().await {
        accepted += sent??;
    }
    Ok(accepted)
}

/// Sends what one sender has, and tells how many of its records were accepted.
async fn send(load: Arc<Load>, batches: Vec<Vec<u8>>) -> Result<usize> {
    let client = Client::connect(load.target.clone(), Options::default(), TaskTracker::new());
    let client = client.await?;
    let (feed, mut source) = FromMemory::new(1);
    let slots = Semaphore::new(load.under_way);
    let feeding = async {
        let feed = feed;
        for batch in batches {
            slots.acquire().await?.forget();
            feed.put(batch, Vec::new()).await?;
        }
        Result::Ok(())
    };
    let mut accepted = 0;
    let hear = |heard| {
        if let Heard::Ack(ack) = heard {
            accepted += ack.accepted.map_or(0, Iterator::count);
            slots.add_permits(1);
        }
    };
    let options = SendOptions {
        stream: load.stream.clone(),
        ..SendOptions::default()
    };
    let sending = async {
        let sent = client.send_records(&options, &mut source, hear).await;
        sent.map_err(Into::into)
    };
    tokio::try_join!(feeding, sending)?;
    Ok(accepted)
}

/// The server of a context, and who we are to it.
fn target(context: &Path, address: &str) -> Result<Target> {
    let text = |name: &str| std::fs::read_to_string(context.join(name));
    let about: serde_json::Value = serde_json::from_str(&text("context.json")?)?;
    let server = about["server"]
        .as_str()
        .ok_or("no server in context.json")?;
    let ca = CaCertificate::from_pem(&text("ca.pem")?)?;
    let own = Credentials::from_pem(&text("certificate.pem")?, &text("key.pem")?)?;
    let clock = Arc::new(SystemClock);
    let addresses = vec![address.parse()?];
    let target = TlsTarget::new(addresses, ca, server.parse()?, &own, clock)?;
    Ok(Target::Tls(target))
}
