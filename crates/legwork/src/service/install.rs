//! Installing the units, again and again: what is right is left alone, and only the server is restarted.

use std::io;
use std::path::{Path, PathBuf};

use legwork_server::KeptLauncher;

use super::units::MARK;
use super::{JOBS, KEEPER, Plan, Refusal, SERVER, UNITS, check_host, place, systemctl};
use crate::error::CommandError;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Installed {
    /// The units that were not there, or other than now.
    pub(crate) written: Vec<PathBuf>,
    /// Whether the server runs.
    pub(crate) started: bool,
    /// Jobs that keep the changed unit of theirs from being used.
    pub(crate) awaited: usize,
    /// Where the first admin's invite is, if one was made and not used.
    pub(crate) invite: Option<PathBuf>,
}

/// How it is to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// Replace units that somebody else wrote.
    pub(crate) force: bool,
    /// Start the server, or restart it.
    pub(crate) start: bool,
}

/// Writes the units and has systemd use them.
pub(crate) fn install(plan: &Plan, how: How) -> Result<Installed, CommandError> {
    check_host()?;
    plan.check_binary()?;
    let units = plan.units()?;
    if !how.force {
        for unit in &units {
            check_ours(&unit.path())?;
        }
    }
    place::make_state(&plan.state, plan.owner())?;
    let mut written = Vec::new();
    for unit in &units {
        if write(&unit.path(), &unit.text)? {
            written.push(unit.path());
        }
    }
    systemctl::run(&["daemon-reload"])?;
    systemctl::run(&["enable", "--quiet", JOBS, SERVER])?;
    let jobs_changed = written.iter().any(|path| path.ends_with(JOBS));
    let mut awaited = 0;
    if how.start {
        systemctl::try_run(&["reset-failed", JOBS, SERVER]);
        if jobs_changed {
            awaited = jobs();
        }
        let act = if jobs_changed && awaited == 0 {
            "restart"
        } else {
            "start"
        };
        systemctl::run(&[act, JOBS])?;
        systemctl::run(&["restart", SERVER])?;
    }
    let invite = plan.state.join(crate::serve::FIRST_INVITE);
    Ok(Installed {
        written,
        started: how.start,
        awaited,
        invite: invite.exists().then_some(invite),
    })
}

/// Takes the units away. The state directory stays.
pub(crate) fn uninstall(stop_jobs: bool) -> Result<(), CommandError> {
    check_host()?;
    let paths = [SERVER, JOBS].map(|name| Path::new(UNITS).join(name));
    if !paths.iter().any(|path| path.exists()) {
        return Err(Refusal::NotInstalled.into());
    }
    for path in &paths {
        check_ours(path)?;
    }
    let count = jobs();
    if count > 0 && !stop_jobs {
        return Err(Refusal::JobsRun { count }.into());
    }
    // The server goes first, so that it starts no more.
    for unit in [SERVER, JOBS] {
        systemctl::run(&["disable", "--quiet", "--now", unit])?;
    }
    for path in &paths {
        std::fs::remove_file(path).or_else(gone_already)?;
    }
    systemctl::run(&["daemon-reload"])?;
    Ok(())
}

/// How many jobs the keeper has; none if there is no keeper.
fn jobs() -> usize {
    KeptLauncher::new(KEEPER)
        .look()
        .map_or(0, |kept| kept.shims)
}

/// Refuses a file that somebody else wrote.
pub(super) fn check_ours(path: &Path) -> Result<(), Refusal> {
    let is_ours = match std::fs::read_to_string(path) {
        Ok(text) => text.starts_with(MARK),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if is_ours {
        return Ok(());
    }
    Err(Refusal::Foreign {
        path: path.to_owned(),
    })
}

/// Writes a file whole or not at all; `false` if it was as it should be.
pub(super) fn write(path: &Path, text: &str) -> io::Result<bool> {
    if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(false);
    }
    let new = path.with_extension("service.new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)?;
    Ok(true)
}

pub(super) fn gone_already(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{MARK, check_ours, write};

    #[test]
    fn only_own_units_are_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.service");
        check_ours(&path).unwrap();
        assert!(write(&path, MARK).unwrap());
        assert!(!write(&path, MARK).unwrap());
        check_ours(&path).unwrap();
        for foreign in ["", "[Service]\n"] {
            std::fs::write(&path, foreign).unwrap();
            check_ours(&path).unwrap_err();
        }
    }
}
