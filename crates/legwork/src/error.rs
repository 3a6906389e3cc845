//! How a command fails: an exit code, a reason, the cause in words, and the next step.

use std::io;

use legwork_client::{CallError, Code};
use legwork_identity::UnixTime;
use serde_json::{Value, json};

/// The end of a command that did not do what was asked.
#[derive(Debug)]
pub(crate) struct CommandError {
    /// What the process exits with.
    pub(crate) exit: u8,
    /// Stable name of the cause.
    pub(crate) reason: String,
    /// The cause in words.
    pub(crate) message: String,
    /// Whether the same command may work later as it is.
    pub(crate) retryable: bool,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

/// Something failed.
pub(crate) const FAILED: u8 = 1;
/// A search found nothing.
pub(crate) const NOTHING_FOUND: u8 = 1;
/// The command line makes no sense; for a search, also what is [`FAILED`] elsewhere.
pub(crate) const USAGE: u8 = 2;
/// Not enrolled, or refused.
pub(crate) const REFUSED: u8 = 4;
/// No such job or workspace.
pub(crate) const NOT_FOUND: u8 = 5;
/// Stopped looking, on Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;
/// Legwork failed before the job started.
pub(crate) const NOT_STARTED: u8 = 125;
/// Nobody reads our standard output any more, as after SIGPIPE.
pub(crate) const NO_READER: u8 = 141;
/// Contact lost: the job's outcome is unknown.
pub(crate) const UNKNOWN: u8 = 255;

impl CommandError {
    pub(crate) fn new(exit: u8, reason: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            exit,
            reason: reason.into(),
            message,
            retryable: false,
            hint: None,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, "USAGE", message)
    }

    /// Contact was lost: what became of the job cannot be said.
    pub(crate) fn unknown(message: impl Into<String>) -> Self {
        Self::new(UNKNOWN, "OUTCOME_UNKNOWN", message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure in a command whose own exit code means a job's: before the job ran.
    pub(crate) fn before_start(mut self) -> Self {
        if self.exit != USAGE && self.exit != UNKNOWN {
            self.exit = NOT_STARTED;
        }
        self
    }

    /// The same failure where even lost contact leaves no doubt that nothing was started.
    pub(crate) fn certainly_before_start(mut self) -> Self {
        if self.exit == UNKNOWN {
            self.exit = NOT_STARTED;
        }
        self
    }

    /// The same failure once the job may be running: its outcome is unknown.
    pub(crate) fn after_start(mut self) -> Self {
        if self.exit == FAILED {
            self.exit = UNKNOWN;
        }
        self
    }

    /// The same failure of a command whose 1 says that nothing was found.
    pub(crate) fn of_search(mut self) -> Self {
        if self.exit == FAILED {
            self.exit = USAGE;
        }
        self
    }

    /// The same failure of watching a job: where contact was lost, how to go on with it.
    pub(crate) fn watching(self, job: &str) -> Self {
        if self.reason != CallError::CONTACT_LOST {
            return self;
        }
        self.hint(format!(
            "the job has not noticed; once the server is back, `legwork logs -f {job}` shows it, and `legwork wait {job}` \
             tells its end"
        ))
    }

    /// The same failure of telling that a job was started, which is true nevertheless.
    pub(crate) fn untold_start(self) -> Self {
        self.hint("the job was started and goes on; `legwork ps` lists it")
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "reason": self.reason,
            "message": self.message,
            "retryable": self.retryable,
            "hint": self.hint,
        })
    }
}

impl From<CallError> for CommandError {
    fn from(error: CallError) -> Self {
        let exit = match error.code {
            _ if error.reason == CallError::CONTACT_LOST => UNKNOWN,
            Code::NotFound => NOT_FOUND,
            Code::PermissionDenied | Code::Unauthenticated => REFUSED,
            _ => FAILED,
        };
        // What a handshake says of dates says this already.
        let dated = matches!(
            error.reason.as_str(),
            "INVITE_EXPIRED" | "CERTIFICATE_EXPIRED"
        );
        let skew = error.skew(UnixTime::now()).filter(|_| dated);
        Self {
            exit,
            hint: hint(&error),
            retryable: error.retryable(),
            message: match skew {
                Some(skew) => format!("{}; {skew}", error.message),
                None => error.message,
            },
            reason: error.reason,
        }
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::new(FAILED, "IO", error.to_string())
    }
}

/// The next step, where one can be named from the reason and its particulars.
fn hint(error: &CallError) -> Option<String> {
    if let ("IO", Some(tree)) = (error.reason.as_str(), error.metadata.get("tree")) {
        return Some(format!("the mirror is in {tree}"));
    }
    if error.reason == "LIMIT_UNAVAILABLE" {
        let without = "--limits best-effort does without it";
        return Some(match error.metadata.get("instead") {
            Some(instead) => format!("{instead}; {without}"),
            None => without.to_owned(),
        });
    }
    let text = match error.reason.as_str() {
        "UNREACHABLE" => {
            "is the server running, and the address right? `legwork context show` tells where it is sought"
        }
        CallError::CONTACT_LOST => {
            "what was started goes on; `legwork ps -a` shows it once the server is back"
        }
        "WRONG_CA" => "was the server set up anew? then ask its admin for an invite and join again",
        "WRONG_SERVER" => {
            "another server has this address now; `legwork context show` tells which is meant"
        }
        "SERVER_EXPIRED" | "SERVER_NOT_YET_VALID" => {
            "set the clock of this machine right; if it is, restart the server, which renews its certificate"
        }
        "CERTIFICATE_NOT_VALID_NOW" => {
            "set the clocks right; if they are, ask for an invite and join again"
        }
        "CERTIFICATE_REFUSED" | "NOT_ENROLLED" => {
            "ask the server's admin for an invite and join again"
        }
        "ROLE" => "ask the server's admin for an invite with another role",
        "NOT_TLS" | "NOT_LEGWORK" | "TLS_TOO_OLD" => {
            "`legwork context show` tells where the server is sought"
        }
        "BAD_PATTERN" => "--fixed searches for the text as it is",
        "SEARCH_UNKNOWN" => "without --grep it shows all of it; pipe that to grep(1)",
        "JOB_NOT_FOUND" => "`legwork ps -a` lists the jobs there are",
        "JOB_AMBIGUOUS" => "type more characters of the id; `legwork ps -a` shows them",
        "WORKSPACE_NOT_FOUND" => {
            "`legwork workspaces` lists those there are; `legwork sync --workspace NAME` makes one"
        }
        "OTHER_WRITER" => {
            "--takeover ends that and mirrors this directory; --workspace NAME uses another mirror"
        }
        "EMPTY_ROOT" | "MASS_DELETE" => {
            "look with `legwork sync --dry-run`; if it is right: `legwork sync --force-delete`"
        }
        "TRASH_NOT_FOUND" => "`legwork trash list` shows what there is",
        "WORKSPACE_BUSY" => "`legwork ps` lists the jobs that run; wait for them, or stop them",
        "NO_SPACE" => "free some space, or use another state directory with --state",
        "ROOT" => {
            "name a user for them: --run-user, or `user` in [run] of server.toml; or say --allow-root if that is what you want"
        }
        "KEEPER_AWAY" => "is it running? `systemctl start legwork-jobs` starts that of the service",
        "NOT_ROOT" => "start the server as root, or leave the user out",
        "STATE_NEWER" => "use the newer legwork, or another state directory with --state",
        "STATE_OTHER_USER" => "use a state directory of your own with --state",
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use legwork_client::{CallError, Code};
    use legwork_identity::UnixTime;

    use super::CommandError;

    #[test]
    fn what_the_server_finds_expired_is_told_with_both_clocks_where_they_disagree() {
        let told = |reason: &str, server: u64| {
            let error = CallError::new(Code::PermissionDenied, reason, "it has expired");
            CommandError::from(error.with("serverTimeS", server.to_string())).message
        };
        let message = told("INVITE_EXPIRED", 1_000_000_000);
        assert!(
            message.starts_with("it has expired; the clocks disagree:"),
            "{message}"
        );
        assert!(message.contains("2001-09-09T01:46:40Z"), "{message}");
        assert!(message.ends_with("ahead"), "{message}");
        let now = UnixTime::now().as_secs();
        assert_eq!(told("CERTIFICATE_EXPIRED", now), "it has expired");
        assert_eq!(told("NOT_ENROLLED", 1_000_000_000), "it has expired");
    }
}
