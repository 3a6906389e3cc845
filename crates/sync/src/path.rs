//! Checked paths below a tree's root.
//!
//! A [`TreePath`] is what an honest peer can mean: relative, at least one component, none of them
//! empty, `.` or `..`, no NUL, bounded in length and depth, and not in the mirror's own reserved
//! names. Everything that comes from a peer or from disk passes through [`TreePath::new`] once.
//!
//! Paths are ordered as a walk meets them, a directory directly before its content: byte by byte,
//! with the separator below every other byte.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// Bytes in a path at most, one less than the system's own limit with its final NUL.
pub const MAX_PATH: usize = 4095;
/// Bytes in one name at most.
pub const MAX_NAME: usize = 255;
/// Components in a path at most.
pub const MAX_DEPTH: usize = 256;
/// Names that begin so are the mirror's temporary files: never mirrored, never accepted.
pub const RESERVED: &[u8] = b".legwork-tmp.";

/// A path below a tree's root. Copies share its bytes, and those of one list may be one piece of memory: a tree is in several
/// lists at once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TreePath(Bytes);

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// No bytes, or two separators in a row, or one at an end.
    #[error("an empty name")]
    EmptyName,
    /// `.` or `..`.
    #[error("a name that is a dot or two")]
    Dots,
    /// A NUL byte.
    #[error("a NUL byte")]
    Nul,
    /// A name above [`MAX_NAME`].
    #[error("a name of more than 255 bytes")]
    LongName,
    /// More than [`MAX_PATH`] bytes.
    #[error("more than 4095 bytes")]
    LongPath,
    /// More than [`MAX_DEPTH`] components.
    #[error("more than 256 names deep")]
    Deep,
    /// A name that begins with [`RESERVED`].
    #[error("a reserved name")]
    Reserved,
}

/// Checks one name.
///
/// # Errors
/// [`BadPath`].
pub fn check_name(name: &[u8]) -> Result<(), BadPath> {
    match name {
        [] => Err(BadPath::EmptyName),
        b"." | b".." => Err(BadPath::Dots),
        _ if name.len() > MAX_NAME => Err(BadPath::LongName),
        _ if name.contains(&0) => Err(BadPath::Nul),
        _ if name.contains(&b'/') => Err(BadPath::EmptyName),
        _ if name.starts_with(RESERVED) => Err(BadPath::Reserved),
        _ => Ok(()),
    }
}

impl TreePath {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// [`BadPath`] says which rule they break.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, BadPath> {
        Self::part_of(bytes.into().into())
    }

    /// Checks bytes that may be shared.
    ///
    /// # Errors
    /// As [`TreePath::new`].
    pub(crate) fn part_of(bytes: Bytes) -> Result<Self, BadPath> {
        if bytes.len() > MAX_PATH {
            return Err(BadPath::LongPath);
        }
        let mut depth = 0;
        for name in bytes.split(|&byte| byte == b'/') {
            check_name(name)?;
            depth += 1;
        }
        if depth > MAX_DEPTH {
            return Err(BadPath::Deep);
        }
        Ok(Self(bytes))
    }

    /// The entry `name` in the directory `parent`, whose bytes may be empty for the root.
    ///
    /// # Errors
    /// [`BadPath`] if the name breaks a rule, or the whole becomes too long or deep.
    pub fn join(parent: &[u8], name: &[u8]) -> Result<Self, BadPath> {
        check_name(name)?;
        if parent.is_empty() {
            return Ok(Self(name.to_vec().into()));
        }
        let len = parent.len() + 1 + name.len();
        if len > MAX_PATH {
            return Err(BadPath::LongPath);
        }
        if parent.iter().filter(|&&byte| byte == b'/').count() + 2 > MAX_DEPTH {
            return Err(BadPath::Deep);
        }
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(parent);
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Ok(Self(bytes.into()))
    }

    /// Bytes that were checked as what they are part of.
    pub(crate) fn checked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory it is in (empty for the root) and its name there.
    #[must_use]
    pub fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (&[], &self.0),
        }
    }

    /// Its name in its directory.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.split().1
    }

    /// Whether this is strictly below the directory `dir`; everything is below the empty one.
    #[must_use]
    pub fn is_below(&self, dir: &[u8]) -> bool {
        is_below(&self.0, dir)
    }

    /// As a path of the operating system.
    #[must_use]
    pub fn to_path_buf(&self) -> PathBuf {
        to_path_buf(&self.0)
    }
}

/// Whether `path` is strictly below the directory `dir`; everything is below the empty one.
pub(crate) fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() && !path.is_empty()
        || path.len() > dir.len() && path[dir.len()] == b'/' && path.starts_with(dir)
}

/// Bytes as a path of the operating system.
pub(crate) fn to_path_buf(bytes: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(bytes)).to_path_buf()
}

/// How many bytes at their beginnings are the same.
pub(crate) fn common(a: &[u8], b: &[u8]) -> usize {
    let (wide, _) = a.as_chunks::<8>();
    let (other, _) = b.as_chunks::<8>();
    let mut words = wide.iter().zip(other);
    let same = words.by_ref().take_while(|(a, b)| a == b).count() * 8;
    let (a, b) = (&a[same..], &b[same..]);
    same + a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The order of [`TreePath`]s, for their bytes.
pub(crate) fn order(a: &[u8], b: &[u8]) -> Ordering {
    let common = common(a, b);
    match (a.get(common), b.get(common)) {
        (None, None) => Ordering::Equal,
        (None, _) => Ordering::Less,
        (_, None) => Ordering::Greater,
        (Some(b'/'), _) => Ordering::Less,
        (_, Some(b'/')) => Ordering::Greater,
        (Some(a), Some(b)) => a.cmp(b),
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.0, &other.0)
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Borrow<[u8]> for TreePath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", OsStr::from_bytes(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BadPath, TreePath};

    fn bad(bytes: &[u8]) -> BadPath {
        TreePath::new(bytes).unwrap_err()
    }

    #[test]
    fn what_no_honest_peer_sends_is_refused() {
        for empty in ["", "/", "/etc", "a/", "a//b"] {
            assert_eq!(bad(empty.as_bytes()), BadPath::EmptyName, "{empty:?}");
        }
        for dots in [".", "..", "a/../b", "./a", "a/."] {
            assert_eq!(bad(dots.as_bytes()), BadPath::Dots, "{dots:?}");
        }
        assert_eq!(bad(b"a/b\0c"), BadPath::Nul);
        assert_eq!(bad(&[b'a'; 256]), BadPath::LongName);
        assert_eq!(bad("a/".repeat(2048).as_bytes()), BadPath::LongPath);
        assert_eq!(
            bad(format!("{}a", "a/".repeat(256)).as_bytes()),
            BadPath::Deep
        );
        assert_eq!(bad(b"a/.legwork-tmp.1"), BadPath::Reserved);
        assert!(TreePath::new(*b"\xff\n/..x").is_ok());
    }

    #[test]
    fn a_directory_comes_directly_before_its_content() {
        let mut paths =
            ["a.b", "a/b", "a", "a/b/c", "a-b", "b"].map(|p| TreePath::new(p.as_bytes()).unwrap());
        paths.sort();
        let sorted: Vec<_> = paths.iter().map(TreePath::as_bytes).collect();
        assert_eq!(
            sorted,
            ["a", "a/b", "a/b/c", "a-b", "a.b", "b"].map(str::as_bytes)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_and_what_passes_joins_from_its_parts(bytes: Vec<u8>) {
            if let Ok(path) = TreePath::new(bytes) {
                let (parent, name) = path.split();
                prop_assert_eq!(TreePath::join(parent, name).unwrap(), path.clone());
                prop_assert!(path.is_below(parent));
                prop_assert!(!path.is_below(path.as_bytes()));
            }
        }

        #[test]
        fn what_is_common_ends_where_something_differs(a in "[ab]{0,30}", b in "[ab]{0,30}", same in 0_usize..30) {
            let same = same.min(a.len());
            let b = [&a[..same], &b].concat();
            let simple = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(super::common(a.as_bytes(), b.as_bytes()), simple);
        }

        #[test]
        fn the_order_is_that_of_components(a in "[a./-]{1,8}", b in "[a./-]{1,8}") {
            if let (Ok(a), Ok(b)) = (TreePath::new(a.as_bytes()), TreePath::new(b.as_bytes())) {
                let names = |p: &TreePath| -> Vec<Vec<u8>> {
                    p.as_bytes().split(|&c| c == b'/').map(<[u8]>::to_vec).collect()
                };
                prop_assert_eq!(a.cmp(&b), names(&a).cmp(&names(&b)));
            }
        }
    }
}
