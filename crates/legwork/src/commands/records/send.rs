//! `legwork records send`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::Args;
use legwork_client::{Ack, Feed, FromMemory, Heard, SendLimits, SendOptions};
use legwork_records::{Limits, Rejection};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use tokio::sync::oneshot;

use super::STREAM;
use super::processes::{self, Snapshot};
use crate::app::App;
use crate::error::{CommandError, FAILED, INTERRUPTED};
use crate::interrupt::Interrupts;
use crate::output::Output;
use crate::records::input::{Found, Input};

/// Bytes and records of a batch. An acknowledgement costs a wait for the disk, and a batch its memory.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_RECORDS: usize = 2000;
/// Batches that may wait to be sent.
const WAITING: usize = 4;
/// How long a batch that is not full waits for more input.
const GATHER: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};
/// Refused records that are told one by one.
const TOLD: u64 = 100;

/// Send records: an array of objects, one object, or objects one behind the other, as on lines. Input of any length is sent as it is read.
///
/// What is refused is told with its line, and costs the other records nothing. When the command ends, all others are in the stream, and as
/// durable as it says. Exits with 1 if some were refused.
#[derive(Debug, Args)]
pub(super) struct Send {
    /// The stream, which is made if it is not there; else `default`, or `process` with --processes
    #[arg(long, short)]
    stream: Option<String>,
    /// Where the records are; standard input if it is `-` or left out
    file: Option<PathBuf>,
    /// What this machine is called in the stamps; else its name
    #[arg(long, value_name = "NAME")]
    host_name: Option<String>,
    #[command(flatten)]
    snapshot: Snapshot,
}

/// Where records come from.
#[derive(Debug)]
enum Source {
    Stdin(io::Stdin),
    File(File),
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stdin(stdin) => stdin.lock().read(into),
            Self::File(file) => file.read(into),
        }
    }
}

impl Source {
    fn open(path: Option<&PathBuf>) -> Result<Self, CommandError> {
        let Some(path) = path.filter(|path| path.as_os_str() != "-") else {
            return Ok(Self::Stdin(io::stdin()));
        };
        let opened = File::open(path);
        opened.map(Self::File).map_err(|error| {
            CommandError::new(FAILED, "IO", format!("{}: {error}", path.display()))
        })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stdin(stdin) => stdin.as_fd(),
            Self::File(file) => file.as_fd(),
        }
    }
}

/// What is known of what was sent.
#[derive(Debug, Default)]
struct Sum {
    accepted: u64,
    /// The first and the last number.
    numbers: Option<(u64, u64)>,
    batches: u64,
    duplicates: u64,
    refused: u64,
    durability: Option<String>,
    /// The lines of the records of each batch that was not answered.
    places: VecDeque<Vec<u64>>,
    input: Option<io::Error>,
}

/// The same, for both who reads and who hears.
#[derive(Debug, Clone)]
struct Told {
    sum: Arc<Mutex<Sum>>,
    out: Output,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Sum> {
        self.sum.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch was answered.
    fn hear(&self, ack: &Ack) {
        let mut sum = self.lock();
        let places = sum.places.pop_front().unwrap_or_default();
        sum.batches += 1;
        sum.duplicates += u64::from(ack.duplicate);
        sum.durability = Some(ack.durability.to_string());
        // The line that tells what was refused has a number of its own.
        let records = places.len() as u64 - ack.rejected.min(places.len() as u64);
        sum.accepted += records;
        if let Some(range) = ack.accepted.as_ref().filter(|range| !range.is_empty()) {
            let (first, last) = (range.start, range.end - 1);
            let known = sum.numbers.get_or_insert((first, last));
            known.1 = last;
        }
        let untold = ack.rejected - (ack.rejections.len() as u64).min(ack.rejected);
        drop(sum);
        for told in &ack.rejections {
            let line = places.get(told.index as usize).copied().unwrap_or(0);
            self.refuse(line, &told.reason, &told.field, &told.message);
        }
        let mut sum = self.lock();
        sum.refused = sum.refused.saturating_add(untold);
        if ack.rivals {
            self.out
                .note("somebody else sends as the same producer: was this machine copied?");
        }
    }

    /// A record was refused here.
    fn refuse_here(&self, line: u64, why: &Rejection) {
        let reason = serde_json::to_value(why.reason).unwrap_or_default();
        let reason = reason.as_str().unwrap_or("OTHER");
        self.refuse(line, reason, &why.field, &why.message);
    }

    fn refuse(&self, line: u64, reason: &str, field: &str, message: &str) {
        let mut sum = self.lock();
        sum.refused = sum.refused.saturating_add(1);
        if sum.refused > TOLD {
            return;
        }
        drop(sum);
        if self.out.json {
            let told =
                json!({ "line": line, "reason": reason, "field": field, "message": message });
            // Whoever does not read that any more hears of it at the end.
            drop(self.out.json_line(&json!({ "refused": told })));
            return;
        }
        let place = match field {
            "" => reason.to_owned(),
            field => format!("{reason} at {field}"),
        };
        self.out
            .note(&format!("line {line} is refused: {message} ({place})"));
    }

    /// The whole of it, in the end.
    fn sum_up(&self, stream: &str) -> Result<(), CommandError> {
        let sum = self.lock();
        if self.out.json {
            return self.out.json_line(&json!({
                "stream": stream,
                "accepted": sum.accepted,
                "first": sum.numbers.map(|(first, _)| first),
                "last": sum.numbers.map(|(_, last)| last),
                "batches": sum.batches,
                "duplicates": sum.duplicates,
                "refused": sum.refused,
                "durability": sum.durability,
            }));
        }
        if sum.refused > TOLD {
            let more = sum.refused - TOLD;
            self.out.note(&format!("{more} more records are refused"));
        }
        self.out.note(&sum.words(stream));
        Ok(())
    }
}

impl Sum {
    fn words(&self, stream: &str) -> String {
        let refused = match self.refused {
            0 => String::new(),
            count => format!("; {count} refused"),
        };
        let accepted = match self.accepted {
            1 => "1 record is".to_owned(),
            count => format!("{count} records are"),
        };
        match (self.accepted, self.numbers, &self.durability) {
            (1, Some((line, _)), Some(durability)) => {
                format!("{accepted} in {stream} ({durability}), on line {line}{refused}")
            }
            (2.., Some((first, last)), Some(durability)) => format!(
                "{accepted} in {stream} ({durability}), between lines {first} and {last}{refused}"
            ),
            (1.., None, _) => format!("{accepted} in {stream}{refused}"),
            _ => format!("nothing was added to {stream}{refused}"),
        }
    }
}

pub(super) async fn run(app: &App, args: Send) -> Result<u8, CommandError> {
    if args.snapshot.is_wanted() {
        let host = args.host_name.unwrap_or_else(host_name);
        return processes::send(app, args.stream.as_deref(), host, args.snapshot).await;
    }
    let stream = args.stream.unwrap_or_else(|| STREAM.to_owned());
    let source = Source::open(args.file.as_ref())?;
    let session = app.connect().await?;
    let told = Told {
        sum: Arc::default(),
        out: app.out,
    };
    let (feed, mut batches) = FromMemory::new(WAITING);
    let (welcome, welcomed) = oneshot::channel();
    let reader = told.clone();
    std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            // Without a welcome, the server has said why.
            if let Ok(limits) = welcomed.blocking_recv()
                && let Err(error) = read(source, limits, &feed, &reader)
            {
                reader.lock().input = Some(error);
            }
        })?;
    let mut welcome = Some(welcome);
    let hearing = told.clone();
    let hear = move |heard| match heard {
        Heard::Welcome(limits) => {
            if let Some(welcome) = welcome.take() {
                // The thread is there until then.
                let _sent = welcome.send(limits);
            }
        }
        Heard::Ack(ack) => hearing.hear(&ack),
        Heard::Delayed(refusal) if refusal.reason == "THROTTLED" => {}
        Heard::Delayed(refusal) => hearing.out.remark(&refusal.message),
    };
    let options = SendOptions {
        stream: stream.clone(),
        host: args.host_name.unwrap_or_else(host_name),
    };
    let sent = unless(session.client.send_records(&options, &mut batches, hear)).await;
    let outcome = match sent {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(CommandError::from(error)),
        None => Some(CommandError::new(
            INTERRUPTED,
            "INTERRUPTED",
            "interrupted: of what was read after that, nothing, some or all may be in the stream",
        )),
    };
    drop(batches);
    session.close_logs().await;
    told.sum_up(&stream)?;
    let (input, refused) = {
        let mut sum = told.lock();
        (sum.input.take(), sum.refused)
    };
    match (outcome, input) {
        (Some(failure), _) => Err(failure),
        (None, Some(error)) => Err(CommandError::new(
            FAILED,
            "IO",
            format!("the input cannot be read any further: {error}"),
        )),
        (None, None) => Ok(if refused > 0 { FAILED } else { 0 }),
    }
}

/// What comes of it, unless somebody presses Ctrl-C first.
async fn unless<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut interrupts = Interrupts::listen().ok()?;
    tokio::select! {
        done = work => Some(done),
        () = interrupts.next() => None,
    }
}

/// Reads records and hands them over, a batch at a time, until there are no more or nobody wants them.
fn read(source: Source, limits: SendLimits, feed: &Feed, told: &Told) -> io::Result<()> {
    let most = BATCH_RECORDS.min(limits.batch_records).max(1);
    let bytes = BATCH_BYTES.min(limits.batch_bytes / 2);
    let mut input = Input::new(
        source,
        Limits {
            record_bytes: limits.record_bytes,
            depth: limits.depth,
            batch_records: limits.batch_records,
            batch_bytes: limits.batch_bytes,
        },
    );
    let (mut lines, mut places) = (Vec::new(), Vec::new());
    loop {
        let waits = !places.is_empty() && input.is_dry() && !comes(input.source());
        if waits || lines.len() >= bytes || places.len() >= most {
            told.lock().places.push_back(std::mem::take(&mut places));
            if feed
                .put_blocking(std::mem::take(&mut lines), Vec::new())
                .is_err()
            {
                return Ok(());
            }
        }
        let length = lines.len();
        let found = input.next(&mut lines);
        match found {
            Ok(Found::Record { line }) => {
                lines.push(b'\n');
                places.push(line);
                // One that makes the batch larger than it may be begins the next.
                if lines.len() > limits.batch_bytes {
                    let last = lines.split_off(length);
                    let place = places.pop().into_iter().collect();
                    let batch = std::mem::replace(&mut lines, last);
                    told.lock()
                        .places
                        .push_back(std::mem::replace(&mut places, place));
                    if feed.put_blocking(batch, Vec::new()).is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(Found::Bad { line, why }) => told.refuse_here(line, &why),
            ended => {
                if !places.is_empty() {
                    told.lock().places.push_back(places);
                    // Nobody wants it any more, or it is sent.
                    feed.put_blocking(lines, Vec::new()).unwrap_or_default();
                }
                return ended.map(drop);
            }
        }
    }
}

/// Whether there is input now, or soon.
fn comes(source: &Source) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(source.fd(), PollFlags::IN)];
    !matches!(poll(&mut fds, Some(&GATHER)), Ok(0))
}

/// What this machine calls itself.
pub(crate) fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
