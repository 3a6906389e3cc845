//! What a server says while it runs: diagnostics, and on request a line for each call.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;

use legwork_server::{AccessLog, AccessLogWriter};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

use super::settings::Settings;
use crate::error::{CommandError, FAILED};

/// Opens both logs. The access log is written to its end by its writer.
pub(super) fn begin(
    settings: &Settings,
) -> Result<(Option<AccessLog>, Option<AccessLogWriter>), CommandError> {
    let level: LevelFilter = match &settings.log_level {
        Some(level) => level.parse().map_err(|_| {
            CommandError::usage(format!("{level:?} is not a level"))
                .hint("levels are error, warn, info, debug and trace")
        })?,
        None => LevelFilter::INFO,
    };
    // Ours only: what libraries have to say about a connection may show what passed over it.
    let ours = Targets::new()
        .with_target("legwork", level)
        .with_target("legwork_server", level);
    let out: Box<dyn Write + Send> = match &settings.log_file {
        Some(path) => Box::new(open(path)?),
        None => Box::new(io::stderr()),
    };
    let layer = fmt::layer()
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(Mutex::new(out))
        .with_filter(ours);
    registry().with(layer).try_init().map_err(|error| {
        CommandError::new(FAILED, "LOG", format!("cannot begin the log: {error}"))
    })?;
    let Some(path) = &settings.access_log else {
        return Ok((None, None));
    };
    let (log, writer) = match path.as_os_str() == "-" {
        true => AccessLog::to(io::stderr())?,
        false => AccessLog::to(open(path)?)?,
    };
    Ok((Some(log), Some(writer)))
}

fn open(path: &Path) -> Result<File, CommandError> {
    let opened = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path);
    opened.map_err(|error| CommandError::new(FAILED, "LOG", format!("{}: {error}", path.display())))
}
