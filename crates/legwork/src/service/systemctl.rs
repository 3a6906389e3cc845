//! Talking to systemd by its own command.

use std::process::{Command, Stdio};

use super::Refusal;

/// Runs it with these arguments; what it prints.
pub(super) fn run(arguments: &[&str]) -> Result<String, Refusal> {
    let command = || format!("systemctl {}", arguments.join(" "));
    let refused = |said: String| Refusal::Systemctl {
        command: command(),
        said,
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "systemd is told by its own command; this is no job"
    )]
    let done = Command::new("systemctl")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| refused(error.to_string()))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(refused(if said.is_empty() {
        done.status.to_string()
    } else {
        said
    }))
}

/// One that may fail, because nothing may be there for it to do.
pub(super) fn try_run(arguments: &[&str]) {
    drop(run(arguments));
}
