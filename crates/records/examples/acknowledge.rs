//! Appends batches and prints what was acknowledged: `acknowledge DIR BATCHES`. Tests kill it at its system calls.
//!
//! A line for each acknowledged batch is written to standard output at once: producer, number, first record number. Another run goes on where
//! the one before was, by asking the log: numbers that were taken already are repeats.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use legwork_records::{
    Batch, Config, Content, Log, Observed, Origin, Packing, Retention, Validator,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("the directory is missing")?;
    let batches: u64 = args
        .next()
        .ok_or("the number of batches is missing")?
        .parse()?;
    let config = Config {
        segment_bytes: 1500,
        free_bytes_min: 0,
        packing: Some(Packing {
            level: 1,
            after: Duration::ZERO,
        }),
        retention: Retention::default(),
        ..Config::new(dir, "kill")
    };
    let (log, _) = Log::open(config)?;
    let mut validator = Validator::default();
    let mut out = std::io::stdout().lock();
    for sequence in 1..=batches {
        let text = format!("{{\"s\":{sequence},\"n\":0}}\n{{\"s\":{sequence},\"n\":1}}\n");
        let prepared = validator.batch(text.as_bytes(), Observed::Unsaid, None)?;
        let ack = log.append(Batch {
            client: "c".to_owned(),
            host: "h".to_owned(),
            origin: Some(Origin {
                producer: "p".to_owned(),
                sequence,
                session: 0,
            }),
            content: Content::Records(prepared),
        })?;
        let first = ack.accepted.map_or(0, |accepted| accepted.first);
        writeln!(out, "{sequence} {first}")?;
        out.flush()?;
    }
    log.keep_up();
    Ok(())
}
