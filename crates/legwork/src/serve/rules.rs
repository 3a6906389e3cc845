//! `[jobs]` in `server.toml`: what jobs of identities get, and the most that they may ask for.

use std::time::Duration;

use legwork_server::{JobBounds, JobRule, JobRules};
use serde::{Deserialize, Deserializer};

use crate::job_options::{millis, size};
use crate::limit_options::thousandths;

/// For everybody, and for the roles that run jobs.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Jobs {
    #[serde(deserialize_with = "bytes")]
    disk_floor: Option<u64>,
    default: Bounds,
    max: Bounds,
    admin: Rule,
    run: Rule,
}

/// For one role.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rule {
    default: Bounds,
    max: Bounds,
}

/// Written as on the command line.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Bounds {
    #[serde(deserialize_with = "bytes")]
    memory: Option<u64>,
    #[serde(deserialize_with = "bytes")]
    swap: Option<u64>,
    #[serde(deserialize_with = "processors")]
    cpus: Option<u64>,
    pids: Option<u64>,
    #[serde(deserialize_with = "duration")]
    cpu_time: Option<u64>,
    #[serde(deserialize_with = "bytes")]
    disk: Option<u64>,
    nofile: Option<u64>,
    #[serde(deserialize_with = "bytes")]
    file_size: Option<u64>,
    #[serde(deserialize_with = "duration")]
    timeout: Option<u64>,
    #[serde(deserialize_with = "bytes")]
    output_limit: Option<u64>,
}

/// What TOML has for such a value.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Whole(u64),
    Part(f64),
    Text(String),
}

impl Value {
    fn text(self) -> String {
        match self {
            Self::Whole(number) => number.to_string(),
            Self::Part(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

fn read<'de, D: Deserializer<'de>>(
    from: D,
    parse: impl FnOnce(&str) -> Result<u64, String>,
) -> Result<Option<u64>, D::Error> {
    let text = Value::deserialize(from)?.text();
    let value = parse(&text).map_err(|error| format!("{text:?}: {error}"));
    value.map(Some).map_err(serde::de::Error::custom)
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    read(from, size)
}

fn processors<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    read(from, |text| thousandths(text).map(u64::from))
}

/// In milliseconds.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let parse = |text: &str| -> Result<Duration, String> {
        humantime::parse_duration(text).map_err(|error| error.to_string())
    };
    read(from, |text| parse(text).map(millis))
}

/// As the server wants them.
pub(super) fn of(jobs: &Jobs) -> JobRules {
    let roles = [("admin", &jobs.admin), ("run", &jobs.run)];
    JobRules {
        all: rule(&jobs.default, &jobs.max),
        roles: roles
            .map(|(role, own)| (role, rule(&own.default, &own.max)))
            .into(),
        disk_floor: jobs.disk_floor,
    }
}

fn rule(default: &Bounds, max: &Bounds) -> JobRule {
    JobRule {
        default: bounds(default),
        max: bounds(max),
    }
}

fn bounds(told: &Bounds) -> JobBounds {
    JobBounds {
        memory: told.memory,
        swap: told.swap,
        cpu_millis: told.cpus,
        pids: told.pids,
        cpu_time_ms: told.cpu_time,
        disk: told.disk,
        nofile: told.nofile,
        file_size: told.file_size,
        timeout_ms: told.timeout,
        output_limit: told.output_limit,
    }
}

#[cfg(test)]
mod tests {
    use super::{Jobs, of};

    #[test]
    fn values_are_written_as_on_the_command_line() {
        let text = "disk_floor = \"1G\"\n[default]\nmemory = \"4G\"\ncpus = 1.5\n[max]\ncpus = 2\ntimeout = \"1h\"\nnofile = 9\n\
            [admin.max]\nfile_size = 4096\ncpu_time = \"90s\"\n";
        let rules = of(&toml::from_str::<Jobs>(text).unwrap());
        assert_eq!(rules.disk_floor, Some(1 << 30));
        assert_eq!(rules.all.default.memory, Some(4 << 30));
        assert_eq!(rules.all.default.cpu_millis, Some(1500));
        assert_eq!(rules.all.max.cpu_millis, Some(2000));
        assert_eq!(rules.all.max.timeout_ms, Some(3_600_000));
        assert_eq!(
            (rules.all.max.nofile, rules.all.max.memory),
            (Some(9), None)
        );
        let admin = &rules.roles["admin"].max;
        assert_eq!(
            (admin.file_size, admin.cpu_time_ms),
            (Some(4096), Some(90_000))
        );
    }

    #[test]
    fn what_is_no_value_is_told() {
        for (text, why) in [
            ("[default]\nmemory = \"much\"", "expected a number of bytes"),
            ("[max]\ntimeout = \"soon\"", "soon"),
            ("[max]\nmemry = 1", "memry"),
            ("[report.max]\nmemory = 1", "report"),
        ] {
            let error = toml::from_str::<Jobs>(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
