//! The patterns of a pull, as both sides understand them.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::PullError;
use crate::path::is_below;

/// Patterns that one pull may name.
const MAX_GLOBS: usize = 256;
/// Bytes in one pattern.
const MAX_GLOB: usize = 4096;
/// Bytes in all of them: a server compiles what a client made up, and a mebibyte of stars takes seconds.
const MAX_GLOBS_BYTES: usize = 64 << 10;

/// Directories whose content runs as the user's own, such as hooks. A job must not get any there by a
/// pattern that happens to match.
const REPOSITORIES: [&[u8]; 3] = [b".git", b".hg", b".svn"];

/// Compiled patterns.
#[derive(Debug)]
pub(crate) struct Globs {
    set: GlobSet,
    /// Those of the repositories' names that a pattern spells out.
    named: Vec<&'static [u8]>,
    /// The directories that each pattern begins with, up to its first wildcard.
    fixed: Vec<Vec<u8>>,
}

impl Globs {
    pub(crate) fn new(globs: &[String]) -> Result<Self, PullError> {
        let (mut set, mut fixed, mut named) = (GlobSetBuilder::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        for glob in globs {
            let bad = |why: String| PullError::BadGlob {
                glob: glob.clone(),
                why,
            };
            let pattern = glob.trim_start_matches("./").trim_end_matches('/');
            if pattern.is_empty() || glob.len() > MAX_GLOB || globs.len() > MAX_GLOBS {
                return Err(bad("empty, too long, or one too many".to_owned()));
            }
            bytes += glob.len();
            if bytes > MAX_GLOBS_BYTES {
                return Err(bad("with those before it, more than 64 KiB".to_owned()));
            }
            if pattern.starts_with('/') || pattern.split('/').any(|name| name == "..") {
                return Err(bad("leads out of the workspace".to_owned()));
            }
            let compiled = GlobBuilder::new(pattern)
                .literal_separator(true)
                .backslash_escape(true)
                .build();
            set.add(compiled.map_err(|error| bad(error.to_string()))?);
            fixed.push(fixed_part(pattern));
            named.extend(repositories(pattern.as_bytes()));
        }
        let set = set.build().map_err(|error| PullError::BadGlob {
            glob: String::new(),
            why: error.to_string(),
        })?;
        Ok(Self { set, named, fixed })
    }

    /// Whether a pattern matches exactly this path.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        self.set
            .is_match(Path::new(std::ffi::OsStr::from_bytes(path)))
    }

    /// Whether this path is out of reach of all patterns: in a repository that none of them names.
    pub(crate) fn spare(&self, path: &[u8]) -> bool {
        repositories(path).any(|name| !self.named.contains(&name))
    }

    /// Whether a pattern matches this path or a directory above it.
    pub(crate) fn cover(&self, path: &[u8]) -> bool {
        if self.spare(path) {
            return false;
        }
        let above = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| &path[..at]);
        self.matches(path) || above.into_iter().any(|dir| self.matches(dir))
    }

    /// Whether something in the directory at `path` may match.
    pub(crate) fn lead_into(&self, path: &[u8]) -> bool {
        let leads =
            |fixed: &Vec<u8>| fixed == path || is_below(path, fixed) || is_below(fixed, path);
        self.fixed.iter().any(leads)
    }
}

/// The names of repositories in a path or pattern. Some clients' file systems ignore case.
fn repositories(path: &[u8]) -> impl Iterator<Item = &'static [u8]> {
    path.split(|&byte| byte == b'/').filter_map(|name| {
        let is = |known: &&[u8]| known.eq_ignore_ascii_case(name);
        REPOSITORIES.into_iter().find(is)
    })
}

fn fixed_part(pattern: &str) -> Vec<u8> {
    let wild = |name: &&str| !name.contains(['*', '?', '[', '{', '\\']);
    let names: Vec<&str> = pattern.split('/').take_while(wild).collect();
    names.join("/").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::Globs;

    #[test]
    fn stars_stop_at_slashes_and_directories_take_all_below() {
        let globs =
            Globs::new(&["dist/".to_owned(), "*.log".to_owned(), "a/**/z".to_owned()]).unwrap();
        for taken in ["dist", "dist/x/y", "x.log", "a/z", "a/b/c/z", "a/b/z/below"] {
            assert!(globs.cover(taken.as_bytes()), "{taken}");
        }
        for left in ["x/y.log", "distance", "a/b"] {
            assert!(!globs.cover(left.as_bytes()), "{left}");
        }
        let globs = Globs::new(&["a/b/*.o".to_owned()]).unwrap();
        assert!(globs.lead_into(b"a") && globs.lead_into(b"a/b") && globs.lead_into(b"a/b/c"));
        assert!(!globs.lead_into(b"b") && !globs.lead_into(b"ab"));
    }

    #[test]
    fn a_repository_is_taken_only_by_name() {
        let globs = Globs::new(&["**".to_owned(), "sub/*".to_owned()]).unwrap();
        for left in [".git/hooks/pre-commit", "a/.GIT/config", ".hg", "sub/.svn"] {
            assert!(!globs.cover(left.as_bytes()), "{left}");
        }
        assert!(globs.cover(b".gitignore") && globs.cover(b"a.git/x"));
        let globs = Globs::new(&[".git/**".to_owned(), "**".to_owned()]).unwrap();
        assert!(globs.cover(b".git/config") && !globs.cover(b".hg/x"));
    }

    #[test]
    fn what_leads_out_is_refused() {
        for bad in ["", "/etc/*", "../x", "a/../../b", "a[", "/"] {
            assert!(Globs::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_are_bounded_together() {
        let globs = |number: usize| -> Vec<_> { (0..number).map(|_| "*a".repeat(2048)).collect() };
        assert!(Globs::new(&globs(16)).is_ok());
        let refused = Globs::new(&globs(17)).unwrap_err().to_string();
        assert!(refused.contains("64 KiB"), "{refused}");
    }
}
