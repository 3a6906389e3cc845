//! `legwork logs`.

use bytes::Bytes;
use clap::{Args, ValueEnum};
use legwork_client::{Chunk, Client, LogEvent, LogFilter, LogFrom, LogOptions, LogStream};

use crate::app::App;
use crate::error::{CommandError, NOTHING_FOUND};
use crate::interrupt::unless_interrupted;
use crate::printer::{Printer, Target};
use crate::render::found::FoundText;
use crate::render::logs::{Stamper, Viewer};

/// Show what a job printed, past and with -f live, until it ends.
///
/// Without --stream, standard output goes to standard output and standard error to standard error.
/// Ctrl-C only stops looking (130).
///
/// With --grep only lines that match are shown, and only they travel. Each stream has its own lines; a line that is longer than 1 MiB is
/// searched and shown in pieces of that length. What ends a line, \n or \r\n, is not searched. PATTERN is a regular expression in the syntax of
/// Rust's regex crate, with Unicode's classes: `.` matches a character of UTF-8, (?-u:\xff) a byte. With --tail the last lines are
/// searched, as by `tail | grep`. The exit code is 0 if a line was found, 1 if none was, and 2 for errors.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The job's id or a unique prefix of it
    id: String,
    /// Go on until the job has ended
    #[arg(long, short)]
    follow: bool,
    /// Only this stream, to standard output: raw is both in order of arrival
    #[arg(long, value_enum)]
    stream: Option<Which>,
    /// Begin at this byte of the raw output
    #[arg(long, value_name = "N", conflicts_with = "tail")]
    offset: Option<u64>,
    /// Begin with the last lines, this many
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Begin with what comes next
    #[arg(long, conflicts_with_all = ["tail", "offset"])]
    live: bool,
    /// Put the time before each line, in UTC
    #[arg(long)]
    timestamps: bool,
    /// Let the output do to the terminal what it wants; else it is shown text and colours
    #[arg(long)]
    raw_escapes: bool,
    /// Only lines in which this is found
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    grep: Option<String>,
    /// Capital and small letters are the same
    #[arg(long, short, requires = "grep")]
    ignore_case: bool,
    /// PATTERN is text, not an expression
    #[arg(long, requires = "grep")]
    fixed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Raw,
    Stdout,
    Stderr,
}

impl Logs {
    fn options(&self) -> LogOptions {
        LogOptions {
            stream: match self.stream {
                None | Some(Which::Raw) => LogStream::Raw,
                Some(Which::Stdout) => LogStream::Stdout,
                Some(Which::Stderr) => LogStream::Stderr,
            },
            from: match (self.offset, self.tail) {
                _ if self.live => LogFrom::Live,
                (_, Some(lines)) => LogFrom::Tail(lines),
                (offset, None) => LogFrom::Offset(offset.unwrap_or(0)),
            },
            follow: self.follow || self.live,
        }
    }

    fn filter(&self) -> Option<LogFilter> {
        self.grep.clone().map(|pattern| LogFilter {
            pattern,
            fixed: self.fixed,
            ignore_case: self.ignore_case,
        })
    }
}

pub(crate) async fn run(app: &App, args: Logs) -> Result<u8, CommandError> {
    let found = look(app, &args).await;
    match args.grep {
        None => found.map(|_| 0),
        Some(_) => match found {
            Ok(true) => Ok(0),
            Ok(false) => Ok(NOTHING_FOUND),
            Err(failure) => Err(failure.of_search()),
        },
    }
}

/// Whether there was something to show.
async fn look(app: &App, args: &Logs) -> Result<bool, CommandError> {
    let session = app.connect().await?;
    let printer = Printer::new(args.raw_escapes);
    let shown = unless_interrupted(show(app, &session.client, args, &printer)).await;
    let found = shown.map_err(|failure| failure.watching(&args.id))?;
    printer.finish().await?;
    Ok(found)
}

async fn show(
    app: &App,
    client: &Client,
    args: &Logs,
    printer: &Printer,
) -> Result<bool, CommandError> {
    let mut logs = match args.filter() {
        Some(filter) => client.search(&args.id, args.options(), filter).await?,
        None => client.logs(&args.id, args.options()).await?,
    };
    let mut viewer = Viewer::new(app.out, printer);
    let mut stamper = args.timestamps.then(Stamper::default);
    let mut lines = FoundText::default()
        .with_one_target(args.stream.is_some())
        .with_times(args.timestamps);
    let mut found = false;
    while let Some(event) = logs.next().await? {
        found |= matches!(event, LogEvent::Chunk(_) | LogEvent::Found(_));
        let last = matches!(event, LogEvent::End { .. });
        let heard = match event {
            LogEvent::Chunk(chunk) if !app.out.json => {
                print(args, printer, stamper.as_mut(), chunk).await
            }
            LogEvent::Found(found) if !app.out.json => print_all(printer, lines.of(&found)).await,
            event => print_all(printer, lines.rest()).await && viewer.show(event).await?,
        };
        if last || !heard {
            return Ok(found);
        }
    }
    Err(CommandError::unknown("the output ended without its end"))
}

/// `false` when nobody reads any more.
async fn print_all(printer: &Printer, pieces: impl IntoIterator<Item = (Target, Vec<u8>)>) -> bool {
    for (target, text) in pieces {
        if !printer.print(target, Bytes::from(text)).await {
            return false;
        }
    }
    true
}

async fn print(
    args: &Logs,
    printer: &Printer,
    stamper: Option<&mut Stamper>,
    chunk: Chunk,
) -> bool {
    let one_target = args.stream.is_some();
    let Some(stamper) = stamper else {
        if one_target {
            return printer.print(Target::Stdout, chunk.data).await;
        }
        return printer.print_chunk(chunk).await;
    };
    for (stream, text) in stamper.stamp(chunk) {
        let stderr = stream == LogStream::Stderr && !one_target;
        let target = if stderr {
            Target::Stderr
        } else {
            Target::Stdout
        };
        if !printer.print(target, Bytes::from(text)).await {
            return false;
        }
    }
    true
}
