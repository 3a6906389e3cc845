//! The text of the two units.
//!
//! What a process of a unit inherits, its jobs would inherit too: name spaces, the filter of system calls, resource limits, the
//! bounding set of capabilities. That is why shims are not started by the server. **The jobs' unit takes nothing away**; its few lines
//! are about its life. **The server's unit takes away whatever its own work does not need**, and a comment says so where something
//! that others take away is missing. It is a fence around mistakes in handling what peers send: who controls the
//! server as a whole can still have the keeper start a job, as whom jobs run.

use std::path::{Path, PathBuf};

use super::{JOBS, KEEPER, Plan, Refusal, SERVER, UNITS};

/// How a file begins that may be written again.
pub(super) const MARK: &str = "# Written by `legwork service install`, which writes it anew";

/// A unit's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

impl Unit {
    /// Where it is installed.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new(UNITS).join(self.name)
    }
}

/// The jobs' unit and the server's, in the order in which they are started.
pub(super) fn of(plan: &Plan) -> Result<[Unit; 2], Refusal> {
    let jobs = Unit {
        name: JOBS,
        text: jobs(plan)?,
    };
    let server = Unit {
        name: SERVER,
        text: server(plan)?,
    };
    Ok([jobs, server])
}

fn jobs(plan: &Plan) -> Result<String, Refusal> {
    let binary = quoted(&plan.binary)?;
    let state = quoted(&plan.state)?;
    let user = user(plan)?;
    Ok(format!(
        "{MARK}: for changes of yours, `systemctl edit legwork-jobs`.
# Jobs live here, and not below legwork.service, so that its restarts and upgrades do not touch them. Jobs inherit what is
# set here; nothing is taken from them.

[Unit]
Description=Jobs of legwork
RequiresMountsFor={state}

[Service]
Type=notify
ExecStart={binary} service keep {KEEPER}
{user}RuntimeDirectory=legwork-jobs
RuntimeDirectoryMode=0700
# Control groups below this unit are legwork's to make, one for each job.
Delegate=yes
# A stop lets every job be stopped by its own rules first; what is left then is killed.
KillMode=mixed
TimeoutStopSec=2min
# A job that is killed for want of memory is that job's affair: the default would end all of them.
OOMPolicy=continue
# The default is for one service, not for all that people build. `--pids` limits a job.
TasksMax=infinity
Restart=on-failure

[Install]
WantedBy=multi-user.target
"
    ))
}

fn server(plan: &Plan) -> Result<String, Refusal> {
    let command = command(plan)?;
    let state = quoted(&plan.state)?;
    let user = user(plan)?;
    let capabilities = capabilities(plan);
    let sites = sites(plan)?;
    Ok(format!(
        "{MARK}: for changes of yours, `systemctl edit legwork`.
# The server. Jobs are not in this unit but in legwork-jobs.service, and go on without it.

[Unit]
Description=Server of legwork
# Not Requires=: who stops the jobs' unit can still ask the server how jobs ended.
Wants=legwork-jobs.service
After=legwork-jobs.service network.target nss-user-lookup.target
RequiresMountsFor={state}

[Service]
Type=notify
ExecStart={command}
{user}# Settings are in /etc/legwork/server.toml.
Environment=XDG_CONFIG_HOME=/etc
Restart=on-failure
RestartSec=1
# A command line that makes no sense makes none later.
RestartPreventExitStatus=2
# An index of many jobs may have to be built anew.
TimeoutStartSec=5min
# It finishes calls for ten seconds at most.
TimeoutStopSec=30
# It shows signs of life as long as it answers at its own socket.
WatchdogSec=3min
# Nothing but the server is in this unit; should something be, it is a job's.
KillMode=process
LimitNOFILE=65536
OOMScoreAdjust=-500

# What it reads may be anywhere (--io-max names paths of the host), so homes and devices can be seen; it writes its state and its
# logs, and where [workspace] in its settings has directories when this is written.
ProtectSystem=strict
ReadWritePaths={state}
{sites}LogsDirectory=legwork
LogsDirectoryMode=0700
PrivateTmp=yes
DevicePolicy=closed
NoNewPrivileges=yes
{capabilities}
# Not ProtectControlGroups=: it makes the place for jobs' groups and reads what they used.
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
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"
    ))
}

/// Where sites are; they need not be there yet.
fn sites(plan: &Plan) -> Result<String, Refusal> {
    let line = |dir: &PathBuf| Ok(format!("ReadWritePaths=-{}\n", quoted(dir)?));
    plan.sites.iter().map(line).collect()
}

fn command(plan: &Plan) -> Result<String, Refusal> {
    let mut words = vec![
        quoted(&plan.binary)?,
        "serve --init --state".to_owned(),
        quoted(&plan.state)?,
        format!("--keeper {KEEPER}"),
    ];
    let wanted = &plan.wanted;
    for (option, values) in [
        ("--listen", &wanted.listen),
        ("--advertise", &wanted.advertise),
    ] {
        for value in values {
            words.push(format!("{option} {}", quoted(Path::new(value))?));
        }
    }
    if let Some(user) = &wanted.run_user {
        words.push(format!("--run-user {}", quoted(Path::new(user))?));
    }
    if wanted.allow_root {
        words.push("--allow-root".to_owned());
    }
    Ok(words.join(" "))
}

fn user(plan: &Plan) -> Result<String, Refusal> {
    let Some(user) = &plan.user else {
        return Ok(String::new());
    };
    Ok(format!("User={}\n", quoted(Path::new(&user.name))?))
}

/// What a server may do beyond what its user may.
fn capabilities(plan: &Plan) -> String {
    if plan.user.is_none() {
        return "\
# As root it becomes others to touch the files of their mirrors (SETUID, SETGID), gives new ones to them (CHOWN, FOWNER, DAC_*),
# and finds and ends what a lost job left behind (KILL, SYS_PTRACE).
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL CAP_NET_BIND_SERVICE CAP_SETGID CAP_SETUID CAP_SYS_PTRACE"
            .to_owned();
    }
    let low = |address: &String| {
        let port = address
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        port.is_some_and(|port: u16| (1..1024).contains(&port))
    };
    if plan.wanted.listen.iter().any(low) {
        return "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=CAP_NET_BIND_SERVICE"
            .to_owned();
    }
    "CapabilityBoundingSet=".to_owned()
}

/// A word as systemd reads it from a command line or a list (systemd.syntax(7), systemd.service(5)).
pub(super) fn quoted(word: &Path) -> Result<String, Refusal> {
    let text = word
        .to_str()
        .filter(|text| !text.chars().any(char::is_control));
    let text = text.ok_or_else(|| Refusal::Unspeakable {
        what: word.display().to_string(),
    })?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@[]".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '%' | '$' => quoted.extend([c, c]),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    Ok(quoted)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{MARK, of, quoted};
    use crate::service::{Account, Plan, Wanted};

    fn plan(user: Option<&str>, wanted: Wanted) -> Plan {
        Plan {
            binary: "/usr/local/bin/legwork".into(),
            user: user.map(|name| Account {
                name: name.into(),
                uid: 7,
                gid: 8,
            }),
            state: "/var/lib/legwork".into(),
            sites: vec!["/srv".into()],
            wanted,
        }
    }

    /// What is set, without comments.
    fn lines(text: &str) -> Vec<&str> {
        assert!(text.starts_with(MARK));
        let set = |line: &&str| !line.starts_with('#') && !line.is_empty();
        text.lines().filter(set).collect()
    }

    #[test]
    fn nothing_is_taken_from_jobs() {
        let wanted = Wanted {
            allow_root: true,
            ..Wanted::default()
        };
        let [jobs, _] = of(&plan(None, wanted)).unwrap();
        let expected = [
            "[Unit]",
            "Description=Jobs of legwork",
            "RequiresMountsFor=/var/lib/legwork",
            "[Service]",
            "Type=notify",
            "ExecStart=/usr/local/bin/legwork service keep /run/legwork-jobs/keeper",
            "RuntimeDirectory=legwork-jobs",
            "RuntimeDirectoryMode=0700",
            "Delegate=yes",
            "KillMode=mixed",
            "TimeoutStopSec=2min",
            "OOMPolicy=continue",
            "TasksMax=infinity",
            "Restart=on-failure",
            "[Install]",
            "WantedBy=multi-user.target",
        ];
        assert_eq!(lines(&jobs.text), expected);
    }

    #[test]
    fn both_run_as_the_user_and_the_server_has_no_capability() {
        let wanted = Wanted {
            listen: vec!["[::]:7005".into(), "10.0.0.1".into()],
            advertise: vec!["box:7005".into()],
            ..Wanted::default()
        };
        let units = of(&plan(Some("builder"), wanted)).unwrap();
        for unit in &units {
            assert!(lines(&unit.text).contains(&"User=builder"));
        }
        let server = lines(&units[1].text);
        assert!(server.contains(
            &"ExecStart=/usr/local/bin/legwork serve --init --state /var/lib/legwork --keeper /run/legwork-jobs/keeper \
              --listen [::]:7005 --listen 10.0.0.1 --advertise box:7005"
        ));
        assert!(server.contains(&"CapabilityBoundingSet="));
        assert!(server.contains(&"ReadWritePaths=/var/lib/legwork"));
        assert!(server.contains(&"ReadWritePaths=-/srv"));
        assert!(server.contains(&"KillMode=process") && server.contains(&"Type=notify"));
        // These two would keep it from its work; see the comments beside.
        let has = |name: &str| server.iter().any(|line| line.starts_with(name));
        assert!(!has("ProtectControlGroups") && !has("ProtectHome") && !has("PrivateDevices"));
        assert!(!has("Requires=") && !has("BindsTo") && !has("PartOf"));
    }

    #[test]
    fn a_low_port_is_the_one_right_that_a_users_server_may_need() {
        let wanted = |address: &str| Wanted {
            listen: vec![address.into()],
            ..Wanted::default()
        };
        let ambient = |address| {
            let [_, server] = of(&plan(Some("b"), wanted(address))).unwrap();
            server.text.contains("AmbientCapabilities=")
        };
        assert!(ambient("0.0.0.0:443"));
        assert!(!ambient("0.0.0.0:0") && !ambient("[::1]:7005") && !ambient("box"));
    }

    #[test]
    fn words_with_a_meaning_to_systemd_have_none() {
        let of = |word| quoted(Path::new(word)).unwrap();
        assert_eq!(of("/a-b/c.d"), "/a-b/c.d");
        assert_eq!(of("/a b"), "\"/a b\"");
        assert_eq!(of("/50%/$x/\"\\"), "\"/50%%/$$x/\\\"\\\\\"");
        assert_eq!(of(""), "\"\"");
        quoted(Path::new("/a\nUser=root")).unwrap_err();
    }
}
