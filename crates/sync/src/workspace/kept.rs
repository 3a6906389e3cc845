//! What a session brought that was cut off, kept for the next: `staging/cut/<hash>`, and `<hash>.part` for the beginning of a
//! large file.
//!
//! What a name says is what the content should be. It is verified when it is taken, so it does not matter who wrote there meanwhile, or
//! what an unclean boot left of it. All of it goes with the next commit, or after a day.

use std::collections::HashMap;
use std::mem::MaybeUninit;

use rustix::io::{Errno, Result};

use crate::commit::StagedFiles;
use crate::digest::Digest;
use crate::receive::Held;
use crate::tree::{Dir, Parents, Use};

/// The directory in `staging`.
pub(crate) const CUT: &[u8] = b"cut";
/// What the name of a beginning ends in.
const PART: &[u8] = b".part";
/// How long nobody may come for it, in nanoseconds.
const PATIENCE_NS: i64 = 24 * 3600 * 1_000_000_000;

/// One content that is kept, or the beginning of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    /// Bytes that are here.
    pub(crate) len: u64,
    pub(crate) whole: bool,
}

/// What is kept of a workspace.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) dir: Dir,
    pub(crate) contents: HashMap<Digest, Content>,
}

impl Kept {
    /// Looks what is kept, and removes what has been there for too long; `now_ns` since the epoch.
    pub(crate) fn open(staging: &Dir, now_ns: i64) -> Result<Self> {
        match staging.make_dir(CUT) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let dir = staging.child(CUT, Use::List)?;
        let names = dir.names(&mut vec![MaybeUninit::uninit(); 32 << 10])?;
        let mut contents = HashMap::new();
        for name in names {
            let name = &name.name;
            let look = dir.look(name)?;
            let young = look.filter(|look| look.ctime_ns.saturating_add(PATIENCE_NS) > now_ns);
            let (Some(look), Some((hash, whole))) = (young, parse(name)) else {
                dir.remove_all(name)?;
                continue;
            };
            let len = look.size;
            // Where there are both, the whole one counts.
            let other = contents.insert(hash, Content { len, whole });
            if let Some(other @ Content { whole: true, .. }) = other {
                contents.insert(hash, other);
            }
        }
        Ok(Self { dir, contents })
    }

    /// Looks what is kept, however long it has been.
    pub(crate) fn look(staging: &Dir) -> Result<Self> {
        match staging.look(CUT)? {
            Some(_) => Self::open(staging, i64::MIN),
            None => Self::nothing(staging),
        }
    }

    /// As if nothing was kept.
    pub(crate) fn nothing(staging: &Dir) -> Result<Self> {
        Ok(Self {
            dir: staging.child(b".", Use::Names)?,
            contents: HashMap::new(),
        })
    }

    /// How much it is.
    pub(crate) fn held(&self) -> Held {
        let each = self.contents.values().map(|content| content.len);
        Held {
            bytes: each.fold(0, u64::saturating_add),
            entries: self.contents.len() as u64,
        }
    }

    /// Keeps what is staged in `staging`.
    pub(crate) fn keep(&self, staging: &Dir, staged: &StagedFiles) -> Result<()> {
        let mut parents = Parents::of(staging);
        for (path, file) in staged {
            let (parent, name) = path.split();
            parents
                .get(parent)?
                .move_over(name, &self.dir, &whole(&file.hash))?;
        }
        Ok(())
    }
}

/// Under which name a content is kept.
pub(crate) fn whole(hash: &Digest) -> Vec<u8> {
    hash.to_string().into_bytes()
}

/// Under which name the beginning of a content is.
pub(crate) fn part(hash: &Digest) -> Vec<u8> {
    [&whole(hash), PART].concat()
}

/// What a name says: the content, and whether all of it is there.
fn parse(name: &[u8]) -> Option<(Digest, bool)> {
    let (hex, is_whole) = match name.strip_suffix(PART) {
        Some(hex) => (hex, false),
        None => (name, true),
    };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok();
    let (pairs, rest) = hex.as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs.iter().map(|pair| byte(pair)).collect();
    let hash = Digest::from_slice(&bytes?).filter(|_| rest.is_empty())?;
    Some((hash, is_whole))
}

#[cfg(test)]
mod tests {
    use super::{Content, Held, Kept, PATIENCE_NS, parse, part, whole};
    use crate::digest::Digest;
    use crate::tree::{Dir, read};

    #[test]
    fn a_name_says_what_it_is() {
        let hash = Digest::of(b"content");
        assert_eq!(parse(&whole(&hash)), Some((hash, true)));
        assert_eq!(parse(&part(&hash)), Some((hash, false)));
        for other in [
            &b""[..],
            b".part",
            b"af1349",
            b"new",
            &[b'g'; 64],
            &[b'a'; 65],
            &[b'a'; 66],
        ] {
            assert_eq!(parse(other), None);
        }
    }

    #[test]
    fn what_is_too_old_or_none_of_it_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let staging = Dir::open_root(temp.path()).unwrap();
        let cut = temp.path().join("cut");
        std::fs::create_dir(&cut).unwrap();
        let [a, b] = [1, 2].map(|byte| Digest([byte; 32]));
        let name = |name: Vec<u8>| cut.join(String::from_utf8(name).unwrap());
        std::fs::write(name(whole(&a)), "12345").unwrap();
        std::fs::write(name(part(&a)), "1").unwrap();
        std::fs::write(name(part(&b)), "123").unwrap();
        std::fs::create_dir_all(cut.join("a job's/directory")).unwrap();
        let now = read::look(std::fs::File::open(name(part(&b))).unwrap())
            .unwrap()
            .ctime_ns;
        let kept = Kept::open(&staging, now).unwrap();
        let content = |len, whole| Content { len, whole };
        assert_eq!(kept.contents.len(), 2);
        assert_eq!(
            (kept.contents[&a], kept.contents[&b]),
            (content(5, true), content(3, false))
        );
        let (bytes, entries) = (8, 2);
        assert_eq!(kept.held(), Held { bytes, entries });
        assert!(!cut.join("a job's").exists());
        let kept = Kept::open(&staging, now + PATIENCE_NS).unwrap();
        assert!(kept.contents.is_empty() && std::fs::read_dir(&cut).unwrap().next().is_none());
    }
}
