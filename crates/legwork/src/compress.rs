//! Whether content is compressed on its way: `--compress`, else `compress` in `[sync]`, else as the link and the data are worth.

use clap::ValueEnum;
use legwork_sync::push::Compress;
use serde::{Deserialize, Serialize};

/// How it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
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
    /// What counts, if this is asked for or nothing is.
    pub(crate) fn chosen(asked: Option<Self>) -> Compress {
        match asked {
            None | Some(Self::Auto) => Compress::Auto,
            Some(Self::Zstd) => Compress::Zstd,
            Some(Self::None) => Compress::Nothing,
        }
    }
}
