//! `legwork logs`.

use bytes::Bytes;
use clap::{Args, ValueEnum};
use legwork_client::{Chunk, Client, LogEvent, LogFrom, LogOptions, LogStream};

use crate::app::App;
use crate::error::CommandError;
use crate::interrupt::unless_interrupted;
use crate::printer::{Printer, Target};
use crate::render::logs::{Stamper, Viewer};

/// Show what a job printed, past and with -f live, until it ends.
///
/// Without --stream, standard output goes to standard output and standard error to standard error.
/// Ctrl-C only stops looking (130).
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
}

pub(crate) async fn run(app: &App, args: Logs) -> Result<u8, CommandError> {
    let session = app.connect().await?;
    let printer = Printer::default();
    let shown = unless_interrupted(show(app, &session.client, &args, &printer)).await;
    shown.map_err(|failure| failure.watching(&args.id))?;
    printer.finish().await?;
    Ok(0)
}

async fn show(
    app: &App,
    client: &Client,
    args: &Logs,
    printer: &Printer,
) -> Result<(), CommandError> {
    let mut logs = client.logs(&args.id, args.options()).await?;
    let mut viewer = Viewer::new(app.out, printer);
    let mut stamper = args.timestamps.then(Stamper::default);
    while let Some(event) = logs.next().await? {
        let heard = match event {
            LogEvent::Chunk(chunk) if !app.out.json => {
                print(args, printer, stamper.as_mut(), chunk).await
            }
            event => {
                let last = matches!(event, LogEvent::End { .. });
                let heard = viewer.show(event).await?;
                if last {
                    return Ok(());
                }
                heard
            }
        };
        if !heard {
            return Ok(());
        }
    }
    Err(CommandError::unknown("the output ended without its end"))
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
