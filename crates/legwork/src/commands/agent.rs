//! `legwork agent`.

use std::time::Duration;

use clap::Args;
use legwork_processes::Settings;

use crate::agent::{self, Wanted};
use crate::app::App;
use crate::error::CommandError;
use crate::job_options::size;

/// Report this host's processes until it is told to end; what the server cannot take is kept on disk.
#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// How often a snapshot is made; processes that begin and end between two are not seen
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = interval)]
    every: Duration,
    /// The stream that it is sent to
    #[arg(long, short, value_name = "NAME", default_value = "process")]
    stream: String,
    /// Room on disk for what the server has not taken; beyond it the oldest goes, and a gap is left in its place
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = size)]
    spool_limit: u64,
    #[command(flatten)]
    cmdlines: Cmdlines,
}

/// What is told of command lines.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Cmdlines {
    /// Send command lines as they are; else what looks like a secret in them is replaced by ***
    #[arg(long)]
    no_redact: bool,
    /// Send no command lines
    #[arg(long)]
    no_cmdline: bool,
}

impl Cmdlines {
    /// What is collected.
    pub(crate) const fn settings(self) -> Settings {
        Settings {
            cmdline: !self.no_cmdline,
            redact: !self.no_redact,
        }
    }
}

/// The smallest spool: a few whole tables of a large host.
const SPOOL_MIN: u64 = 1 << 20;

pub(crate) async fn run(app: &App, args: Agent) -> Result<u8, CommandError> {
    if args.spool_limit < SPOOL_MIN {
        return Err(CommandError::usage("--spool-limit is 1M at least"));
    }
    let wanted = Wanted {
        every: args.every,
        stream: args.stream,
        spool_bytes: args.spool_limit,
        settings: args.cmdlines.settings(),
    };
    agent::run(app, wanted).await
}

/// Reads how often snapshots are made.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let every = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if every < Duration::from_millis(100) {
        return Err("at least 100ms".to_owned());
    }
    Ok(every)
}
