//! The client's side of a push.
//!
//! The `pusher` scans against its `cache` of the last commit while `send` puts differing entries and
//! their content on the link, without waiting for an answer; it ends with the root of what it saw.
//! Files that changed in between are read again, for a few rounds.

mod base;
mod blocks;
pub(crate) mod cache;
mod chunks;
pub(crate) mod fine;
mod inside;
mod large;
pub(crate) mod library;
mod outbox;
pub(crate) mod past;
mod planned;
mod pusher;
mod seen;
mod send;
mod told;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use ignore::gitignore::gitconfig_excludes_path;

pub use self::blocks::{BadBlocks, Blocks};
pub(crate) use self::inside::inside;
use self::outbox::Outbox;
use self::past::Past;
use self::pusher::Pusher;
pub(crate) use self::pusher::protect;
use crate::digest::Digest;
use crate::error::PushError;
use crate::link::throttle::{Throttled, Wall};
use crate::link::{Link, Receiving, Sending};
use crate::manifest::Entry;
use crate::manifest::branches::Branches;
use crate::message::{Delete, Down, Hello, Summary, Up, VERSION, Writer};
use crate::observer::Observer;
pub use crate::pack::Compress;
use crate::path::TreePath;
use crate::pull::globs::Globs;
use crate::scan::rules::{Choice, Rules};
use crate::scan::{Keeper, Scanned};
use crate::tree::Dir;

/// How to push.
#[derive(Debug, Clone)]
pub struct Options {
    /// Decide and report, but change nothing.
    pub dry_run: bool,
    /// What happens to mirrored files that are gone here.
    pub delete: Delete,
    /// Delete even if the directory is empty, or most of the mirror would go.
    pub force_delete: bool,
    /// Do not wait for jobs that run in the workspace: they see files change.
    pub live: bool,
    /// Who this is to others that write to the same workspace.
    pub writer: Option<Writer>,
    /// The clock at the start: files changed within the 2 s before it are read again next time.
    pub now: SystemTime,
    /// Threads that walk, read and hash; 1 to 16.
    pub threads: usize,
    /// The user's own ignore file, for what lies in a git checkout; may be missing.
    pub git_ignores: Option<PathBuf>,
    /// Directories that are left out wherever they lie inside the root, whatever the ignore files say:
    /// for one the caller's own state. They need not be there. A relative path begins at the root; one
    /// that goes through links means where it leads, and a link that it ends in as well.
    pub exclude: Vec<PathBuf>,
    /// Whether content is compressed on its way.
    pub compress: Compress,
    /// Take `.git` too.
    pub with_git: bool,
    /// Patterns for what is taken although the ignore files leave it out, as those of a pull: `*` does not match `/`,
    /// `**` does; one that matches a directory takes all below it.
    pub include: Vec<String>,
    /// How large the pieces are in which content travels.
    pub blocks: Blocks,
    /// How many paths of each kind a summary names at most, which travel; 0 for as many as it may. A dry run names all.
    pub named: u32,
    /// The link is slow: a byte that need not travel is worth looking for, also in small files.
    pub slow: bool,
    /// Bytes per second that are sent at most; `None` for as many as the link takes.
    pub bwlimit: Option<NonZeroU64>,
}

impl Options {
    /// The usual options at the time `now`. The user's ignore file is the one that git's configuration
    /// or environment names, as `core.excludesFile` or by default.
    #[must_use]
    pub fn at(now: SystemTime) -> Self {
        Self {
            dry_run: false,
            delete: Delete::Owned,
            force_delete: false,
            live: false,
            writer: None,
            now,
            threads: 2,
            git_ignores: gitconfig_excludes_path(),
            exclude: Vec::new(),
            compress: Compress::Auto,
            with_git: false,
            include: Vec::new(),
            blocks: Blocks::default(),
            named: 0,
            slow: false,
            bwlimit: None,
        }
    }
}

/// What a push came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// What the server did or, in a dry run, would do.
    pub summary: Summary,
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// Files whose content was sent.
    pub sent_files: u64,
    /// Bytes of content sent.
    pub sent_bytes: u64,
    /// Bytes of that as they were sent: fewer, if they were compressed.
    pub wire_bytes: u64,
    /// Files that are new or changed and were not sent: the server had their content in others.
    pub reused_files: u64,
    /// Bytes of content that the server had in other files, among them parts of large files that were sent otherwise.
    pub reused_bytes: u64,
    /// Sockets, pipes and devices that were left out.
    pub special: u64,
    /// What could not be read. Nothing at or below these paths was changed in the workspace.
    pub unreadable: Vec<Unreadable>,
}

/// A path that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Below the root; empty for the root itself.
    pub path: PathBuf,
    /// Why, in words.
    pub why: String,
}

/// Mirrors `root` over `link`, and returns when its tree is committed.
///
/// `cache` is a file that remembers the last commit to this workspace and what the files looked like
/// then, so that unchanged ones are neither read nor sent; one file for each pair of server and
/// workspace. Losing it costs one longer exchange.
///
/// # Errors
/// See [`PushError`]; the workspace is then as it was, unless the link broke at the very end.
pub fn push<S, R>(
    root: &Path,
    options: &Options,
    cache: &Path,
    link: Link<S, R>,
    observer: &dyn Observer,
) -> Result<Pushed, PushError>
where
    S: Sending<Up>,
    R: Receiving<Down>,
{
    push_keeping(root, options, cache, link, (observer, None))
}

/// As [`push`]; the keeper hears of the directories that the scan keeps.
pub(crate) fn push_keeping<S, R>(
    root: &Path,
    options: &Options,
    cache: &Path,
    link: Link<S, R>,
    (observer, keeper): (&dyn Observer, Option<&dyn Keeper>),
) -> Result<Pushed, PushError>
where
    S: Sending<Up>,
    R: Receiving<Down>,
{
    let known = cache::open(cache)?;
    let hello = hello(options, known.as_ref().map(|known| known.root));
    let past = known.as_ref().map(|known| known.past.clone());
    let way = Way {
        dir: opened(root)?,
        rules: rules(root, options)?,
        excluded: inside(root, &options.exclude),
        options,
        cache,
        peer: known.as_ref().map_or(0, |known| known.peer),
        past: &past.unwrap_or_default(),
        keeper,
    };
    let talk = |pusher: &Pusher<'_>| pusher.run(known, cache);
    session(way, hello, link, observer, talk)
}

/// Mirrors what `unsent` names over `link`, without a look at anything else in the tree: of all else `tree` says how it
/// is, and was when the tree `base` was committed. Afterwards `tree` is what is committed.
///
/// # Errors
/// As [`push`]; then `unsent` is still to be sent.
pub(crate) fn update<S, R>(
    root: &Path,
    (options, cache): (&Options, &Path),
    link: Link<S, R>,
    observer: &dyn Observer,
    state: Unsent<'_>,
) -> Result<Pushed, PushError>
where
    S: Sending<Up>,
    R: Receiving<Down>,
{
    let hello = Hello {
        touched_only: true,
        ..hello(options, state.base)
    };
    let way = Way {
        dir: opened(root)?,
        // Nothing is looked for: what is to be sent is known.
        rules: Rules::none(),
        excluded: Vec::new(),
        options,
        cache,
        peer: state.peer,
        past: state.past,
        keeper: None,
    };
    session(way, hello, link, observer, |pusher| {
        pusher.update(state.tree, state.paths)
    })
}

/// What is to be mirrored of a tree that is known.
pub(crate) struct Unsent<'a> {
    /// The root that was committed last.
    pub(crate) base: Option<Digest>,
    /// The tree as it is, and what was hashed of it.
    pub(crate) tree: (&'a mut Scanned, &'a mut Branches),
    /// Where it differs from what was committed, and what that is.
    pub(crate) paths: &'a BTreeMap<TreePath, Option<Entry>>,
    /// The version that the server speaks; 0 if that is not known.
    pub(crate) peer: u32,
    /// What it may have kept of earlier trees.
    pub(crate) past: &'a Past,
}

/// From what, and how, a session mirrors.
struct Way<'a> {
    dir: Dir,
    rules: Arc<Rules>,
    excluded: Vec<TreePath>,
    options: &'a Options,
    cache: &'a Path,
    peer: u32,
    past: &'a Past,
    keeper: Option<&'a dyn Keeper>,
}

fn opened(root: &Path) -> Result<Dir, PushError> {
    Dir::open_root(root).map_err(|errno| PushError::Root {
        path: root.to_owned(),
        source: errno.into(),
    })
}

fn session<S, R>(
    way: Way<'_>,
    hello: Hello,
    link: Link<S, R>,
    observer: &dyn Observer,
    talk: impl FnOnce(&Pusher<'_>) -> Result<Pushed, PushError>,
) -> Result<Pushed, PushError>
where
    S: Sending<Up>,
    R: Receiving<Down>,
{
    let Link {
        sender,
        mut receiver,
    } = link;
    let mut sender = Throttled::new(sender, way.options.bwlimit, Wall::watched_by(observer));
    let mark = beside(way.cache, "cut");
    let outbox = Outbox::new(&mut sender, way.options, (way.peer, &mark), observer);
    let outbox = outbox.with_past(way.past);
    outbox.send(Up::Hello(hello))?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (forward, inbox) = crossbeam_channel::bounded(INBOX);
        let (outbox, over) = (&outbox, &over);
        scope.spawn(move || listen(&mut receiver, outbox, over, &forward));
        let pusher = Pusher {
            dir: way.dir,
            rules: way.rules,
            excluded: way.excluded,
            options: way.options,
            outbox,
            observer,
            inbox,
            memory: beside(way.cache, &way.options.blocks.memory()),
            fine: beside(way.cache, "fine"),
            mark: mark.clone(),
            past: way.past,
            keeper: way.keeper,
            welcomed: Cell::new(false),
        };
        let mut pushed = talk(&pusher);
        if matches!(pushed, Err(PushError::Closed(_))) {
            pushed = Err(pusher.why_closed());
        }
        if pushed.is_err() && outbox.peer.load(Ordering::Relaxed) < way.peer {
            // It may have been told what it does not know any more. What else went wrong shows again.
            cache::forget_peer(way.cache)?;
            pushed = Err(PushError::Older);
        }
        over.store(true, Ordering::Relaxed);
        pushed
    })
}

/// What is left out of `root`, and what is not.
pub(crate) fn rules(root: &Path, options: &Options) -> Result<Arc<Rules>, PushError> {
    let rules = Rules::above(root, options.git_ignores.as_deref());
    let include = (!options.include.is_empty()).then(|| Globs::new(&options.include));
    let include = include
        .transpose()
        .map_err(|error| PushError::BadInclude(error.to_string()))?;
    let with_git = options.with_git;
    if include.is_none() && !with_git {
        return Ok(rules);
    }
    Ok(Rules::choosing(&rules, Choice { with_git, include }))
}

/// Messages of the server that may wait for the scan to end.
const INBOX: usize = 1024;
/// How soon a cancelled or failed push ends.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// A file of this kind that belongs to a cache.
fn beside(cache: &Path, kind: &str) -> PathBuf {
    let mut name = cache.as_os_str().to_owned();
    name.push(".");
    name.push(kind);
    name.into()
}

fn hello(options: &Options, base: Option<Digest>) -> Hello {
    Hello {
        version: VERSION,
        base,
        dry_run: options.dry_run,
        delete: options.delete,
        force_delete: options.force_delete,
        client_time_ns: since_epoch(options.now),
        list_all: options.dry_run,
        touched_only: false,
        named: options.named,
        live: options.live,
        writer: options.writer.clone(),
    }
}

/// Nanoseconds since the epoch, as far as they can be told.
pub(crate) fn since_epoch(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

/// Takes messages off the link while the scan is busy, up to the last one.
fn listen(
    receiver: &mut dyn Receiving<Down>,
    outbox: &Outbox<'_>,
    over: &AtomicBool,
    forward: &crossbeam_channel::Sender<Down>,
) {
    while !over.load(Ordering::Relaxed) {
        let Ok(message) = receiver.receive(TICK) else {
            return;
        };
        let Some(message) = message else { continue };
        if let Down::Welcome(welcome) = &message {
            // One that nobody speaks is refused, and not taken for an older server's.
            if (1..=VERSION).contains(&welcome.version) {
                outbox.welcomed(welcome.version);
            }
            if !welcome.base_known {
                outbox.void.store(true, Ordering::Relaxed);
            }
        }
        if let Down::Held(page) = &message {
            outbox.hold(page);
        }
        let last = matches!(
            message,
            Down::Committed(_) | Down::Planned(_) | Down::Refused(_)
        );
        if forward.send(message).is_err() || last {
            return;
        }
    }
}
