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
//! Delta* Data* Reuse* End{root}   ->             (sent without waiting when the base is cached)
//!                                 <-             Welcome{root, base_known}
//!                                 <-             Held*     (only after a session that was cut off)
//!                                 <-             Manifest* (only when the base is not known)
//! Rebase, Delta* Data* End{root}  ->             (only then: everything before Rebase is void)
//!                                 <-             Need{paths}     (rare; drift, or a file that changed)
//! Delta* Data* End{root}          ->             (the answer to each Need)
//!                                 <-             Waiting{..}     (rare; a job holds the lease)
//!                                 <-             Plan*           (only in a dry run that asks for it)
//!                                 <-             Committed | Planned | Refused   (always the last)
//! ```
//!
//! A client without a cached base sends only `Hello` and waits for `Welcome` and the `Manifest`. So does one whose last session was
//! cut off in the midst of content, for `Held`: what of that is here by now need not be sent again.
//!
//! # File numbers
//!
//! Every [`Put`] of a regular file *with* `send` gets the next number of the session, counted by
//! both sides from 0 in the order in which such puts are sent, over all rounds; `Rebase` does not
//! reset the count. [`Piece::file`] is that number. A `Put` is sent before its data. A file's pieces
//! are in order and without gaps, and so are they together with the ranges that say what of it the server has. A frame
//! holds either whole files, any number, or one piece of one file. An empty file has no piece.
//!
//! # What is not sent
//!
//! A `Put` of a file without `send` says that the server has the content: at the same path, at another one, or by another `Put`
//! of the session. A server that does not asks for it with `Need`. So a client may guess.

mod refusal;

use bytes::Bytes;

pub use self::refusal::Refusal;
use crate::digest::Digest;
use crate::pack::Compress;

/// The newest protocol version that this build speaks. What version 2 added: [`Up::Reuse`],
/// [`Packing::Zstd`] and [`Down::Held`].
pub const VERSION: u32 = 2;
/// Bytes of content in one [`Data`] frame at most; more is refused.
pub const MAX_FRAME: usize = 1 << 20;
/// Bytes of content at which a sender closes a frame.
pub const TARGET_FRAME: usize = 512 << 10;
/// Entries in one [`Delta`], [`ManifestPage`], [`PlanPage`], [`Need`], [`Offer`] or [`Want`], and pieces in one
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
    /// Content that the server has in other files. Since version 2.
    Reuse(Reuse),
    /// All of this round is sent.
    End(End),
}

/// From the server to the client, in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// The answer to `Hello`.
    Welcome(Welcome),
    /// One page of what came in a session that was cut off. Since version 2.
    Held(Held),
    /// One page of what the server tracks; follows `Welcome` when the base is not known.
    Manifest(ManifestPage),
    /// Content that the server lacks; the client answers with `Delta`, `Data`, `End`.
    Need(Need),
    /// The commit waits; nothing is asked of the client.
    Waiting(Waiting),
    /// The tree of `root` is in place. The last message.
    Committed(Summary),
    /// A part of all that a commit would do, in a dry run that asks for it.
    Plan(PlanPage),
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
    /// In a dry run: tell all paths, not only the first of them.
    pub list_all: bool,
    /// Look for drift only where this commit changes something: what jobs did elsewhere stays as it is
    /// until the next commit without this. For one that follows a save.
    pub touched_only: bool,
    /// How many paths of each kind the last word names at most; 0 for as many as it may.
    pub named: u32,
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

/// What a commit would do with some paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanPage {
    /// What.
    pub deed: Deed,
    /// Of these, sorted over all pages of it.
    pub paths: Vec<Vec<u8>>,
}

/// What a commit does with a path; see [`Summary`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Write it.
    Write,
    /// Delete it.
    Delete,
    /// Move it to the trash.
    Displace,
    /// Leave it, though the client no longer has it.
    Keep,
}

/// What happens to mirrored files that the client no longer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delete {
    /// Those the mirror wrote, and nobody changed since, are deleted.
    #[default]
    Owned,
    /// The workspace becomes what the client has: those are deleted, and everything else that the client does not have,
    /// jobs' work and what was there before the mirror, is moved to the trash.
    Exact,
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
    /// has the content already, or asks with `Need`.
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
    /// How the bytes are packed.
    pub packing: Packing,
    /// The bytes, [`MAX_FRAME`] at most, and also when they are unpacked.
    pub bytes: Bytes,
}

/// How the content of a frame is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Packing {
    /// As it is.
    #[default]
    Plain,
    /// One frame of zstd, whose content is as long as the pieces together. From a client, since version 2; from a server, where the
    /// client asked for it.
    Zstd,
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

/// What of a file's content the server has: it copies that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reuse {
    /// The file's number; see the module.
    pub file: u32,
    /// What, in the order of the file; [`MAX_PAGE`] at most.
    pub ranges: Vec<Range>,
}

/// A run of one file's bytes that another has too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Where in the file the run begins, in bytes.
    pub offset: u64,
    /// Its length in bytes, never 0.
    pub len: u64,
    /// The content of the other file, which is one of the base, or what is held of this one.
    pub source: Digest,
    /// Where in that the run begins, in bytes.
    pub from: u64,
}

/// All of a round is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Root of the client's tree.
    pub root: Digest,
    /// Where the client could not read its tree: nothing at or below is taken away. It is part of what the last
    /// round says; see [`Unread::of`](crate::unread::Unread::of).
    pub unread: Vec<Vec<u8>>,
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
    /// Something is here of a session that was cut off: `Held` follows.
    pub held: bool,
}

/// A part of what is here of sessions that were cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// In no order; [`MAX_PAGE`] at most.
    pub contents: Vec<HeldContent>,
    /// No page follows.
    pub last: bool,
}

/// A content, or the beginning of it. Of a beginning, the client says by a first [`Range`] of the file, whose source is the same content,
/// that it goes on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldContent {
    /// Its hash.
    pub hash: Digest,
    /// Bytes of it that are here.
    pub len: u64,
    /// All of it is here, and verified.
    pub whole: bool,
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
    /// Whether content is to be compressed on its way. A server that does not know this sends it as it is.
    pub compress: Compress,
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
