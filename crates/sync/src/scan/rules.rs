//! What the client leaves out: ignore files and built-in excludes.
//!
//! The strongest rule that matches a path decides, and of one kind the one of the deepest directory:
//! `.legworkignore` first, then `.gitignore`, then the built-ins (`.git/`, `.hg/`, `.svn/`, and a
//! `target/` that carries the cache tag). A negated rule includes. What is in an excluded directory is
//! never looked at, so a rule cannot bring it back. Inside a git checkout the `.gitignore` files
//! above the mirrored directory count too, up to the checkout's top, and weaker than any of them
//! `.git/info/exclude` and then the user's own file, all as in git.
//!
//! A [`Choice`] of the caller's is stronger than all rules: patterns for what is to be taken although they leave it out. What is in
//! an excluded directory is then looked at as far as a pattern leads into it, and taken if one covers it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder, Glob};

use crate::path::to_path_buf;
use crate::pull::globs::Globs;
use crate::tree::read::read_small;
use crate::tree::{Dir, Name, Use};

const GIT: &[u8] = b".gitignore";
const OWN: &[u8] = b".legworkignore";
/// The file that marks a directory as a cache, and how it begins.
const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
/// Bytes of an ignore file that are read at most.
const MAX_RULES: usize = 16 << 20;

/// The rules of one file, in its order. A long file is in parts: what one matcher can hold has an end.
#[derive(Debug)]
struct File(Vec<Gitignore>);

impl File {
    /// Of `file` in the directory `dir`. A line that makes no sense is skipped.
    fn parse(dir: &Path, file: &Path, text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let lines: Vec<&str> = text.lines().collect();
        let mut parts = Vec::new();
        Self::add(dir, &dir.join(file), &lines, &mut parts);
        Self(parts)
    }

    /// Adds some lines. Those that are too much together are taken apart: without one of them something would travel that must not.
    fn add(dir: &Path, file: &Path, lines: &[&str], parts: &mut Vec<Gitignore>) {
        let mut builder = GitignoreBuilder::new(dir);
        for line in lines {
            let _ignored = builder.add_line(Some(file.to_owned()), line);
        }
        match builder.build() {
            Ok(part) if part.is_empty() => {}
            Ok(part) => parts.push(part),
            Err(_) if lines.len() > 1 => {
                let (first, rest) = lines.split_at(lines.len() / 2);
                Self::add(dir, file, first, parts);
                Self::add(dir, file, rest, parts);
            }
            Err(_) => {}
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What its last line that matches says.
    fn matched(&self, path: &Path, is_dir: bool) -> Match<&Glob> {
        let parts = self.0.iter().rev();
        let mut said = parts.map(|part| part.matched(path, is_dir));
        said.find(|said| !said.is_none()).unwrap_or(Match::None)
    }
}

/// What is taken whatever the rules say.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// `.git` and all that is in it.
    pub(crate) with_git: bool,
    /// What patterns cover.
    pub(crate) include: Option<Globs>,
}

impl Choice {
    /// Whether all at this path is taken.
    fn covers(&self, path: &[u8]) -> bool {
        let git = || path.split(|&byte| byte == b'/').any(|name| name == b".git");
        let include = self.include.as_ref();
        self.with_git && git() || include.is_some_and(|include| include.cover(path))
    }

    /// Whether something below this directory may be taken.
    fn leads_into(&self, path: &[u8]) -> bool {
        let include = self.include.as_ref();
        include.is_some_and(|include| !include.spare(path) && include.lead_into(path))
    }
}

/// Why something is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A line of an ignore file.
    Rule {
        /// As it is written.
        line: String,
        /// In which file: below the top of the checkout, or absolute.
        file: PathBuf,
    },
    /// It is a repository's own directory.
    Repository,
    /// It is a build's cache, and says so.
    BuildCache,
}

/// The rules in force in one directory: its own files' and those of all directories above.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// The way from the top of the checkout down to the mirrored directory. All matchers see paths
    /// from that top.
    prefix: PathBuf,
    /// `None` only where no rule is in force at all.
    above: Option<Arc<Self>>,
    own: Option<File>,
    git: Option<File>,
    /// Nothing is left out, here and below.
    off: bool,
    /// What is taken nevertheless.
    choice: Arc<Choice>,
    /// The directory itself is left out: only what is chosen is taken.
    gated: bool,
}

impl Rules {
    /// No rules at all, not even the built-in ones.
    pub(crate) fn none() -> Arc<Self> {
        Arc::new(Self {
            off: true,
            ..Self::default()
        })
    }

    /// The rules from above the mirrored directory `root`, weakest first; `users` is the file with the
    /// user's own, which like all others from above counts inside a git checkout.
    pub(crate) fn above(root: &Path, users: Option<&Path>) -> Arc<Self> {
        let Ok(root) = root.canonicalize() else {
            return Arc::default();
        };
        let is_top = |dir: &&Path| dir.join(".git").exists();
        let Some(top) = root.ancestors().find(is_top) else {
            return Arc::default();
        };
        let way = |dir: &Path| dir.strip_prefix(top).unwrap_or(Path::new("")).to_path_buf();
        let prefix = way(&root);
        let own = [
            users.map(Path::to_path_buf),
            Some(git_dir(top).join("info/exclude")),
        ];
        // As git does, links are followed to these files but not to those in the tree.
        let own = own
            .into_iter()
            .flatten()
            .filter_map(|file| file.canonicalize().ok());
        let mut files: Vec<(PathBuf, PathBuf)> = own.map(|file| (PathBuf::new(), file)).collect();
        let between: Vec<&Path> = root.ancestors().skip(1).collect();
        let between = between.into_iter().rev().filter(|dir| dir.starts_with(top));
        files.extend(between.map(|dir| (way(dir), dir.join(OsStr::from_bytes(GIT)))));
        let mut rules = Arc::new(Self {
            prefix: prefix.clone(),
            ..Self::default()
        });
        for (dir, file) in files {
            let git = read(&file).map(|text| File::parse(&dir, &file, &text));
            if let Some(git) = git.filter(|git| !git.is_empty()) {
                rules = Arc::new(Self {
                    prefix: prefix.clone(),
                    above: Some(rules),
                    git: Some(git),
                    ..Self::default()
                });
            }
        }
        rules
    }

    /// The same rules, and what is taken nevertheless.
    pub(crate) fn choosing(rules: &Arc<Self>, choice: Choice) -> Arc<Self> {
        Arc::new(Self {
            prefix: rules.prefix.clone(),
            above: Some(Arc::clone(rules)),
            off: rules.off,
            choice: Arc::new(choice),
            ..Self::default()
        })
    }

    /// The rules in the directory `dir` at `path`, whose listing is `names`.
    pub(crate) fn enter(above: &Arc<Self>, dir: &Dir, path: &[u8], names: &[Name]) -> Arc<Self> {
        if above.off {
            return Arc::clone(above);
        }
        let has = |wanted: &[u8]| names.iter().any(|entry| &*entry.name == wanted);
        let load = |name: &[u8]| {
            let text = has(name)
                .then(|| read_small(dir, name, MAX_RULES))
                .flatten()?;
            Some(File::parse(
                &above.prefix.join(to_path_buf(path)),
                &to_path_buf(name),
                &text,
            ))
        };
        let (own, git) = (load(OWN), load(GIT));
        let gated = above.gated || above.gates(dir, path);
        if own.is_none() && git.is_none() && gated == above.gated {
            return Arc::clone(above);
        }
        let prefix = above.prefix.clone();
        Arc::new(Self {
            prefix,
            above: Some(Arc::clone(above)),
            own,
            git,
            off: false,
            choice: Arc::clone(&above.choice),
            gated,
        })
    }

    /// Whether the entry `name` of the directory at `parent` is left out.
    pub(crate) fn excludes(&self, parent: &[u8], name: &[u8], is_dir: bool) -> bool {
        let excluded = self.gated || self.reason(parent, name, is_dir).is_some();
        excluded && !self.takes(parent, name, is_dir)
    }

    /// Why the rules leave out the entry `name` of the directory at `parent`; `None` if they do not, or only with the
    /// directory.
    pub(crate) fn reason(&self, parent: &[u8], name: &[u8], is_dir: bool) -> Option<Reason> {
        match self.verdict(parent, name, is_dir) {
            Some(Match::Ignore(rule)) => Some(Reason::Rule {
                line: rule.original().to_owned(),
                file: rule.from().map(Path::to_path_buf).unwrap_or_default(),
            }),
            Some(_) => None,
            None => {
                let repository = is_dir && matches!(name, b".git" | b".hg" | b".svn");
                (repository && !self.off).then_some(Reason::Repository)
            }
        }
    }

    /// Whether the entry is taken, or a directory entered, whatever the rules say.
    pub(crate) fn takes(&self, parent: &[u8], name: &[u8], is_dir: bool) -> bool {
        let choice = &self.choice;
        if !choice.with_git && choice.include.is_none() {
            return false;
        }
        let path = joined(parent, name);
        choice.covers(&path) || is_dir && choice.leads_into(&path)
    }

    /// Whether the directory at `path`, in which nobody would be without a choice, is left out by the rules.
    fn gates(&self, dir: &Dir, path: &[u8]) -> bool {
        if path.is_empty() || self.choice.include.is_none() && !self.choice.with_git {
            return false;
        }
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        let parent = path[..path.len() - name.len()]
            .strip_suffix(b"/")
            .unwrap_or_default();
        self.reason(parent, name, true).is_some() || self.is_cache(dir, parent, name)
    }

    /// Whether the directory `name` of `dir`, at `parent`, is a build cache to be left out.
    pub(crate) fn excludes_cache(&self, dir: &Dir, parent: &[u8], name: &[u8]) -> bool {
        self.cache(dir, parent, name).is_some() && !self.takes(parent, name, true)
    }

    /// As [`Rules::reason`], for a directory that may be a build cache.
    pub(crate) fn cache(&self, dir: &Dir, parent: &[u8], name: &[u8]) -> Option<Reason> {
        // Most are not called so, and need not be looked at.
        let inside = (name == b"target").then(|| dir.child(name, Use::Names).ok());
        let is_cache = |dir: Dir| self.is_cache(&dir, parent, name);
        inside
            .flatten()
            .is_some_and(is_cache)
            .then_some(Reason::BuildCache)
    }

    /// Whether the directory `dir`, which is `name` in that at `parent`, is one.
    fn is_cache(&self, dir: &Dir, parent: &[u8], name: &[u8]) -> bool {
        let tag = || read_small(dir, CACHE_TAG, 4096);
        name == b"target"
            && !self.off
            && !matches!(self.verdict(parent, name, true), Some(Match::Whitelist(_)))
            && tag().is_some_and(|tag| tag.starts_with(CACHE_SIGNATURE))
    }

    /// What the ignore files say; `None` if nothing.
    fn verdict(&self, parent: &[u8], name: &[u8], is_dir: bool) -> Option<Match<&Glob>> {
        self.above.as_ref()?;
        let mut path = self.prefix.join(to_path_buf(parent));
        path.push(OsStr::from_bytes(name));
        self.strongest(&path, is_dir, |rules| rules.own.as_ref())
            .or_else(|| self.strongest(&path, is_dir, |rules| rules.git.as_ref()))
    }

    fn strongest<'a>(
        &'a self,
        path: &Path,
        is_dir: bool,
        kind: impl Fn(&'a Self) -> Option<&'a File>,
    ) -> Option<Match<&'a Glob>> {
        let mut here = Some(self);
        while let Some(rules) = here {
            match kind(rules).map(|file| file.matched(path, is_dir)) {
                Some(Match::None) | None => here = rules.above.as_deref(),
                found => return found,
            }
        }
        None
    }
}

/// Where git keeps what belongs to the checkout at `top`. `.git` is a file in linked worktrees, which
/// share this with the main one, and in submodules.
fn git_dir(top: &Path) -> PathBuf {
    let dot_git = top.join(".git");
    let link = read(&dot_git).unwrap_or_default();
    let Some(linked) = link.strip_prefix(b"gitdir: ") else {
        return dot_git;
    };
    let linked = top.join(to_path_buf(linked.trim_ascii_end()));
    match read(&linked.join("commondir")) {
        Some(common) => linked.join(to_path_buf(common.trim_ascii_end())),
        None => linked,
    }
}

/// The content of an ignore file outside of the mirrored directory, if there is one.
fn read(path: &Path) -> Option<Vec<u8>> {
    let dir = Dir::open_root(path.parent()?).ok()?;
    read_small(&dir, path.file_name()?.as_bytes(), MAX_RULES)
}

fn joined(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        return name.to_vec();
    }
    [parent, name].join(&b'/')
}
