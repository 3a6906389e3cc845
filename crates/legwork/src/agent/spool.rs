//! The place where an agent keeps what the server has not acknowledged: one for each server and stream, open to one agent at a time.

use std::path::{Path, PathBuf};

use legwork_records::OpenError;
use legwork_records::spool::{Spool, SpoolConfig};

use crate::app::App;
use crate::choice::Choice;
use crate::error::{CommandError, FAILED};
use crate::{files, remote};

/// The directory of a server's spool, made if it is not there.
pub(crate) fn dir(app: &App, choice: &Choice, stream: &str) -> Result<PathBuf, CommandError> {
    let memory = remote::memory_of(app, choice)?;
    let dir = memory.join("spool");
    files::private_dir(&dir)?;
    Ok(dir.join(name(stream)))
}

/// A stream's name as one of a directory: itself, if that is plain.
fn name(stream: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if !stream.is_empty() && stream.len() <= 64 && stream.chars().all(is_plain) {
        return stream.to_owned();
    }
    let digest = legwork_sync::Digest::of(stream.as_bytes()).to_string();
    format!("{}.d", &digest[..32])
}

/// Opens it. Blocks.
pub(crate) fn open(app: &App, dir: &Path, bytes: u64) -> Result<Spool, CommandError> {
    let config = SpoolConfig {
        bytes,
        ..SpoolConfig::new(dir)
    };
    let (spool, recovery) = Spool::open(config).map_err(refused)?;
    if !recovery.lost.is_empty() {
        app.out.note(&format!(
            "the spool {} was damaged; what is lost will be told to the server",
            dir.display()
        ));
    }
    Ok(spool)
}

fn refused(error: OpenError) -> CommandError {
    let message = error.to_string();
    match error {
        OpenError::Busy { path } => CommandError::new(
            FAILED,
            "AGENT_RUNS",
            format!(
                "an agent reports to this server already; it holds {}",
                path.display()
            ),
        )
        .hint("end that one first; another stream, by --stream, can have an agent of its own"),
        OpenError::Newer { .. } => {
            CommandError::new(FAILED, "SPOOL_NEWER", message).hint("use the newer legwork")
        }
        OpenError::BadName { .. } => CommandError::usage(message),
        OpenError::Io { .. } => CommandError::new(FAILED, "IO", message),
    }
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn no_stream_leaves_its_directory() {
        assert_eq!(name("process"), "process");
        for odd in ["", ".", "..", "a/b", "../x", "a.d", "\u{e4}"] {
            let name = name(odd);
            assert!(
                name.ends_with(".d") && name.len() == 34 && !name.contains('/'),
                "{name}"
            );
        }
    }
}
