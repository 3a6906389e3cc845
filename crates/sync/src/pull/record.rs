//! What is known of a directory's files, and so may be replaced: what earlier pulls brought, and what
//! the last push sent.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::{PullError, StoreError};
use crate::manifest::{self, Entry};
use crate::message::Node;
use crate::path::TreePath;
use crate::pull::Options;
use crate::push::cache;
use crate::store::codec::{Format, Reader, Writer};
use crate::store::{self, Replacement};

pub(crate) const FORMAT: Format = Format {
    magic: *b"lwpulls\0",
    version: 1,
};
/// What earlier pulls brought: `entries`, as they were brought.
pub(crate) type Record = HashMap<TreePath, Node>;

/// What may be replaced.
pub(crate) struct Known {
    pub(crate) record: Record,
    force: bool,
    cache: Option<PathBuf>,
    /// Read when first needed: most pulls bring what is not there yet.
    pushed: OnceCell<Vec<Entry>>,
}

impl Known {
    pub(crate) fn new(record: Record, options: &Options) -> Self {
        Self {
            record,
            force: options.force,
            cache: options.pushed.clone(),
            pushed: OnceCell::new(),
        }
    }

    /// Whether `here`, what is at `path` now, may give way.
    pub(crate) fn may_replace(&self, path: &TreePath, here: Option<&Node>) -> bool {
        let known = |here| self.record.get(path) == Some(here) || self.pushed(path) == Some(here);
        self.force || here.is_some_and(known)
    }

    /// What the last push sent of `path`. An unusable cache is as good as none: local files are
    /// refused rather than replaced.
    fn pushed(&self, path: &TreePath) -> Option<&Node> {
        let load = || {
            let cached = self.cache.as_deref().map(cache::load);
            let cached = cached.and_then(Result::ok).flatten();
            cached.map(|cached| cached.entries).unwrap_or_default()
        };
        let pushed = self.pushed.get_or_init(load);
        manifest::find(pushed, path.as_bytes()).map(|entry| &entry.node)
    }
}

/// What is remembered at `path`.
pub(crate) fn load(path: &Path) -> Result<Record, PullError> {
    let Some(bytes) = store::read(path)? else {
        return Ok(Record::new());
    };
    match decode(&bytes, path) {
        Ok(entries) => Ok(entries
            .into_iter()
            .map(|entry| (entry.path, entry.node))
            .collect()),
        // Then nothing counts as pulled: local files are refused rather than replaced.
        Err(StoreError::Damaged { .. }) => Ok(Record::new()),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Vec<Entry>, StoreError> {
    Reader::new(FORMAT, bytes, path)?.entries()
}

/// Remembers.
pub(crate) fn save(path: &Path, record: &Record) -> Result<(), PullError> {
    let entry = |(path, node): (&TreePath, &Node)| Entry {
        path: path.clone(),
        node: node.clone(),
        stat: None,
    };
    let mut entries: Vec<Entry> = record.iter().map(entry).collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut writer = Writer::new(FORMAT, 0);
    writer.entries(&entries);
    Replacement::of(path)?.finish(&writer.finish())?;
    store::sweep(path);
    Ok(())
}
