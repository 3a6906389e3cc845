//! Why a service is not installed, and what to do about it.

use std::path::PathBuf;

use crate::error::{CommandError, FAILED, REFUSED, USAGE};

/// What is in the way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another init system, or a container without one.
    NoSystemd,
    /// Units are root's.
    NotRoot,
    /// No user of this host.
    NoUser { name: String },
    /// A server that is no root cannot run jobs as somebody else.
    UserTwice,
    /// A root server has to be told as whom jobs run.
    WhoRunsJobs,
    /// A program that may be gone, or is not there for a service.
    BinaryPlace { path: PathBuf, why: &'static str },
    /// A state directory that is gone after a boot, or belongs to others.
    StatePlace { path: PathBuf, why: &'static str },
    /// The state directory is another user's.
    StateOwner { path: PathBuf, owner: u32 },
    /// Something that a unit cannot say.
    Unspeakable { what: String },
    /// A unit that somebody else wrote.
    Foreign { path: PathBuf },
    /// There is nothing to be removed.
    NotInstalled,
    /// They would end.
    JobsRun { count: usize },
    /// systemd says no.
    Systemctl { command: String, said: String },
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> Self {
        let reason = refusal.reason();
        let exit = match &refusal {
            Refusal::NotRoot => REFUSED,
            Refusal::UserTwice => USAGE,
            _ => FAILED,
        };
        Self::new(exit, reason, refusal.cause()).hint(refusal.next_step())
    }
}

impl Refusal {
    /// Its stable name.
    fn reason(&self) -> &'static str {
        match self {
            Self::NoSystemd => "NO_SYSTEMD",
            Self::NotRoot => "NOT_ROOT",
            Self::NoUser { .. } => "USER_UNKNOWN",
            Self::UserTwice => "USAGE",
            Self::WhoRunsJobs => "ROOT",
            Self::BinaryPlace { .. } => "BINARY_PLACE",
            Self::StatePlace { .. } => "STATE_PLACE",
            Self::StateOwner { .. } => "STATE_OTHER_USER",
            Self::Unspeakable { .. } => "UNIT_TEXT",
            Self::Foreign { .. } => "FOREIGN_UNIT",
            Self::NotInstalled => "NOT_INSTALLED",
            Self::JobsRun { .. } => "JOBS_RUN",
            Self::Systemctl { .. } => "SYSTEMCTL",
        }
    }

    fn cause(&self) -> String {
        match self {
            Self::NoSystemd => "this host is not run by systemd".to_owned(),
            Self::NotRoot => "only root can install a service for the whole host".to_owned(),
            Self::NoUser { name } => format!("there is no user {name:?} on this host"),
            Self::UserTwice => {
                "a server that runs as --user runs jobs as that user, too".to_owned()
            }
            Self::WhoRunsJobs => {
                "as root, this server would run everybody's jobs as root".to_owned()
            }
            Self::BinaryPlace { path, why } | Self::StatePlace { path, why } => {
                format!("{}: {why}", path.display())
            }
            Self::StateOwner { path, owner } => format!(
                "{} belongs to the user {owner}, and not to the server's",
                path.display()
            ),
            Self::Unspeakable { what } => {
                format!("{what} cannot be written in a unit: it is no text of one line")
            }
            Self::Foreign { path } => format!("{} was not written by legwork", path.display()),
            Self::NotInstalled => "legwork is not installed as a service here".to_owned(),
            Self::JobsRun { count } => format!("jobs live in the service ({count}), and would end"),
            Self::Systemctl { command, said } => format!("{command}: {said}"),
        }
    }

    fn next_step(&self) -> &'static str {
        match self {
            Self::NoSystemd => {
                "--print shows the units for another host; here, have `legwork serve` run by what starts services"
            }
            Self::NotRoot => "try it with sudo; --print shows what it would write",
            Self::NoUser { .. } => "make one: useradd --system --create-home NAME",
            Self::UserTwice => "leave --user out, or --run-user and --allow-root",
            Self::WhoRunsJobs => {
                "--user NAME runs server and jobs as that user, --run-user NAME only jobs; --allow-root means root"
            }
            Self::BinaryPlace { .. } => {
                "install it: `install -m 755 legwork /usr/local/bin/`, then use that one: `/usr/local/bin/legwork service install`"
            }
            Self::StatePlace { .. } => "leave --state out, which means /var/lib/legwork",
            Self::StateOwner { .. } => {
                "name another directory with --state, or the user with --user"
            }
            Self::Unspeakable { .. } => "name another one",
            Self::Foreign { .. } => "look at it; --force replaces it",
            Self::NotInstalled => "`legwork service install` does that",
            Self::JobsRun { .. } => "wait for them, or say --stop-jobs",
            Self::Systemctl { .. } => "`journalctl -u legwork -u legwork-jobs` tells more",
        }
    }
}
