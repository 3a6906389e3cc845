//! Where things live, by the XDG base directory specification.

use std::path::PathBuf;

use crate::error::{CommandError, FAILED};

/// `$LEGWORK_STATE`, else `$XDG_STATE_HOME/legwork`, by default `~/.local/state/legwork`. An empty variable is none.
pub(crate) fn default_state_dir() -> Result<PathBuf, CommandError> {
    if let Some(dir) = std::env::var_os("LEGWORK_STATE").filter(|dir| !dir.is_empty()) {
        return Ok(std::path::absolute(dir)?);
    }
    // The specification says that a relative value is to be ignored.
    let set = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute());
    let base = match set {
        Some(base) => base,
        None => std::env::home_dir()
            .filter(|home| home.is_absolute())
            .map(|home| home.join(".local/state"))
            .ok_or_else(|| {
                CommandError::new(
                    FAILED,
                    "NO_HOME",
                    "there is no home directory to keep jobs in",
                )
                .hint("name a directory with --state or LEGWORK_STATE")
            })?,
    };
    Ok(base.join("legwork"))
}
