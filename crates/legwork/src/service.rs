//! legwork as services of systemd: two units, and what it takes to install them.
//!
//! `legwork.service` is the server. It can be restarted, upgraded, killed, and confined as tightly as its own work allows, because
//! nothing of a job is in it. `legwork-jobs.service` is the [keeper](keep): everything of a job is below that one, so it is started once,
//! is never restarted by an upgrade, and takes away from jobs nothing that a build could miss. Why there are two is told in
//! `docs/design/service.md`; what is in each, and why, in [`units`].
//!
//! `legwork-agent.service` is the [agent], which has nothing to do with the other two.
//!
//! A [`Plan`] is what somebody asked for, checked against this host as far as that can be without changing anything.

pub(crate) mod agent;
mod install;
pub(crate) mod keep;
mod place;
mod refusal;
mod status;
mod systemctl;
mod units;

use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

pub(crate) use self::install::{How, Installed, install, uninstall};
pub(crate) use self::refusal::Refusal;
pub(crate) use self::status::{UnitStatus, status};
pub(crate) use self::units::Unit;
use crate::error::CommandError;
use crate::serve;

/// The server's unit.
pub(crate) const SERVER: &str = "legwork.service";
/// The unit that jobs live in.
pub(crate) const JOBS: &str = "legwork-jobs.service";
/// Where administrators' units are.
const UNITS: &str = "/etc/systemd/system";
/// Where the keeper listens.
const KEEPER: &str = "/run/legwork-jobs/keeper";
/// The state directory of a service that is not told another.
const STATE: &str = "/var/lib/legwork";

/// What is asked of a service.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) user: Option<String>,
    pub(crate) state: Option<PathBuf>,
    pub(crate) listen: Vec<String>,
    pub(crate) advertise: Vec<String>,
    pub(crate) run_user: Option<String>,
    pub(crate) allow_root: bool,
}

/// What will be installed.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The program of both units.
    binary: PathBuf,
    /// As whom both run, unless as root.
    user: Option<Account>,
    state: PathBuf,
    /// Directories in which the sites of its settings are.
    sites: Vec<PathBuf>,
    wanted: Wanted,
}

/// A user of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Plan {
    /// Checks what can be checked by anybody.
    pub(crate) fn new(wanted: Wanted) -> Result<Self, CommandError> {
        serve::check_addresses(&wanted.listen, &wanted.advertise)?;
        let file = serve::system_settings()?;
        let user = wanted.user.as_deref().map(account).transpose()?;
        let user = user.filter(|user| user.uid != 0);
        if user.is_some() && (wanted.run_user.is_some() || wanted.allow_root) {
            return Err(Refusal::UserTwice.into());
        }
        let is_settled = wanted.run_user.is_some() || wanted.allow_root || file.names_users;
        if user.is_none() && !is_settled {
            return Err(Refusal::WhoRunsJobs.into());
        }
        if let Some(name) = &wanted.run_user {
            account(name)?;
        }
        let state = wanted.state.clone().or(file.state);
        let state = std::path::absolute(state.unwrap_or_else(|| STATE.into()))?;
        place::check_state(&state)?;
        Ok(Self {
            binary: std::env::current_exe()?.canonicalize()?,
            user,
            state,
            sites: file.sites,
            wanted,
        })
    }

    /// Whether a service can run the program from where it is.
    pub(crate) fn check_binary(&self) -> Result<(), Refusal> {
        place::check_binary(&self.binary, self.user.is_none())
    }

    /// The units' files.
    pub(crate) fn units(&self) -> Result<[Unit; 2], Refusal> {
        units::of(self)
    }

    /// As whom files are made that the server is to own.
    fn owner(&self) -> (u32, u32) {
        self.user
            .as_ref()
            .map_or((0, 0), |user| (user.uid, user.gid))
    }
}

fn account(name: &str) -> Result<Account, Refusal> {
    let found = User::from_name(name).ok().flatten();
    let found = found.ok_or_else(|| Refusal::NoUser { name: name.into() })?;
    Ok(Account {
        name: found.name,
        uid: found.uid.as_raw(),
        gid: found.gid.as_raw(),
    })
}

/// Whether units can be installed by this process on this host.
fn check_host() -> Result<(), Refusal> {
    // As sd_booted(3) has it.
    if !Path::new("/run/systemd/system").is_dir() {
        return Err(Refusal::NoSystemd);
    }
    if !Uid::effective().is_root() {
        return Err(Refusal::NotRoot);
    }
    Ok(())
}
