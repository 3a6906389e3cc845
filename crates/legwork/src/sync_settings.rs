//! What users and projects settle about mirrors: `[sync]` in `config.toml` and in `legwork.toml`.

use std::num::NonZeroU64;
use std::str::FromStr;

use clap::ValueEnum;
use legwork_sync::message::Delete;
use serde::{Deserialize, Serialize};

use crate::compress::Compression;
use crate::job_options::size;

/// The table. A key that is left out is for somebody else to settle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SyncSettings {
    /// What happens to mirrored files that are gone here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delete: Option<Policy>,
    /// `.git` travels too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) with_git: Option<bool>,
    /// What travels although the ignore files leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) include: Option<Vec<String>>,
    /// Bytes that are sent per second at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bwlimit: Option<Rate>,
    /// Whether content is compressed on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) compress: Option<Compression>,
}

impl SyncSettings {
    /// These, and where they say nothing the weaker ones.
    pub(crate) fn or(self, weaker: Self) -> Self {
        Self {
            delete: self.delete.or(weaker.delete),
            with_git: self.with_git.or(weaker.with_git),
            include: self.include.or(weaker.include),
            bwlimit: self.bwlimit.or(weaker.bwlimit),
            compress: self.compress.or(weaker.compress),
        }
    }

    /// What happens to mirrored files that are gone here.
    pub(crate) fn delete(&self) -> Delete {
        match self.delete {
            Some(Policy::Owned) | None => Delete::Owned,
            Some(Policy::Exact) => Delete::Exact,
            Some(Policy::None) => Delete::Nothing,
        }
    }
}

/// What happens to mirrored files that are gone here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Policy {
    /// Delete what the mirror wrote and nobody changed since
    Owned,
    /// Make the mirror what this directory is: what jobs or others put there goes to its trash
    Exact,
    /// Delete nothing now; a later sync without this does
    None,
}

/// Bytes per second, written like `500K`, `2MiB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Rate(pub(crate) NonZeroU64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let bytes = size(lower.strip_suffix("/s").unwrap_or(&lower))?;
        let rate = NonZeroU64::new(bytes);
        rate.map(Self)
            .ok_or_else(|| "nothing would ever be sent: leave it out for no limit".to_owned())
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error| {
            format!("{text:?}: {error}; a rate is written like \"500K\" or \"2MiB/s\"")
        })
    }
}

impl From<Rate> for String {
    fn from(Rate(bytes): Rate) -> Self {
        bytes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{Policy, Rate, SyncSettings};

    #[test]
    fn rates_are_written_as_people_do() {
        for (text, bytes) in [
            ("1", 1),
            ("500K", 500 << 10),
            ("2MiB/s", 2 << 20),
            ("3mb/S", 3 << 20),
            ("1g", 1 << 30),
        ] {
            assert_eq!(text.parse::<Rate>().unwrap().0.get(), bytes, "{text}");
        }
        for text in ["", "0", "0K/s", "fast", "1KB/h", "-1"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_said_nearer_is_stronger_key_by_key() {
        let read = |text: &str| toml::from_str::<SyncSettings>(text).unwrap();
        let project = read("include = [\"dist\"]\ndelete = \"exact\"");
        let user = read("include = []\nbwlimit = \"1M\"\nwith_git = true");
        let both = project.or(user.clone());
        assert_eq!(both.delete, Some(Policy::Exact));
        assert_eq!(both.include, Some(vec!["dist".to_owned()]));
        assert_eq!(both.bwlimit.unwrap().0.get(), 1 << 20);
        assert_eq!(both.with_git, Some(true));
        let text = toml::to_string(&user).unwrap();
        assert_eq!(read(&text), user);
        for bad in ["includes = []", "bwlimit = \"0\"", "delete = \"all\""] {
            assert!(toml::from_str::<SyncSettings>(bad).is_err(), "{bad}");
        }
    }
}
