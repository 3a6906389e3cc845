//! `legwork records`: a subcommand a file.

mod at;
mod export;
mod fsck;
mod processes;
pub(crate) mod send;
mod stats;
mod tail;

use clap::{Args, Subcommand};

use crate::app::App;
use crate::error::CommandError;

/// The stream of which nothing is said.
const STREAM: &str = "default";

/// Records: JSON objects in a log that loses nothing it has acknowledged.
#[derive(Debug, Args)]
pub(crate) struct Records {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Send records from a file or standard input: an array, one object, or one on each line
    Send(send::Send),
    /// Show the last lines of a stream, and with -f those that come
    Tail(tail::Tail),
    /// Show what ran on a host at a time
    At(at::At),
    /// Write out the lines of a stream, as JSON on lines
    Export(export::Export),
    /// Look at every line of a stream's log
    Fsck(fsck::Fsck),
    /// Show how streams are doing
    Stats(stats::Stats),
}

pub(crate) async fn run(app: &App, args: Records) -> Result<u8, CommandError> {
    match args.action {
        Action::Send(args) => send::run(app, args).await,
        Action::Tail(args) => tail::run(app, args).await,
        Action::At(args) => at::run(app, args).await,
        Action::Export(args) => export::run(app, args).await,
        Action::Fsck(args) => fsck::run(app, args).await,
        Action::Stats(args) => stats::run(app, args).await,
    }
}
