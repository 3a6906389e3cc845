//! A slow link for programs that are measured: prints its near end, and for each line on its standard input the bytes that have come
//! through since it began, up and down. Ends when its input does.
//!
//! `cargo run --release -p testkit --example link -- 127.0.0.1:PORT ROUND_TRIP_MS [MBIT_PER_S]`
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::time::Duration;

use testkit::Direction;
use testkit::link::{Link, Quality};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_util::task::TaskTracker;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve())
}

async fn serve() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (far, round_trip, rate) = match &words[..] {
        [far, round_trip] => (far, round_trip, None),
        [far, round_trip, rate] => (far, round_trip, Some(rate)),
        _ => return Err("usage: link ADDRESS ROUND_TRIP_MS [MBIT_PER_S]".into()),
    };
    let quality = Quality {
        round_trip: Duration::from_millis(round_trip.parse()?),
        rate: match rate {
            Some(megabits) => Some(megabits.parse::<u64>()? * 1_000_000 / 8),
            None => None,
        },
    };
    let link = Link::open(quality, far.parse()?, &TaskTracker::new()).await?;
    println!("{}", link.address());
    let mut asked = BufReader::new(tokio::io::stdin()).lines();
    while asked.next_line().await?.is_some() {
        let (up, down) = (link.passed(Direction::Up), link.passed(Direction::Down));
        println!("{up} {down}");
    }
    Ok(())
}
