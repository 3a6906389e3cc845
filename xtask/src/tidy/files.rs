//! The workspace's own text files: not what builds, tools or benchmarks leave behind.

use std::path::Path;

use super::Source;
use crate::Failure;

const SKIPPED: &[&str] = &[
    ".git",
    "target",
    ".venv",
    "__pycache__",
    ".pytest_cache",
    ".ruff_cache",
    ".cache",
    "results",
    "proptest-regressions",
];
const EXTENSIONS: &[&str] = &["rs", "md", "py", "toml", "proto", "txt"];

/// Reads them all, in the order of their paths.
pub(super) fn read(root: &Path) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    walk(root, root, &mut sources).map_err(|error| Failure::Read {
        place: root.display().to_string(),
        error: error.to_string(),
    })?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn walk(root: &Path, dir: &Path, into: &mut Vec<Source>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name();
        if SKIPPED.iter().any(|skipped| *skipped == name) {
            continue;
        }
        if kind.is_dir() {
            walk(root, &path, into)?;
        } else if kind.is_file()
            && EXTENSIONS
                .iter()
                .any(|e| path.extension() == Some(e.as_ref()))
        {
            into.push(Source {
                path: path
                    .strip_prefix(root)
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .into_owned(),
                text: std::fs::read_to_string(&path)?,
            });
        }
    }
    Ok(())
}
