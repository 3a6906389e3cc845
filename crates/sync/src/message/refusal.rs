//! Why a server says no.

/// Why the server said no. Nothing was changed unless it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The client's tree is empty and the server's is not: a lost mount, or the wrong directory.
    #[error("the directory is empty, and {tracked} mirrored files would be deleted")]
    EmptyRoot {
        /// Files in the workspace.
        tracked: u64,
    },
    /// An exact mirror would take away more that it did not write than looks intended.
    #[error(
        "{would_move} files that the mirror did not write would be moved to the trash (limit {limit})"
    )]
    MassDisplace {
        /// Files that would go.
        would_move: u64,
        /// How many may go without `force_delete`.
        limit: u64,
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
    /// The same for files, links and directories.
    #[error(
        "{used} of {limit} files, links and directories are taken, and this is more than what is left"
    )]
    FullEntries {
        /// How many may be there.
        limit: u64,
        /// How many are, without this commit.
        used: u64,
    },
    /// The same for what is received and not committed yet.
    #[error("more than {limit} bytes would be received at a time")]
    FullStaging {
        /// Bytes that may be.
        limit: u64,
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
