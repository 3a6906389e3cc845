//! `legwork records tail`.

use std::collections::VecDeque;

use bytes::Bytes;
use clap::Args;
use legwork_client::{Client, TailEvent, TailFrom, TailOptions};

use super::STREAM;
use crate::app::App;
use crate::error::CommandError;
use crate::interrupt::unless_interrupted;
use crate::output::Output;
use crate::printer::{Printer, Target};
use crate::records::filter::Filter;
use crate::records::{moment, show};

/// Lines that are shown of what is there, where nothing else is said.
const LINES: u64 = 10;

/// Show the last lines of a stream, and with -f those that come.
///
/// A line is shown as its time, its sender and what that sent; with --json it is shown as it stands in the log. Moments are so long ago (15m, 2h30m),
/// dates (2026-11-22T12:00:00Z), `now`, or @SECONDS since 1970.
///
/// --where takes a jq filter over the whole line: `.data.cpu > 5 and .client == "web-1"`. It runs on this machine, after the server has
/// picked lines by sender and time; so those make a search fast, and no filter can hurt the server. Ctrl-C only stops looking (130).
#[derive(Debug, Args)]
pub(super) struct Tail {
    /// Go on with lines that come
    #[arg(long, short)]
    follow: bool,
    /// So many of the last lines; 10 unless told, or all that there are with --since or --seq
    #[arg(long, short = 'n', value_name = "N", conflicts_with = "seq")]
    lines: Option<u64>,
    /// Begin with the line that has this number
    #[arg(long, value_name = "N")]
    seq: Option<u64>,
    #[command(flatten)]
    wanted: Wanted,
}

/// Which lines are wanted.
#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// The stream
    #[arg(long, short, default_value = STREAM)]
    pub(super) stream: String,
    /// Only what this sender sent (repeat for more)
    #[arg(long, value_name = "NAME")]
    pub(super) client: Vec<String>,
    /// Only what came then or later
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub(super) since: Option<u64>,
    /// Only what came before
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub(super) until: Option<u64>,
    /// Only lines for which this jq filter is true, as in '.data.pid == 1'
    #[arg(long = "where", value_name = "FILTER", allow_hyphen_values = true)]
    pub(super) filter: Option<String>,
    /// Only what clients sent, without the stamps around it
    #[arg(long, conflicts_with = "rejected")]
    pub(super) data: bool,
    /// Also lines that tell what was refused
    #[arg(long)]
    pub(super) rejected: bool,
}

impl Wanted {
    /// With a filter, whole lines are needed.
    pub(super) fn options(&self, from: TailFrom, follow: bool) -> TailOptions {
        TailOptions {
            stream: self.stream.clone(),
            from,
            since: self.since,
            until: self.until,
            clients: self.client.clone(),
            follow,
            rejected: self.rejected,
            data: self.data && self.filter.is_none(),
        }
    }
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As the server gives them.
    AsTheyAre,
    /// What was sent, of whole lines.
    Data,
    /// For people.
    Shown,
}

pub(super) async fn run(app: &App, args: Tail) -> Result<u8, CommandError> {
    let last = match (args.lines, args.seq, args.wanted.since) {
        (None, None, None) => Some(LINES),
        (lines, _, _) => lines,
    };
    let filtered = args.wanted.filter.is_some();
    let from = match (last, args.seq) {
        (_, Some(seq)) => TailFrom::Seq(seq),
        // Which lines are the last ones is only known once the filter has seen them.
        (Some(last), None) if !filtered => TailFrom::Last(last),
        _ => TailFrom::Start,
    };
    let form = match (args.wanted.data, app.out.json) {
        (true, _) if filtered => Form::Data,
        (true, _) | (false, true) => Form::AsTheyAre,
        (false, false) => Form::Shown,
    };
    let options = args.wanted.options(from, args.follow);
    let last = last.filter(|_| filtered);
    let shown = show_lines(app, &args.wanted, options, form, last);
    unless_interrupted(shown).await
}

/// Shows what there is, and what comes; of what there is, only so many of the last lines.
pub(super) async fn show_lines(
    app: &App,
    wanted: &Wanted,
    options: TailOptions,
    form: Form,
    last: Option<u64>,
) -> Result<u8, CommandError> {
    let filter = match &wanted.filter {
        Some(code) => Some(Filter::new(code).await?),
        None => None,
    };
    let session = app.connect().await?;
    let printer = Printer::new(false);
    let mut lines = Lines {
        out: app.out,
        filter,
        form,
        held: last.map(|last| (usize::try_from(last).unwrap_or(usize::MAX), VecDeque::new())),
        failed: 0,
    };
    lines.all(&session.client, &options, &printer).await?;
    session.close_logs().await;
    if lines.failed > 0 {
        app.out.note(&format!(
            "the filter failed on {} lines, which are not shown",
            lines.failed
        ));
    }
    printer.finish().await?;
    Ok(0)
}

/// Lines on their way to who looks.
struct Lines {
    out: Output,
    filter: Option<Filter>,
    form: Form,
    /// The last of those that are there, until it is known that they are.
    held: Option<(usize, VecDeque<Bytes>)>,
    failed: u64,
}

impl Lines {
    async fn all(
        &mut self,
        client: &Client,
        options: &TailOptions,
        printer: &Printer,
    ) -> Result<(), CommandError> {
        let mut tail = client.tail(options).await?;
        while let Some(event) = tail.next().await? {
            let going = match event {
                TailEvent::Lines { text, .. } => self.take(text, printer).await?,
                TailEvent::Missing {
                    first,
                    last,
                    damaged,
                } => {
                    let why = if damaged { "damaged" } else { "removed by now" };
                    self.out.note(&format!("lines {first} to {last} are {why}"));
                    true
                }
                TailEvent::CaughtUp => self.release(printer).await,
            };
            if !going {
                return Ok(());
            }
        }
        self.release(printer).await;
        Ok(())
    }

    /// False when nobody reads any more.
    async fn take(&mut self, text: Bytes, printer: &Printer) -> Result<bool, CommandError> {
        let Some(filter) = &mut self.filter else {
            return Ok(self.print(vec![text], printer).await);
        };
        let kept = filter.keep(text).await?;
        if let Some(why) = kept.why.filter(|_| self.failed == 0) {
            self.out
                .note(&format!("the filter fails on some lines: {why}"));
        }
        self.failed += kept.failed;
        let Some((most, held)) = &mut self.held else {
            return Ok(self.print(kept.lines, printer).await);
        };
        for line in kept.lines {
            held.push_back(line);
            if held.len() > *most {
                held.pop_front();
            }
        }
        Ok(true)
    }

    /// Shows the last of those that were there; from here on, all that come.
    async fn release(&mut self, printer: &Printer) -> bool {
        match self.held.take() {
            Some((_, held)) => self.print(held.into(), printer).await,
            None => true,
        }
    }

    async fn print(&self, lines: Vec<Bytes>, printer: &Printer) -> bool {
        for text in lines {
            let text = match self.form {
                Form::AsTheyAre => text,
                Form::Data => Bytes::from(show::each(&text, show::data)),
                Form::Shown => Bytes::from(show::each(&text, show::line)),
            };
            if !text.is_empty() && !printer.print(Target::Stdout, text).await {
                return false;
            }
        }
        true
    }
}
