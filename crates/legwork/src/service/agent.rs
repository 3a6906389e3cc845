//! The agent as a service: one more unit, on any host that is to report, whether it has a server or not.
//!
//! It runs as a user of its own that systemd makes for it, and may do one thing that other users may not: look at the processes of all
//! (`CAP_SYS_PTRACE`, which programs and hidden processes take). The system calls by which that could do more than look are filtered. Its keys and its spool
//! are in [`DIR`]; who installs it gives it an invite, of the role `report`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::install::{check_ours, gone_already, write};
use super::units::{MARK, Unit, quoted};
use super::{How, Refusal, UNITS, check_host, place, systemctl};
use crate::error::{CommandError, FAILED};

/// Its unit.
pub(crate) const NAME: &str = "legwork-agent.service";
/// Where its keys and its spool are.
const DIR: &str = "/var/lib/legwork-agent";
/// What its server is called there.
const CONTEXT: &str = "server";

/// What is asked of it.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) every: Duration,
    pub(crate) stream: String,
}

/// Its unit's file.
pub(crate) fn unit(wanted: &Wanted) -> Result<Unit, CommandError> {
    let binary = std::env::current_exe()?.canonicalize()?;
    Ok(Unit {
        name: NAME,
        text: text(&binary, wanted)?,
    })
}

fn text(binary: &Path, wanted: &Wanted) -> Result<String, Refusal> {
    let binary = quoted(binary)?;
    let every = humantime::format_duration(wanted.every).to_string();
    let every = quoted(Path::new(&every))?;
    let stream = quoted(Path::new(&wanted.stream))?;
    Ok(format!(
        "{MARK}: for changes of yours, `systemctl edit legwork-agent`.
# Reports the processes of this host. What the server cannot take is kept, through restarts and reboots.

[Unit]
Description=Agent of legwork
After=network.target nss-user-lookup.target

[Service]
Type=notify
ExecStart={binary} agent --context {CONTEXT} --every {every} --stream {stream}
# A user of its own; its keys, and what the server has not taken, are in {DIR}.
DynamicUser=yes
StateDirectory=legwork-agent
StateDirectoryMode=0700
Environment=XDG_CONFIG_HOME=/etc XDG_DATA_HOME={DIR}/data XDG_STATE_HOME={DIR}/state
Restart=on-failure
RestartSec=5
# A command line that makes no sense makes none later.
RestartPreventExitStatus=2
# It sends what it has for five seconds at most.
TimeoutStopSec=30
UMask=0077

# It sees the processes of all, and which programs they execute: that is what it is for, so no ProtectProc= and no PrivateUsers=.
AmbientCapabilities=CAP_SYS_PTRACE
CapabilityBoundingSet=CAP_SYS_PTRACE
# And looks at nothing else of them.
SystemCallFilter=@system-service
SystemCallFilter=~ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp
SystemCallErrorNumber=EPERM
SystemCallArchitectures=native
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectControlGroups=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6

[Install]
WantedBy=multi-user.target
"
    ))
}

/// Whether a service can run it; to be told before anything is changed.
pub(crate) fn check_binary() -> Result<(), CommandError> {
    let binary = std::env::current_exe()?.canonicalize()?;
    // It is not root's, and is started with a right that only root could give away.
    Ok(place::check_binary(&binary, true)?)
}

/// What it shows its server, if it has joined one.
pub(crate) fn keys() -> PathBuf {
    let contexts = Path::new(DIR).join("data/legwork/contexts");
    contexts.join(CONTEXT)
}

/// Joins a server, if there is none yet, and has systemd run it. The file, if it was not as it is now.
pub(crate) fn install(wanted: &Wanted, how: How) -> Result<Option<PathBuf>, CommandError> {
    check_host()?;
    check_binary()?;
    let unit = unit(wanted)?;
    if !how.force {
        check_ours(&unit.path())?;
    }
    join()?;
    let path = write(&unit.path(), &unit.text)?.then(|| unit.path());
    systemctl::run(&["daemon-reload"])?;
    systemctl::run(&["enable", "--quiet", NAME])?;
    if how.start {
        systemctl::try_run(&["reset-failed", NAME]);
        systemctl::run(&["restart", NAME])?;
    }
    Ok(path)
}

/// Takes it away; its keys and its spool stay.
pub(crate) fn uninstall() -> Result<(), CommandError> {
    check_host()?;
    let path = Path::new(UNITS).join(NAME);
    if !path.exists() {
        return Err(Refusal::NotInstalled.into());
    }
    check_ours(&path)?;
    systemctl::run(&["disable", "--quiet", "--now", NAME])?;
    std::fs::remove_file(&path).or_else(gone_already)?;
    systemctl::run(&["daemon-reload"])?;
    Ok(())
}

/// By an invite from standard input, as `legwork join` reads it, which also writes the keys.
fn join() -> Result<(), CommandError> {
    let data = Path::new(DIR).join("data");
    if keys().exists() {
        return Ok(());
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "the same program, for a user who is not there yet; this is no job"
    )]
    let done = Command::new("/proc/self/exe")
        .args(["join", "--name", CONTEXT, "-"])
        // Which server the commands of whoever installs it are for is not the agent's to change.
        .env("XDG_CONFIG_HOME", Path::new(DIR).join("config"))
        .env("XDG_DATA_HOME", &data)
        .env("XDG_STATE_HOME", Path::new(DIR).join("state"))
        .env_remove("LEGWORK_STATE")
        .stdin(Stdio::inherit())
        .status()?;
    if done.success() {
        return Ok(());
    }
    let message = "the agent has not joined a server, so nothing was installed";
    Err(CommandError::new(FAILED, "NOT_JOINED", message)
        .hint("`legwork invite NAME --role report` on the server prints the invite that is to be piped to this command"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::{MARK, Wanted, text};

    #[test]
    fn it_sees_all_processes_and_has_no_other_right() {
        let wanted = Wanted {
            every: Duration::from_secs(15),
            stream: "process".into(),
        };
        let text = text(Path::new("/usr/local/bin/legwork"), &wanted).unwrap();
        assert!(text.starts_with(MARK));
        let lines: Vec<_> = text.lines().collect();
        for line in [
            "ExecStart=/usr/local/bin/legwork agent --context server --every 15s --stream process",
            "DynamicUser=yes",
            "AmbientCapabilities=CAP_SYS_PTRACE",
            "CapabilityBoundingSet=CAP_SYS_PTRACE",
        ] {
            assert!(lines.contains(&line), "{line}");
        }
        let has = |name: &str| lines.iter().any(|line| line.starts_with(name));
        assert!(!has("ProtectProc=") && !has("PrivateUsers=") && !has("ProcSubset="));
        let odd = Wanted {
            stream: "a\nUser=root".into(),
            ..wanted
        };
        super::text(Path::new("/x"), &odd).unwrap_err();
    }
}
