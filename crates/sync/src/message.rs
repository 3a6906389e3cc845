//! What the two sides of a commit, and of a pull, say to each other.
//!
//! Plain values without a transport: whoever carries them converts them one to one. Paths are bytes,
//! relative, `/`-separated, and *unchecked*: each side checks what it receives, here, once.
//!
//! # A commit
//!
//! ```text
//! client                                         server
//! Hello{base}                     ->             starts to look for drift
//! Delta* Data* End{root}          ->             (sent without waiting when the base is cached)
//!                                 <-             Welcome{root, base_known}
//!                                 <-             Manifest* (only when the base is not known)
//! Rebase, Delta* Data* End{root}  ->             (only then: everything before Rebase is void)
//!                                 <-             Need{paths}     (rare; drift, or a file that changed)
//! Delta* Data* End{root}          ->             (the answer to each Need)
//!                                 <-             Waiting{..}     (rare; a job holds the lease)
//!                                 <-             Committed | Planned | Refused   (always the last)
//! ```
//!
//! A client without a cached base sends only `Hello` and waits for `Welcome` and the `Manifest`.
//!
//! # File numbers
//!
//! Every [`Put`] of a regular file *with* `send` gets the next number of the session, counted by
//! both sides from 0 in the order in which such puts are sent, over all rounds; `Rebase` does not
//! reset the count. [`Piece::file`] is that number. A `Put` is sent before its data. A file's pieces
//! are in order and without gaps. A frame holds either whole files, any number, or one piece of one
//! file. An empty file has no piece.

use bytes::Bytes;

use crate::digest::Digest;

/// The newest protocol version that this build speaks.
pub const VERSION: u32 = 1;
/// Bytes of content in one [`Data`] frame at most; more is refused.
pub const MAX_FRAME: usize = 1 << 20;
/// Bytes of content at which a sender closes a frame.
pub const TARGET_FRAME: usize = 512 << 10;
/// Entries in one [`Delta`], [`ManifestPage`], [`Need`], [`Offer`] or [`Want`], and pieces in one
/// [`Data`], at most. Even with the longest paths and link targets a page is then below 4 MiB, which
/// transports commonly allow.
pub const MAX_PAGE: usize = 256;
/// Paths that a [`Listing`] names at most; the total is always exact.
pub const MAX_LISTED: usize = 1000;
/// Bytes of paths in one [`Listing`] at most.
pub const MAX_LISTED_BYTES: usize = 256 << 10;

/// From the client to the server, in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Up {
    /// Opens the session: the first message, exactly once.
    Hello(Hello),
    /// The client has taken the server's manifest as its base; all it sent before is void.
    Rebase,
    /// Changes against the base.
    Delta(Delta),
    /// Content of files.
    Data(Data),
    /// All of this round is sent.
    End(End),
}

/// From the server to the client, in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// The answer to `Hello`.
    Welcome(Welcome),
    /// One page of what the server tracks; follows `Welcome` when the base is not known.
    Manifest(ManifestPage),
    /// Content that the server lacks; the client answers with `Delta`, `Data`, `End`.
    Need(Need),
    /// The commit waits; nothing is asked of the client.
    Waiting(Waiting),
    /// The tree of `root` is in place. The last message.
    Committed(Summary),
    /// A dry run's answer: what a commit would do. The last message.
    Planned(Summary),
    /// No. The last message.
    Refused(Refusal),
}

/// The client's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// [`VERSION`] of the client.
    pub version: u32,
    /// The root that the client last saw committed; `None` when it remembers none.
    pub base: Option<Digest>,
    /// Decide and report, but send no data and change nothing.
    pub dry_run: bool,
    /// What to do with mirrored files that the client no longer has.
    pub delete: Delete,
    /// Delete even if the tree is empty or most of it would go.
    pub force_delete: bool,
    /// The client's clock, nanoseconds since the epoch; says how wrong its mtimes are.
    pub client_time_ns: i64,
    /// Look for drift only where this commit changes something: what jobs did elsewhere stays as it is
    /// until the next commit without this. For one that follows a save.
    pub touched_only: bool,
    /// Do not wait for jobs that run in the workspace: they see files change under them.
    pub live: bool,
    /// Who writes; a client that does not say may write as if nobody else did.
    pub writer: Option<Writer>,
}

/// One directory that is mirrored to a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// The same for each session of that directory, and another for any other.
    pub id: Digest,
    /// What to tell others who it is.
    pub name: String,
    /// It goes on writing, as it changes: others may not for a while.
    pub keeps: bool,
    /// Write even if another directory keeps the workspace, which ends that.
    pub takeover: bool,
    /// This is its last session for now: whoever comes next may write.
    pub leaves: bool,
}

/// What happens to mirrored files that the client no longer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delete {
    /// Those the mirror wrote, and nobody changed since, are deleted.
    #[default]
    Owned,
    /// All stay. The mirror remembers that it wrote them, and a later push with [`Delete::Owned`] deletes
    /// those that nobody changed until then. They are not listed as kept.
    Nothing,
}

/// One page of changes against the base. No path occurs twice in the pages of one round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// Entries that are new or different.
    pub puts: Vec<Put>,
    /// Paths of the base that are gone. A directory's entries are listed one by one.
    pub deletes: Vec<Vec<u8>>,
}

/// An entry that the client has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Where, below the root.
    pub path: Vec<u8>,
    /// What.
    pub node: Node,
    /// Modification time, nanoseconds since the epoch; not part of the root.
    pub mtime_ns: i64,
    /// For a regular file: its content follows, under the next file number. Without it the server
    /// has the content at this path already (only the exec bit differs), or asks with `Need`.
    pub send: bool,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Node {
    /// A directory.
    Dir,
    /// A regular file.
    File {
        /// Whether its owner may execute it.
        exec: bool,
        /// Length in bytes.
        size: u64,
        /// Hash of its content.
        hash: Digest,
    },
    /// A symbolic link, carried as data and never followed.
    Symlink {
        /// What it says, uninterpreted.
        target: Vec<u8>,
    },
}

/// Content of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Whose bytes these are, in the order in which they lie in `bytes`, without gaps.
    pub pieces: Vec<Piece>,
    /// The bytes, [`MAX_FRAME`] at most.
    pub bytes: Bytes,
}

/// A run of one file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The file's number; see the module.
    pub file: u32,
    /// Where in the file the run begins, in bytes.
    pub offset: u64,
    /// Its length in bytes, never 0.
    pub len: u32,
}

/// All of a round is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Root of the client's tree.
    pub root: Digest,
}

/// The server's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The version that is spoken from here on, at most the client's.
    pub version: u32,
    /// Root of what the server tracks; the client's base counts if it equals this.
    pub root: Digest,
    /// Number of commits so far; 0 for a new workspace.
    pub generation: u64,
    /// Whether the client's base is the server's. If not, the manifest follows.
    pub base_known: bool,
}

/// A part of what the server tracks, sorted over all pages (directories before their content).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestPage {
    /// Path and kind of each entry.
    pub entries: Vec<(Vec<u8>, Node)>,
    /// No page follows.
    pub last: bool,
}

/// Files whose content the server lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Paths of regular files of the client's tree.
    pub paths: Vec<Vec<u8>>,
    /// No `Need` follows in this round: now the client answers.
    pub last: bool,
}

/// Why a commit waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Another client is committing to the workspace.
    Writer,
    /// A running job holds the lease on the workspace, and this commit would change its files.
    Lease,
}

/// What a commit did, or in a dry run would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Root of the tree.
    pub root: Digest,
    /// Number of this commit; unchanged if nothing changed.
    pub generation: u64,
    /// Entries in the tree, directories included.
    pub entries: u64,
    /// Files, links and directories written or replaced.
    pub written: Listing,
    /// Bytes of the files written.
    pub written_bytes: u64,
    /// Files, links and directories deleted.
    pub deleted: Listing,
    /// Found different from what the mirror wrote, or in its way, and moved to the trash.
    pub displaced: Listing,
    /// No longer in the client's tree, but changed or filled by a job, and so left where they are.
    pub kept: Listing,
    /// Name of the trash directory with what was displaced, empty if nothing was.
    pub trash: String,
}

/// Paths, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// How many.
    pub total: u64,
    /// The first [`MAX_LISTED`] of them, or fewer if they are long.
    pub paths: Vec<Vec<u8>>,
}

/// Why the server said no. Nothing was changed unless it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The client's tree is empty and the server's is not: a lost mount, or the wrong directory.
    #[error("the directory is empty, and {tracked} mirrored files would be deleted")]
    EmptyRoot {
        /// Files in the workspace.
        tracked: u64,
    },
    /// More would be deleted than looks intended.
    #[error("{would_delete} of {tracked} mirrored files would be deleted (limit {limit})")]
    MassDelete {
        /// Files that would go.
        would_delete: u64,
        /// Files in the workspace.
        tracked: u64,
        /// How many may go without `force_delete`.
        limit: u64,
    },
    /// Another directory is being kept in step with this workspace.
    #[error("{} watches this mirror, and keeps it in step with its own files", name.escape_debug())]
    OtherWriter {
        /// Who that is, in its own words.
        name: String,
    },
    /// The server's disk or quota is full.
    #[error("no space left on the server")]
    NoSpace,
    /// Somebody decided how much may be there, and this would be more.
    #[error("{used} of {limit} bytes are taken, and this is more than what is left")]
    Full {
        /// Bytes that may be there.
        limit: u64,
        /// Bytes that are, without this commit.
        used: u64,
    },
    /// The client's version is not spoken.
    #[error("protocol version {client} is not spoken (newest: {newest})")]
    Version {
        /// The client's.
        client: u32,
        /// The server's newest.
        newest: u32,
    },
    /// A path that no honest client sends.
    #[error("refused path {}: {why}", String::from_utf8_lossy(path).escape_debug())]
    BadPath {
        /// The path.
        path: Vec<u8>,
        /// What is wrong with it.
        why: String,
    },
    /// The entries do not give the root that was claimed.
    #[error("the entries do not add up to the claimed root")]
    RootMismatch,
    /// A file's content kept differing from its hash, over several rounds.
    #[error("content of {} does not match its hash", String::from_utf8_lossy(path).escape_debug())]
    HashMismatch {
        /// The file.
        path: Vec<u8>,
    },
    /// More than this server takes.
    #[error("more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: String,
        /// How many at most.
        limit: u64,
    },
    /// Not a message that may come here.
    #[error("protocol error: {what}")]
    Protocol {
        /// What came.
        what: String,
    },
    /// The workspace was written by a newer version.
    #[error("{file} has format {found}, and this version knows {known}")]
    NewerFormat {
        /// Which file of the workspace.
        file: String,
        /// Its format.
        found: u32,
        /// The newest known format.
        known: u32,
    },
    /// An operation on the server's files failed. The commit is finished, or undone, next time.
    #[error("{what} {}: {error}", String::from_utf8_lossy(path).escape_debug())]
    Io {
        /// What was tried.
        what: String,
        /// On which path below the workspace.
        path: Vec<u8>,
        /// errno(3), or 0.
        errno: i32,
        /// In words.
        error: String,
    },
}

/// From the client to the server, in a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullUp {
    /// What is wanted: the first message, exactly once.
    Ask(Ask),
    /// Of what was offered, what to send.
    Want(Want),
}

/// From the server to the client, in a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullDown {
    /// What there is.
    Offer(Offer),
    /// Content of offered files that were wanted, numbered as they were offered.
    Data(Data),
    /// Files that were wanted, but vanished or changed since they were offered.
    Gone {
        /// Their numbers.
        files: Vec<u32>,
    },
    /// All that was wanted is sent. The last message.
    Done,
    /// No. The last message.
    Refused(Refusal),
}

/// What a pull wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// [`VERSION`] of the client.
    pub version: u32,
    /// Patterns over paths in the workspace; `*` does not match `/`, `**` does. A pattern that
    /// matches a directory takes all below it, but for a `.git`, `.hg` or `.svn` that no pattern names.
    pub globs: Vec<String>,
}

/// Files and links that match what was asked for, sorted over all pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The entries. Each, a link too, has the next number, counted over all pages from 0.
    pub entries: Vec<Put>,
    /// Paths that could not be read.
    pub unreadable: Vec<Vec<u8>>,
    /// No page follows.
    pub last: bool,
}

/// Which offered files to send. Links need no sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Numbers of regular files, ascending.
    pub files: Vec<u32>,
    /// No `Want` follows.
    pub last: bool,
}
