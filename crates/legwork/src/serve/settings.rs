//! Flags, else the environment, else the file: what a server runs with.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use legwork_identity::invite::{ADDRESSES_MAX, Address};
use legwork_server::{
    Cgroups, JobRules, Limits, Quotas, RecordRules, Retention, RunAs, SiteRule, TrashBounds,
};

use super::file::{self, File};
use super::{records, rules};
use crate::commands::serve::Serve;
use crate::error::CommandError;
use crate::paths;

/// The port of a server that is not told another.
const PORT: u16 = 7005;

/// Bytes of a log's file, and how many earlier ones stay.
const ROTATE_BYTES: usize = 64 << 20;
const KEEP: usize = 4;

/// What was decided.
#[derive(Debug)]
pub(super) struct Settings {
    /// As the file says: the flag and the environment have been looked at before.
    pub(super) state: Option<PathBuf>,
    pub(super) cgroups: Cgroups,
    pub(super) keeper: Option<PathBuf>,
    pub(super) listen: Vec<SocketAddr>,
    pub(super) advertise: Vec<Address>,
    pub(super) run_as: RunAs,
    pub(super) log_level: Option<String>,
    pub(super) log_file: Option<PathBuf>,
    pub(super) access_log: Option<PathBuf>,
    pub(super) rotation: Rotation,
    pub(super) metrics: Option<SocketAddr>,
    pub(super) limits: Limits,
    pub(super) retention: Retention,
    pub(super) job_rules: JobRules,
    pub(super) sites: BTreeMap<String, SiteRule>,
    pub(super) records: RecordRules,
}

/// When a log's file is begun anew.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation {
    /// Once it has so many bytes.
    pub(super) bytes: usize,
    /// How many earlier ones stay.
    pub(super) keep: usize,
}

impl Settings {
    pub(super) fn find(args: Serve) -> Result<Self, CommandError> {
        let file = File::find(args.config.or_else(|| path("LEGWORK_SERVER_CONFIG")))?;
        let listen = first(args.listen, "LEGWORK_LISTEN", file.listen);
        let mut resolved = Vec::new();
        for address in &listen {
            resolved.extend(resolve(address)?);
        }
        let advertise = first(args.advertise, "LEGWORK_ADVERTISE", file.advertise);
        Ok(Self {
            state: file.state.filter(|_| path("LEGWORK_STATE").is_none()),
            cgroups: cgroups(args.cgroup_root)
                .or_else(paths::cgroups)
                .or_else(|| cgroups(file.cgroup_root))
                .unwrap_or(Cgroups::Auto),
            keeper: args.keeper,
            listen: resolved,
            advertise: advertise
                .iter()
                .map(|text| address(text))
                .collect::<Result<_, _>>()?,
            run_as: RunAs {
                user: args
                    .run_user
                    .or_else(|| text("LEGWORK_RUN_USER"))
                    .or(file.run.user),
                users: file.run.users,
                allow_root: args.allow_root || file.run.allow_root,
            },
            log_level: args
                .log_level
                .or_else(|| text("LEGWORK_LOG_LEVEL"))
                .or(file.log.level),
            log_file: args
                .log_file
                .or_else(|| path("LEGWORK_LOG_FILE"))
                .or(file.log.file),
            access_log: args
                .access_log
                .or_else(|| path("LEGWORK_ACCESS_LOG"))
                .or(file.log.access),
            rotation: Rotation {
                bytes: file.log.rotate_bytes.unwrap_or(ROTATE_BYTES).max(1),
                keep: file.log.keep.unwrap_or(KEEP),
            },
            metrics: metrics(
                args.metrics
                    .or_else(|| text("LEGWORK_METRICS"))
                    .or(file.metrics.listen),
            )?,
            limits: limits(&file.limits),
            retention: retention(&file.retention),
            job_rules: rules::of(&file.jobs),
            sites: sites(file.workspace),
            records: records::rules(&file.records)?,
        })
    }

    /// What invites say: what was told, else where the server listens, by its name where it listens everywhere.
    pub(super) fn advertised(&self, bound: &[SocketAddr]) -> Result<Vec<Address>, CommandError> {
        if !self.advertise.is_empty() {
            return Ok(self.advertise.clone());
        }
        let name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let mut addresses: Vec<Address> = Vec::new();
        for bound in bound {
            let text = if bound.ip().is_unspecified() {
                format!("{name}:{}", bound.port())
            } else {
                bound.to_string()
            };
            let found = address(&text)?;
            if !addresses.contains(&found) {
                addresses.push(found);
            }
        }
        addresses.truncate(ADDRESSES_MAX);
        Ok(addresses)
    }
}

fn sites(told: BTreeMap<String, file::Site>) -> BTreeMap<String, SiteRule> {
    let rule = |site: file::Site| SiteRule {
        path: site.path,
        store: site.store,
        writers: site.writers,
    };
    let rules = told.into_iter().map(|(name, site)| (name, rule(site)));
    rules.collect()
}

/// Directories in each of which a site and its store are. What is writable by itself counts as a file system of its own, between
/// which nothing is renamed; so it is the nearest that holds both.
pub(super) fn around(told: &BTreeMap<String, file::Site>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for site in told.values() {
        let above = site.path.parent().unwrap_or(&site.path);
        let store = site
            .store
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(above);
        let both = above.ancestors().find(|dir| store.starts_with(dir));
        match both.filter(|dir| dir.parent().is_some()) {
            Some(both) => found.push(both.to_owned()),
            None => found.extend([above.to_owned(), store.to_owned()]),
        }
    }
    found.sort();
    found.dedup();
    found
}

fn cgroups(place: Option<PathBuf>) -> Option<Cgroups> {
    place.map(|place| paths::cgroups_at(&place))
}

fn path(variable: &str) -> Option<PathBuf> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

fn text(variable: &str) -> Option<String> {
    path(variable).map(|value| value.to_string_lossy().into_owned())
}

/// The flag's, else the variable's, separated by commas, else the file's.
fn first(flag: Vec<String>, variable: &str, file: Option<Vec<String>>) -> Vec<String> {
    if !flag.is_empty() {
        return flag;
    }
    match text(variable) {
        Some(list) => list.split(',').map(|part| part.trim().to_owned()).collect(),
        None => file.unwrap_or_default(),
    }
}

/// `address:port`, `address`, `name:port` or `name`.
pub(super) fn resolve(text: &str) -> Result<Vec<SocketAddr>, CommandError> {
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, PORT)]);
    }
    let found = match text.contains(':') {
        true => text.to_socket_addrs(),
        false => (text, PORT).to_socket_addrs(),
    };
    found.map(Iterator::collect).map_err(|error| {
        CommandError::usage(format!("cannot listen on {text}: {error}"))
            .hint("an address is written like 0.0.0.0:7005 or [::]:7005")
    })
}

pub(super) fn address(text: &str) -> Result<Address, CommandError> {
    text.parse()
        .map_err(|error| CommandError::usage(format!("{text:?}: {error}")))
}

/// An address, not a name: whether only this host reaches it has to be certain.
fn metrics(text: Option<String>) -> Result<Option<SocketAddr>, CommandError> {
    let address = text.map(|text| {
        text.parse().map_err(|error| {
            CommandError::usage(format!("cannot listen on {text}: {error}"))
                .hint("metrics are told on an address like 127.0.0.1:9705 or [::1]:9705")
        })
    });
    address.transpose()
}

fn limits(file: &file::Limits) -> Limits {
    let usual = Limits::default();
    let seconds = |set: Option<u64>, usual| set.map_or(usual, Duration::from_secs);
    Limits {
        connections: file.connections.unwrap_or(usual.connections),
        connections_each: file.connections_each.unwrap_or(usual.connections_each),
        strangers: file.strangers.unwrap_or(usual.strangers),
        strangers_each: file.strangers_each.unwrap_or(usual.strangers_each),
        handshake: seconds(file.handshake_s, usual.handshake),
        stranger_life: seconds(file.stranger_life_s, usual.stranger_life),
        stranger_grace: seconds(file.stranger_grace_s, usual.stranger_grace),
        keepalive: seconds(file.keepalive_s, usual.keepalive),
        drain: seconds(file.drain_s, usual.drain),
        quotas: Quotas {
            jobs: file.jobs_each.unwrap_or(usual.quotas.jobs),
            streams: file.streams_each.unwrap_or(usual.quotas.streams),
            workspaces: file.workspaces_each.unwrap_or(usual.quotas.workspaces),
            workspace_bytes: file
                .workspace_bytes_each
                .unwrap_or(usual.quotas.workspace_bytes),
            workspace_entries: file
                .workspace_entries_each
                .unwrap_or(usual.quotas.workspace_entries),
            staging_bytes: file
                .staging_bytes_each
                .unwrap_or(usual.quotas.staging_bytes),
            tree_entries: file.tree_entries.unwrap_or(usual.quotas.tree_entries),
            commit_bytes: file.commit_bytes.unwrap_or(usual.quotas.commit_bytes),
            file_bytes: file.file_bytes.unwrap_or(usual.quotas.file_bytes),
            past_bytes: file.past_bytes.unwrap_or(usual.quotas.past_bytes),
            trash: trash(file, usual.quotas.trash),
        },
    }
}

fn trash(file: &file::Limits, usual: TrashBounds) -> TrashBounds {
    TrashBounds {
        age: file.trash_age_s.map_or(usual.age, Duration::from_secs),
        bytes: file.trash_bytes.unwrap_or(usual.bytes),
        commits: file.trash_commits.unwrap_or(usual.commits),
    }
}

/// Zero is for no bound: who wants to keep nothing says one.
fn retention(file: &file::Retention) -> Retention {
    let usual = Retention::default();
    let bound =
        |told: Option<u64>, usual: Option<u64>| told.map_or(usual, |set| (set > 0).then_some(set));
    let age = usual.age.map(|age| age.as_secs());
    Retention {
        age: bound(file.age_s, age).map(Duration::from_secs),
        jobs: bound(file.jobs, usual.jobs),
        bytes: bound(file.bytes, usual.bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{address, around, file, resolve, retention};

    #[test]
    fn a_site_and_its_store_are_in_one_directory_that_may_be_written() {
        let text = "[a]\npath = \"/srv/a\"\nwriters = []\n[b]\npath = \"/srv/b\"\nwriters = []\n\
            [c]\npath = \"/data/www/c\"\nstore = \"/data/mirror/c\"\nwriters = []\n\
            [d]\npath = \"/one/d\"\nstore = \"/two/d\"\nwriters = []\n";
        let sites = toml::from_str(text).unwrap();
        let around: Vec<_> = around(&sites)
            .into_iter()
            .map(|dir| dir.display().to_string())
            .collect();
        assert_eq!(around, ["/data", "/one", "/srv", "/two"]);
    }

    #[test]
    fn jobs_are_kept_for_two_weeks_unless_said_otherwise() {
        let told = retention(&file::Retention::default());
        assert_eq!(told.age, Some(Duration::from_hours(14 * 24)));
        assert_eq!((told.jobs, told.bytes), (Some(10_000), None));
        let told = retention(&file::Retention {
            age_s: Some(0),
            jobs: Some(5),
            bytes: Some(9),
        });
        assert_eq!((told.age, told.jobs, told.bytes), (None, Some(5), Some(9)));
    }

    #[test]
    fn addresses_without_a_port_have_the_usual_one() {
        let of = |text| resolve(text).unwrap()[0].to_string();
        assert_eq!(of("127.0.0.1:0"), "127.0.0.1:0");
        assert_eq!(of("127.0.0.1"), "127.0.0.1:7005");
        assert_eq!(of("[::1]"), "[::1]:7005");
        assert_eq!(of("::1"), "[::1]:7005");
        assert!(resolve("not an address").is_err());
        assert!(address("box").is_err());
    }
}
