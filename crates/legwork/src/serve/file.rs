//! `server.toml`: what may be in it, and what is said about what may not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{CommandError, FAILED};
use crate::settings::suggestion;

/// Where it is for the whole host.
pub(super) const SYSTEM: &str = "/etc/legwork/server.toml";

/// The whole file. Every key may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) state: Option<PathBuf>,
    pub(super) cgroup_root: Option<PathBuf>,
    pub(super) listen: Option<Vec<String>>,
    pub(super) advertise: Option<Vec<String>>,
    pub(super) run: Run,
    pub(super) log: Log,
    pub(super) metrics: Metrics,
    pub(super) limits: Limits,
    pub(super) retention: Retention,
    pub(super) jobs: super::rules::Jobs,
    pub(super) workspace: BTreeMap<String, Site>,
    pub(super) records: super::records::Records,
}

/// A directory that is a workspace.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Site {
    pub(super) path: PathBuf,
    pub(super) store: Option<PathBuf>,
    pub(super) writers: BTreeSet<String>,
}

/// How long jobs that have ended are kept. Zero means for ever.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Retention {
    pub(super) age_s: Option<u64>,
    pub(super) jobs: Option<u64>,
    pub(super) bytes: Option<u64>,
}

/// How jobs run.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Run {
    pub(super) user: Option<String>,
    pub(super) allow_root: bool,
    pub(super) users: BTreeMap<String, String>,
}

/// What is told, and where.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) level: Option<String>,
    pub(super) file: Option<PathBuf>,
    pub(super) access: Option<PathBuf>,
    pub(super) rotate_bytes: Option<usize>,
    pub(super) keep: Option<usize>,
}

/// Figures for Prometheus.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Metrics {
    pub(super) listen: Option<String>,
}

/// What peers may use up.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) connections: Option<usize>,
    pub(super) connections_each: Option<usize>,
    pub(super) strangers: Option<usize>,
    pub(super) strangers_each: Option<usize>,
    pub(super) handshake_s: Option<u64>,
    pub(super) stranger_life_s: Option<u64>,
    pub(super) stranger_grace_s: Option<u64>,
    pub(super) keepalive_s: Option<u64>,
    pub(super) drain_s: Option<u64>,
    pub(super) jobs_each: Option<usize>,
    pub(super) streams_each: Option<usize>,
    pub(super) workspaces_each: Option<usize>,
    pub(super) workspace_bytes_each: Option<u64>,
    pub(super) workspace_entries_each: Option<u64>,
    pub(super) staging_bytes_each: Option<u64>,
    pub(super) tree_entries: Option<u64>,
    pub(super) commit_bytes: Option<u64>,
    pub(super) file_bytes: Option<u64>,
    pub(super) past_bytes: Option<u64>,
    pub(super) trash_age_s: Option<u64>,
    pub(super) trash_bytes: Option<u64>,
    pub(super) trash_commits: Option<usize>,
}

impl File {
    /// Reads the file that was named, else the first of those that may be there.
    pub(super) fn find(named: Option<PathBuf>) -> Result<Self, CommandError> {
        if let Some(path) = named {
            return match std::fs::read_to_string(&path) {
                Ok(text) => Self::parse(&path, &text),
                Err(error) => Err(bad(&path, &error.to_string())),
            };
        }
        for path in places() {
            match std::fs::read_to_string(&path) {
                Ok(text) => return Self::parse(&path, &text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(bad(&path, &error.to_string())),
            }
        }
        Ok(Self::default())
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CommandError> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let told = bad(path, error.to_string().trim_end());
            match suggestion(error.message()) {
                Some(near) => told.hint(format!("did you mean `{near}`?")),
                None => told,
            }
        })
    }
}

fn places() -> Vec<PathBuf> {
    let own = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    let own = own.map(|dir| dir.join("legwork/server.toml"));
    own.into_iter().chain([SYSTEM.into()]).collect()
}

fn bad(path: &Path, what: &str) -> CommandError {
    CommandError::new(FAILED, "BAD_CONFIG", format!("{}: {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::File;

    #[test]
    fn an_unknown_key_is_an_error_with_a_suggestion() {
        let parse = |text| File::parse(Path::new("server.toml"), text);
        let file = parse("listen = [\"[::]:1\"]\n[run]\nallow_root = true").unwrap();
        assert!(file.run.allow_root);
        let file = parse("[run]\nuser = \"builder\"\n[run.users]\nalice = \"al\"").unwrap();
        assert_eq!(file.run.user.as_deref(), Some("builder"));
        assert_eq!(file.run.users["alice"], "al");
        for (text, near) in [
            ("lisen = []", "`listen`"),
            ("[log]\nlevle = \"info\"", "`level`"),
            ("[limits]\nconections = 3", "`connections`"),
            (
                "[workspace.site]\npath = \"/srv/site\"\nwriter = [\"anna\"]",
                "`writers`",
            ),
            ("[records]\nsegment_byte = 1", "`segment_bytes`"),
            ("[records.stream.a]\ndurabilty = \"os\"", "`durability`"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.reason, "BAD_CONFIG");
            assert!(error.hint.unwrap().contains(near), "{text}");
        }
        assert_eq!(parse("xyzzy = 1").unwrap_err().hint, None);
    }
}
