//! How fast records are validated and appended: `append [RECORDS] [DIR]`.
//!
//! Prints records a second and processor time a record: of one thread that validates, and of four senders with 1,000 records a batch and
//! two batches each under way, each answered once it is on the disk.

#![expect(clippy::print_stdout, reason = "it is what this program is for")]

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use legwork_records::{Batch, Config, Content, Durability, Log, Observed, Origin, Validator};

const SENDERS: u64 = 4;
const BATCH: u64 = 1000;
const UNDER_WAY: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let records: u64 = args.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let lines: Vec<String> = (0..64).map(lines).collect();
    validate(&lines, records)?;
    for durability in [Durability::Durable, Durability::Os] {
        append(&lines, records, &dir, durability)?;
    }
    one_by_one(&lines[0], &dir)
}

/// A thousand records of about 300 bytes, a line each.
fn lines(batch: u64) -> String {
    let mut text = String::new();
    for n in batch * BATCH..(batch + 1) * BATCH {
        let written = write!(
            text,
            r#"{{"time":"2026-11-22T12:21:35.{n:06}Z","level":"info","service":"checkout","host":"web-{}","pid":{},"request_id":"7f3a9c{n:010}","method":"POST","path":"/api/v1/orders/{n}","status":200,"duration_ms":{}.{:03},"bytes":{},"user":{{"id":{n},"plan":"pro"}},"message":"order accepted, reservation confirmed"}}"#,
            n % 97,
            1000 + n % 500,
            n % 80,
            n % 1000,
            300 + n % 4000,
        );
        written.expect("memory takes all");
        text.push('\n');
    }
    text
}

fn validate(lines: &[String], records: u64) -> Result<(), Box<dyn Error>> {
    let mut validator = Validator::default();
    let (mut done, mut bytes) = (0, 0);
    let (since, cpu) = (Instant::now(), cpu());
    while done < records {
        let input = &lines[usize::try_from(done / BATCH)? % lines.len()];
        let prepared = validator.batch(input.as_bytes(), Observed::Unsaid, None)?;
        done += prepared.len() as u64;
        bytes += prepared.bytes();
    }
    told("validate, one thread", done, bytes, since, cpu);
    Ok(())
}

fn append(
    lines: &[String],
    records: u64,
    dir: &Path,
    durability: Durability,
) -> Result<(), Box<dyn Error>> {
    let dir = dir.join(format!("legwork-append-{}", std::process::id()));
    let mut config = Config::new(&dir, "bench");
    config.durability = durability;
    let (log, _) = Log::open(config)?;
    let (since, cpu) = (Instant::now(), cpu());
    let each = records / SENDERS / BATCH;
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let log = &log;
            scope.spawn(move || send(log, lines, sender, each));
        }
    });
    let stats = log.stats();
    let bytes = usize::try_from(stats.written_bytes)?;
    told(
        &format!("append, 4 senders, {durability}"),
        stats.accepted,
        bytes,
        since,
        cpu,
    );
    println!("  {} syncs", stats.syncs);
    drop(log);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn send(log: &Log, lines: &[String], sender: u64, batches: u64) {
    let mut validator = Validator::default();
    let (tell, heard) = mpsc::sync_channel(UNDER_WAY);
    let mut under_way = 0;
    for sequence in 1..=batches {
        if under_way == UNDER_WAY {
            heard.recv().expect("each batch is answered");
            under_way -= 1;
        }
        let input = &lines[(sequence % 64) as usize];
        let prepared = validator.batch(input.as_bytes(), Observed::Unsaid, None);
        let batch = batch(
            sender,
            sequence,
            Content::Records(prepared.expect("small batches")),
        );
        let tell = tell.clone();
        let done = move |answer: Result<_, _>| tell.send(answer.is_ok()).expect("somebody listens");
        log.try_append(batch, done)
            .expect("the queue has room for eight");
        under_way += 1;
    }
    for _ in 0..under_way {
        heard.recv().expect("each batch is answered");
    }
}

fn batch(sender: u64, sequence: u64, content: Content) -> Batch {
    Batch {
        client: format!("sender-{sender}"),
        host: "bench".to_owned(),
        origin: Some(Origin {
            producer: format!("p{sender}"),
            sequence,
            session: 1,
        }),
        content,
    }
}

/// One record a batch, each answered before the next is sent.
fn one_by_one(lines: &str, dir: &Path) -> Result<(), Box<dyn Error>> {
    let dir = dir.join(format!("legwork-append-{}", std::process::id()));
    let (log, _) = Log::open(Config::new(&dir, "bench"))?;
    let mut validator = Validator::default();
    let (since, cpu, mut bytes) = (Instant::now(), cpu(), 0);
    let mut done = 0;
    for (line, sequence) in lines.lines().cycle().zip(1..) {
        let prepared = validator.batch(line.as_bytes(), Observed::Unsaid, None)?;
        bytes += prepared.bytes();
        log.append(batch(0, sequence, Content::Records(prepared)))?;
        done = sequence;
        if since.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    told("append, one by one", done, bytes, since, cpu);
    drop(log);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn told(what: &str, records: u64, bytes: usize, since: Instant, before: Duration) {
    let (took, cpu) = (since.elapsed(), cpu() - before);
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (records, bytes) = (records as f64, bytes as f64);
    println!(
        "{what}: {:.0} records/s, {:.3} us of processor each, {:.0} bytes each",
        records / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / records,
        bytes / records,
    );
}

/// Processor time of this process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
