//! How the units are, by what systemd says of them.

use std::collections::BTreeMap;

use super::{JOBS, Refusal, SERVER, agent, systemctl};

/// What is asked.
const PROPERTIES: &str =
    "--property=LoadState,UnitFileState,ActiveState,SubState,MainPID,StatusText,NRestarts";

/// A unit as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitStatus {
    pub(crate) name: &'static str,
    pub(crate) installed: bool,
    /// Whether it begins with the host.
    pub(crate) enabled: bool,
    /// `active`, `failed`, `inactive`, … and more exactly `running`, `dead`, ….
    pub(crate) active: String,
    pub(crate) sub: String,
    pub(crate) pid: Option<u32>,
    /// Its own words.
    pub(crate) says: String,
    /// How often systemd has started it again by itself.
    pub(crate) restarts: u32,
}

/// The server's, the jobs' and, where it is installed, the agent's; where only that one is, it alone.
pub(crate) fn status() -> Result<Vec<UnitStatus>, Refusal> {
    if !std::path::Path::new("/run/systemd/system").is_dir() {
        return Err(Refusal::NoSystemd);
    }
    let mut units = vec![of(SERVER)?, of(JOBS)?];
    let agent = of(agent::NAME)?;
    if agent.installed {
        units.retain(|unit| unit.installed);
        units.push(agent);
    }
    Ok(units)
}

fn of(name: &'static str) -> Result<UnitStatus, Refusal> {
    Ok(parse(name, &systemctl::run(&["show", PROPERTIES, name])?))
}

fn parse(name: &'static str, text: &str) -> UnitStatus {
    let said: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let word = |key| said.get(key).copied().unwrap_or_default();
    UnitStatus {
        name,
        installed: word("LoadState") == "loaded",
        enabled: word("UnitFileState") == "enabled",
        active: word("ActiveState").to_owned(),
        sub: word("SubState").to_owned(),
        pid: word("MainPID").parse().ok().filter(|pid| *pid != 0),
        says: word("StatusText").to_owned(),
        restarts: word("NRestarts").parse().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_systemd_says_is_understood() {
        let text = "MainPID=7\nNRestarts=2\nStatusText=listening on a=b\nLoadState=loaded\n\
            ActiveState=active\nSubState=running\nUnitFileState=enabled\n";
        let status = parse("legwork.service", text);
        assert!(status.installed && status.enabled);
        assert_eq!((status.pid, status.restarts), (Some(7), 2));
        assert_eq!(status.says, "listening on a=b");
        let none = parse(
            "x",
            "MainPID=0\nLoadState=not-found\nActiveState=inactive\n",
        );
        assert!(!none.installed && none.pid.is_none());
    }
}
