//! What a server says while it runs: diagnostics, and on request a line for each call.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;

use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use legwork_server::{AccessLog, AccessLogWriter};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

use super::settings::{Rotation, Settings};
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
        Some(path) => Box::new(open(path, settings.rotation)?),
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
        false => AccessLog::to(open(path, settings.rotation)?)?,
    };
    Ok((Some(log), Some(writer)))
}

/// A file that is begun anew when it is large: `log`, before it `log.1`, and so on.
fn open(path: &Path, rotation: Rotation) -> Result<FileRotate<AppendCount>, CommandError> {
    let mut options = OpenOptions::new();
    options.read(true).create(true).append(true).mode(0o600);
    // Tried here, for the library does not say what is wrong with the first one.
    let tried = options.open(path);
    tried.map_err(|error| {
        CommandError::new(FAILED, "LOG", format!("{}: {error}", path.display()))
    })?;
    Ok(FileRotate::new(
        path,
        AppendCount::new(rotation.keep),
        ContentLimit::BytesSurpassed(rotation.bytes),
        Compression::None,
        Some(options),
    ))
}
