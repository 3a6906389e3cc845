//! What snapshots of this host cost: processor time and bytes.
//!
//! `cargo run --release -p legwork-processes --example cost -- SNAPSHOTS [PAUSE_MS]`

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use legwork_processes::{Collector, Recorder, Settings};
use rustix::time::{ClockId, clock_gettime};

fn cpu_us() -> i64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let count: u32 = words.next().as_deref().unwrap_or("100").parse()?;
    let pause: u64 = words.next().as_deref().unwrap_or("0").parse()?;
    let mut collector = Collector::open(Settings::default())?;
    let mut recorder = Recorder::new("cost".to_owned(), pause);
    let first = cpu_us();
    let whole = recorder.record(collector.collect()?);
    let first = cpu_us() - first;
    let whole_bytes: usize = whole.iter().map(Vec::len).sum();
    let (mut collected, mut recorded, mut bytes, mut processes) = (0, 0, 0, 0);
    for _ in 0..count {
        std::thread::sleep(Duration::from_millis(pause));
        let begun = cpu_us();
        let snapshot = collector.collect()?;
        processes = snapshot.processes.len();
        let between = cpu_us();
        bytes += recorder
            .record(snapshot)
            .iter()
            .map(Vec::len)
            .sum::<usize>();
        collected += between - begun;
        recorded += cpu_us() - between;
    }
    let each = |sum: i64| sum / i64::from(count);
    writeln!(
        std::io::stdout(),
        "processes {processes} first_us {first} whole_bytes {whole_bytes} collect_us {} record_us {} bytes {}",
        each(collected),
        each(recorded),
        bytes / count as usize,
    )?;
    Ok(())
}
