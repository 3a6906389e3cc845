//! Whether content is compressed on its way: `--compress`, else the user's `compress`, else as the link and the data are worth.

use clap::ValueEnum;
use legwork_sync::push::Compress;
use serde::Deserialize;

use crate::error::CommandError;
use crate::settings::UserConfig;

/// How it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    /// As the link and the data are worth
    Auto,
    /// Whatever gets smaller
    Zstd,
    /// Never
    None,
}

impl Compression {
    /// As it is written.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Zstd => "zstd",
            Self::None => "none",
        }
    }
}

/// What counts, if this was asked for.
pub(crate) fn chosen(asked: Option<Compression>) -> Result<Compress, CommandError> {
    let asked = match asked {
        Some(asked) => Some(asked),
        None => UserConfig::load()?.compress,
    };
    Ok(match asked {
        None | Some(Compression::Auto) => Compress::Auto,
        Some(Compression::Zstd) => Compress::Zstd,
        Some(Compression::None) => Compress::Nothing,
    })
}
