//! Where things live, by the XDG base directory specification.

use std::path::{Path, PathBuf};

use legwork_server::Cgroups;

use crate::error::{CommandError, FAILED};

/// `$LEGWORK_STATE`, else `$XDG_STATE_HOME/legwork`, by default `~/.local/state/legwork`. An empty variable is none.
pub(crate) fn default_state_dir() -> Result<PathBuf, CommandError> {
    if let Some(dir) = std::env::var_os("LEGWORK_STATE").filter(|dir| !dir.is_empty()) {
        return Ok(std::path::absolute(dir)?);
    }
    base("XDG_STATE_HOME", ".local/state")
        .ok_or_else(|| no_home("jobs").hint("name a directory with --state or LEGWORK_STATE"))
}

/// Where jobs get control groups, if `$LEGWORK_CGROUP_ROOT` says so.
pub(crate) fn cgroups() -> Option<Cgroups> {
    let place = std::env::var_os("LEGWORK_CGROUP_ROOT").filter(|place| !place.is_empty());
    Some(cgroups_at(Path::new(&place?)))
}

/// A directory, or one of the words `auto` and `none`.
pub(crate) fn cgroups_at(place: &Path) -> Cgroups {
    match place.to_str() {
        Some("auto") => Cgroups::Auto,
        Some("none") => Cgroups::None,
        _ => Cgroups::At(place.to_owned()),
    }
}

/// What the user has settled: `$XDG_CONFIG_HOME/legwork/config.toml`.
pub(crate) fn config_file() -> Result<PathBuf, CommandError> {
    let dir = base("XDG_CONFIG_HOME", ".config").ok_or_else(|| no_home("settings"))?;
    Ok(dir.join("config.toml"))
}

/// Keys and certificates: `$XDG_DATA_HOME/legwork`.
pub(crate) fn data_dir() -> Result<PathBuf, CommandError> {
    base("XDG_DATA_HOME", ".local/share").ok_or_else(|| no_home("keys"))
}

fn base(variable: &str, below_home: &str) -> Option<PathBuf> {
    // The specification says that a relative value is to be ignored.
    let set = std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute());
    let home = || std::env::home_dir().filter(|home| home.is_absolute());
    let base = set.or_else(|| Some(home()?.join(below_home)))?;
    Some(base.join("legwork"))
}

fn no_home(what: &str) -> CommandError {
    let message = format!("there is no home directory to keep {what} in");
    CommandError::new(FAILED, "NO_HOME", message)
}
