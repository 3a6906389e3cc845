//! Which directory a site was.
//!
//! Nothing of it is in the directory, which is to hold what the client has and nothing else. A directory is known by its
//! inode and by when it was made: both are another's once it was replaced, or when the file system that it is the top of is
//! not mounted. The number of the device is not looked at, since it may change whenever the host starts.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags};
use serde_json::json;
use tonic::Code;

use crate::problem::Problem;

/// The version of what is written.
const VERSION: u64 = 1;

/// A directory, as it was when it was adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    path: PathBuf,
    store: PathBuf,
    inode: u64,
    /// Nanoseconds since the epoch; 0 where the file system does not know.
    born_ns: i64,
}

impl Record {
    /// The directory that is there now.
    pub(super) fn of(path: &Path, store: &Path) -> io::Result<Self> {
        let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::BTIME;
        let found = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted)?;
        if FileType::from_raw_mode(found.stx_mode.into()) != FileType::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let born = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
        let born_ns = found.stx_btime.tv_sec * 1_000_000_000 + i64::from(found.stx_btime.tv_nsec);
        Ok(Self {
            path: path.to_owned(),
            store: store.to_owned(),
            inode: found.stx_ino,
            born_ns: if born { born_ns } else { 0 },
        })
    }

    /// What was remembered; `None` if nothing was mirrored yet.
    pub(super) fn load(file: &Path) -> Result<Option<Self>, Problem> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Problem::io(file, &error)),
        };
        Self::parse(&text).map(Some).map_err(|(code, what)| {
            let message = format!("{}: {what}", file.display());
            Problem::new(code, "STATE_DAMAGED", message).with("path", file.display())
        })
    }

    fn parse(text: &str) -> Result<Self, (Code, &'static str)> {
        let damaged = (
            Code::DataLoss,
            "it is not what the server wrote: remove it, then sync once with --adopt",
        );
        let read: serde_json::Value = serde_json::from_str(text).map_err(|_| damaged)?;
        if read["version"].as_u64() != Some(VERSION) {
            return Err((
                Code::FailedPrecondition,
                "it is of another version of legwork",
            ));
        }
        let path = |key: &str| read[key].as_str().map(PathBuf::from).ok_or(damaged);
        Ok(Self {
            path: path("path")?,
            store: path("store")?,
            inode: read["inode"].as_u64().ok_or(damaged)?,
            born_ns: read["bornNs"].as_i64().ok_or(damaged)?,
        })
    }

    fn text(&self) -> String {
        let Self {
            path,
            store,
            inode,
            born_ns,
        } = self;
        let line = json!({
            "version": VERSION,
            "path": path.to_string_lossy(),
            "store": store.to_string_lossy(),
            "inode": inode,
            "bornNs": born_ns,
        });
        format!("{line}\n")
    }

    /// Remembers it; durable once this returns.
    pub(super) fn save(&self, file: &Path) -> Result<(), Problem> {
        let written = self.write(file);
        written.map_err(|error| Problem::io(file, &error))
    }

    fn write(&self, file: &Path) -> io::Result<()> {
        let dir = file.parent().unwrap_or(file);
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let fresh = file.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut written = options.open(&fresh)?;
        written.write_all(self.text().as_bytes())?;
        written.sync_all()?;
        fs::rename(&fresh, file)?;
        fs::File::open(dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::Record;

    #[test]
    fn it_comes_back_and_its_words_are_pinned() {
        let record = Record {
            path: "/srv/site".into(),
            store: "/srv/.legwork-site".into(),
            inode: 7,
            born_ns: 9,
        };
        let text =
            r#"{"bornNs":9,"inode":7,"path":"/srv/site","store":"/srv/.legwork-site","version":1}"#;
        assert_eq!(record.text().trim_end(), text);
        assert_eq!(Record::parse(text).unwrap(), record);
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("sites/site.json");
        assert_eq!(Record::load(&file).unwrap(), None);
        record.save(&file).unwrap();
        record.save(&file).unwrap();
        assert_eq!(Record::load(&file).unwrap(), Some(record));
        for bad in [
            "",
            "{}",
            &text.replace("\"version\":1", "\"version\":2"),
            &text.replace('7', "\"x\""),
        ] {
            fs::write(&file, bad).unwrap();
            assert!(Record::load(&file).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_directory_in_the_place_of_another_is_another() {
        let temp = tempfile::tempdir().unwrap();
        let site = temp.path().join("site");
        let store = Path::new("/store");
        assert!(Record::of(&site, store).is_err());
        fs::create_dir(&site).unwrap();
        let first = Record::of(&site, store).unwrap();
        fs::write(site.join("file"), "x").unwrap();
        assert_eq!(Record::of(&site, store).unwrap(), first);
        fs::rename(&site, temp.path().join("aside")).unwrap();
        fs::create_dir(&site).unwrap();
        assert_ne!(Record::of(&site, store).unwrap(), first);
        fs::remove_dir(&site).unwrap();
        std::os::unix::fs::symlink("aside", &site).unwrap();
        assert!(Record::of(&site, store).is_err(), "links are not followed");
        fs::remove_file(&site).unwrap();
        fs::rename(temp.path().join("aside"), &site).unwrap();
        assert_eq!(Record::of(&site, store).unwrap(), first);
    }
}
