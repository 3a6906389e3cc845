//! The parts of a client's tree that it could not read: nothing at or below them is taken away.

use crate::message::{MAX_LISTED, MAX_LISTED_BYTES};
use crate::path::{TreePath, order};

/// Paths that could not be read. What the client has there is not known, so nothing there counts as gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unread {
    /// The root itself: nothing at all is known to be gone.
    root: bool,
    /// Sorted; empty if `root`.
    paths: Vec<TreePath>,
}

impl Unread {
    /// The client could read everything.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Of `paths`, where the empty one is the root. One that is no path that can be mirrored stands for the nearest
    /// above it that is; more than a message holds stand for the root.
    #[must_use]
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut unread = Self::default();
        let mut bytes = 0;
        for path in paths {
            let Some(path) = nearest(path) else {
                return Self::everything();
            };
            bytes += path.as_bytes().len();
            unread.paths.push(path);
        }
        if unread.paths.len() > MAX_LISTED || bytes > MAX_LISTED_BYTES {
            return Self::everything();
        }
        unread.paths.sort();
        unread.paths.dedup();
        unread
    }

    fn everything() -> Self {
        Self {
            root: true,
            paths: Vec::new(),
        }
    }

    /// As [`Unread::of`] takes them.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        let root = self.root.then_some(&b""[..]);
        root.into_iter()
            .chain(self.paths.iter().map(TreePath::as_bytes))
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.root && self.paths.is_empty()
    }

    /// Whether something at, below or above `path` was not read, so that it is not to be taken away.
    #[must_use]
    pub fn touches(&self, path: &TreePath) -> bool {
        if self.root {
            return true;
        }
        // What is below a path comes directly after it.
        let at = self.paths.partition_point(|unread| unread < path);
        let below = |unread: &TreePath| unread == path || unread.is_below(path.as_bytes());
        if self.paths.get(at).is_some_and(below) {
            return true;
        }
        let is_unread = |dir: &[u8]| {
            let found = self
                .paths
                .binary_search_by(|unread| order(unread.as_bytes(), dir));
            found.is_ok()
        };
        let bytes = path.as_bytes();
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        ends.into_iter().any(|(end, _)| is_unread(&bytes[..end]))
    }
}

/// The path itself, or the nearest above it that can be mirrored; `None` for the root.
fn nearest(mut path: &[u8]) -> Option<TreePath> {
    loop {
        if path.is_empty() {
            return None;
        }
        if let Ok(path) = TreePath::new(path) {
            return Some(path);
        }
        let end = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        path = &path[..end];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Unread;
    use crate::path::TreePath;

    fn touches(unread: &[&str], path: &str) -> bool {
        let unread = Unread::of(unread.iter().map(|path| path.as_bytes()));
        unread.touches(&TreePath::new(path.as_bytes()).unwrap())
    }

    #[test]
    fn at_below_and_above_but_not_beside() {
        for path in ["a/b", "a/b/c", "a"] {
            assert!(touches(&["x", "a/b"], path), "{path}");
        }
        for path in ["a/bc", "a/a", "b", "ab"] {
            assert!(!touches(&["x", "a/b"], path), "{path}");
        }
        assert!(!touches(&[], "a"));
        assert!(touches(&[""], "a"));
    }

    proptest! {
        #[test]
        fn it_is_found_as_if_each_was_looked_at(
            unread in prop::collection::vec("[ab](/[ab.]x?){0,3}", 0..5), path in "[ab](/[ab.]x?){0,3}",
        ) {
            let good = |text: &String| TreePath::new(text.as_bytes()).is_ok();
            prop_assume!(unread.iter().all(good) && good(&path));
            let here = TreePath::new(path.as_bytes()).unwrap();
            let meets = |text: &String| {
                let there = TreePath::new(text.as_bytes()).unwrap();
                there == here
                    || there.is_below(here.as_bytes())
                    || here.is_below(there.as_bytes())
            };
            let found = Unread::of(unread.iter().map(String::as_bytes)).touches(&here);
            prop_assert_eq!(found, unread.iter().any(meets));
        }
    }

    #[test]
    fn what_cannot_be_named_stands_for_what_is_above_it() {
        let long = format!("a/{}/c", "x".repeat(300));
        assert!(touches(&[&long], "a/z"));
        assert!(!touches(&[&long], "b"));
        assert!(touches(&[&"x".repeat(300)], "b"));
        let many: Vec<String> = (0..2000).map(|number| format!("d{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(touches(&many, "elsewhere"));
        assert!(!touches(&many[..100], "elsewhere"));
    }

    #[test]
    fn it_comes_back() {
        for paths in [&[][..], &[&b"a"[..], b"b/c"], &[b""]] {
            let unread = Unread::of(paths.iter().copied());
            assert_eq!(Unread::of(unread.paths()), unread);
            assert_eq!(unread.is_empty(), paths.is_empty());
        }
    }
}
