//! Opening the database's file, and making its tables.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use rustls::pki_types::UnixTime;
use uuid::Uuid;

use super::StoreError;
use crate::{random, timestamp};

/// The form of the tables.
pub(super) const VERSION: i64 = 1;

/// How long to wait for another process's transaction. They take a few milliseconds.
const BUSY: Duration = Duration::from_secs(10);

/// Times are in seconds since the epoch, life times in seconds, hashes are SHA-256.
const SCHEMA: &str = "
    CREATE TABLE server (
        only_one   INTEGER PRIMARY KEY CHECK (only_one = 1),
        uuid       BLOB    NOT NULL,
        created_at INTEGER NOT NULL
    );
    CREATE TABLE identity (
        uuid                   BLOB    PRIMARY KEY,
        name                   TEXT    NOT NULL,
        roles                  TEXT    NOT NULL,
        created_at             INTEGER NOT NULL,
        revoked_at             INTEGER,
        certificate_lifetime_s INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX identity_name ON identity (name) WHERE revoked_at IS NULL;
    CREATE TABLE certificate (
        serial     BLOB    PRIMARY KEY,
        identity   BLOB    NOT NULL REFERENCES identity,
        key_hash   BLOB    NOT NULL,
        not_before INTEGER NOT NULL,
        not_after  INTEGER NOT NULL,
        der        BLOB    NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX certificate_identity ON certificate (identity);
    CREATE TABLE invite (
        secret_hash BLOB    PRIMARY KEY,
        identity    BLOB    NOT NULL REFERENCES identity,
        expires_at  INTEGER NOT NULL,
        used_at     INTEGER,
        certificate BLOB
    ) WITHOUT ROWID;
    CREATE INDEX invite_identity ON invite (identity);
";

/// Opens it, and tells the server's uuid.
pub(super) fn open(path: &Path, now: UnixTime) -> Result<(Connection, Uuid), StoreError> {
    make_private(path).map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mut connection = connect(path)?;
    // Before anything is written to it, also by a change of the journal.
    check_version(version(&connection)?, path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    create_if_empty(&mut connection, path, now)?;
    let uuid = connection.query_row("SELECT uuid FROM server", [], |row| row.get(0))?;
    Ok((connection, Uuid::from_bytes(uuid)))
}

/// Opens another connection to what [`open`] has opened, which changes nothing.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// The files that `SQLite` puts beside it get the same mode. One that is there is not opened: a process that closes a file
/// loses all its locks on it, and so would a store that is open in this process already. Whoever came next would take
/// the database for one that nobody uses.
fn make_private(path: &Path) -> std::io::Result<()> {
    let made = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    if std::fs::metadata(path)?.permissions().mode() & 0o7777 != 0o600 {
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn check_version(found: i64, path: &Path) -> Result<(), StoreError> {
    if found > VERSION {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: VERSION,
        });
    }
    Ok(())
}

fn create_if_empty(
    connection: &mut Connection,
    path: &Path,
    now: UnixTime,
) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    check_version(found, path)?;
    if found == 0 {
        transaction.execute_batch(SCHEMA)?;
        transaction.execute(
            "INSERT INTO server (only_one, uuid, created_at) VALUES (1, ?1, ?2)",
            (random::uuid(now).as_bytes(), timestamp::seconds(now)),
        )?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(transaction.commit()?)
}
