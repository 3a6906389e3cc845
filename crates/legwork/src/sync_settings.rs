//! What users and projects settle about mirrors: `[sync]` in `config.toml` and in `legwork.toml`.

use std::num::NonZeroU64;
use std::str::FromStr;

use clap::ValueEnum;
use legwork_sync::message::Delete;
use legwork_sync::push::Blocks;
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
    /// Bytes of a chunk of a large file, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chunk: Option<Chunk>,
    /// Bytes of content at which a frame is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frame: Option<Frame>,
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
            chunk: self.chunk.or(weaker.chunk),
            frame: self.frame.or(weaker.frame),
        }
    }

    /// How large the pieces are in which content travels.
    pub(crate) fn blocks(&self) -> Blocks {
        let mut blocks = Blocks::default();
        if let Some(Chunk(bytes)) = self.chunk {
            // It was tried when it was read.
            blocks = blocks.with_chunk(bytes).unwrap_or(blocks);
        }
        if let Some(Frame(bytes)) = self.frame {
            blocks = blocks.with_frame(bytes).unwrap_or(blocks);
        }
        blocks
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

/// A size that a chunk may have, written like `64K`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Chunk(u64);

/// A size that a frame may have, written like `512K`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Frame(u64);

impl TryFrom<String> for Chunk {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = size(&text).map_err(|error| format!("{text:?}: {error}"))?;
        let blocks = Blocks::default().with_chunk(bytes);
        blocks.map_err(|bad| bad.to_string()).map(|_| Self(bytes))
    }
}

impl TryFrom<String> for Frame {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = size(&text).map_err(|error| format!("{text:?}: {error}"))?;
        let blocks = Blocks::default().with_frame(bytes);
        blocks.map_err(|bad| bad.to_string()).map(|_| Self(bytes))
    }
}

impl From<Chunk> for String {
    fn from(Chunk(bytes): Chunk) -> Self {
        bytes.to_string()
    }
}

impl From<Frame> for String {
    fn from(Frame(bytes): Frame) -> Self {
        bytes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{Blocks, Policy, Rate, SyncSettings};

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
    fn only_sizes_that_can_be_are_taken() {
        let read = |text: &str| toml::from_str::<SyncSettings>(text);
        let settings = read("chunk = \"32K\"\nframe = \"128KiB\"").unwrap();
        let blocks = Blocks::default().with_chunk(32 << 10).unwrap();
        assert_eq!(settings.blocks(), blocks.with_frame(128 << 10).unwrap());
        assert_eq!(
            toml::from_str(&toml::to_string(&settings).unwrap()),
            Ok(settings)
        );
        assert_eq!(read("").unwrap().blocks(), Blocks::default());
        for (bad, why) in [
            ("chunk = \"48K\"", "16, 32, 64 or 128 KiB"),
            ("chunk = \"1M\"", "16, 32, 64 or 128 KiB"),
            ("frame = \"1M\"", "between 64 and 512 KiB"),
            ("frame = \"large\"", "expected a number"),
        ] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
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
