//! `legwork records export`.

use clap::Args;
use legwork_client::TailFrom;

use super::tail::{Form, Wanted, show_lines};
use crate::app::App;
use crate::error::CommandError;
use crate::interrupt::unless_interrupted;

/// Write out the lines of a stream that are there now, as JSON on lines: as they stand in the log, or with --data what clients sent.
///
/// --where takes a jq filter over the whole line, as `records tail` does.
#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    wanted: Wanted,
}

pub(super) async fn run(app: &App, args: Export) -> Result<u8, CommandError> {
    let form = match (args.wanted.data, &args.wanted.filter) {
        (true, Some(_)) => Form::Data,
        _ => Form::AsTheyAre,
    };
    let options = args.wanted.options(TailFrom::Start, false);
    unless_interrupted(show_lines(app, &args.wanted, options, form, None)).await
}
