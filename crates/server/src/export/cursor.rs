//! How far an export is with a stream: a file of its own, on the disk before anything more is sent.
//!
//! `<state>/exports/<name of the export>/<hash of the stream>` says `{"version":1,"stream":"process","cursor":"0123456789abcdef-7"}`. One that is damaged
//! or newer is not believed: the export begins with the first line that is there, for sending twice is better than not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use legwork_records::query::{Cursor, From};
use serde_json::{Value, json};

/// The directory of all exports, in the state directory.
const DIR: &str = "exports";

/// The file.
#[derive(Debug, Clone)]
pub(super) struct CursorFile {
    dir: PathBuf,
    path: PathBuf,
    stream: String,
}

impl CursorFile {
    pub(super) fn new(state: &Path, export: &str, stream: &str) -> Self {
        let dir = state.join(DIR).join(export);
        let hash = blake3::hash(stream.as_bytes()).to_hex();
        Self {
            path: dir.join(&hash[..32]),
            dir,
            stream: stream.to_owned(),
        }
    }

    /// Where to go on. Blocks.
    pub(super) fn read(&self) -> From {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %self.path.display(), %error, "an export begins anew");
                }
                return From::Start;
            }
        };
        let cursor = read(&text);
        if cursor.is_none() {
            tracing::warn!(path = %self.path.display(), "an export begins anew: its cursor is damaged");
        }
        cursor.map_or(From::Start, From::Cursor)
    }

    /// Durable when it returns. Blocks.
    pub(super) fn write(&self, cursor: Cursor) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        let mut made = fs::DirBuilder::new();
        made.mode(0o700).recursive(true).create(&self.dir)?;
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(true).mode(0o600);
        let mut file = options.open(&fresh)?;
        let line = json!({ "version": 1, "stream": self.stream, "cursor": cursor.to_string() });
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        File::open(&self.dir)?.sync_all()
    }
}

fn read(text: &[u8]) -> Option<Cursor> {
    let told: Value = serde_json::from_slice(text).ok()?;
    if told.get("version")?.as_u64()? != 1 {
        return None;
    }
    told.get("cursor")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use legwork_records::query::{Cursor, From};

    use super::CursorFile;

    #[test]
    fn it_says_what_was_written_and_begins_anew_when_damaged() {
        let state = tempfile::tempdir().unwrap();
        let file = CursorFile::new(state.path(), "lake", "a/../b");
        assert_eq!(file.read(), From::Start);
        let cursor = Cursor { log: 7, next: 42 };
        file.write(cursor).unwrap();
        file.write(cursor).unwrap();
        assert_eq!(file.read(), From::Cursor(cursor));
        let other = CursorFile::new(state.path(), "lake", "c");
        assert_eq!(other.read(), From::Start);
        for bad in [
            "",
            "{}",
            "{\"version\":2,\"cursor\":\"0000000000000007-42\"}",
        ] {
            std::fs::write(&file.path, bad).unwrap();
            assert_eq!(file.read(), From::Start, "{bad}");
        }
    }
}
