//! What earlier pulls brought into a directory, so that the next may replace it.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{PullError, StoreError};
use crate::manifest::Entry;
use crate::message::Node;
use crate::path::TreePath;
use crate::store::codec::{Format, Reader, Writer};
use crate::store::{self, Replacement};

const FORMAT: Format = Format {
    magic: *b"lwpulls\0",
    version: 1,
};
/// What earlier pulls brought: `entries`, as they were brought.
pub(crate) type Record = HashMap<TreePath, Node>;

/// What is remembered at `path`.
pub(crate) fn load(path: &Path) -> Result<Record, PullError> {
    let Some(bytes) = store::read(path)? else {
        return Ok(Record::new());
    };
    match Reader::new(FORMAT, &bytes, path).and_then(|mut reader| reader.entries()) {
        Ok(entries) => Ok(entries
            .into_iter()
            .map(|entry| (entry.path, entry.node))
            .collect()),
        // Then nothing counts as pulled: local files are refused rather than replaced.
        Err(StoreError::Damaged { .. }) => Ok(Record::new()),
        Err(error) => Err(error.into()),
    }
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
    Ok(Replacement::of(path)?.finish(&writer.finish())?)
}
