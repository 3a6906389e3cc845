//! How far away a server was the last time, so that the next mirror of a far one need not wait until that is known.
//!
//! A connection to a far server takes a round trip or two, in which a whole tree can be looked at. But how content is sent depends on
//! the distance, and that is only known afterwards: so it is remembered beside what else this client knows of the server. To a near one
//! there is nothing to be gained, and nothing is remembered.

use std::path::{Path, PathBuf};

use legwork_client::{Client, Distance};

fn file(memory: &Path) -> PathBuf {
    memory.join("distance")
}

/// How far away the server with this memory was, if it was not near.
pub(crate) fn expected(memory: &Path) -> Option<Distance> {
    let word = std::fs::read_to_string(file(memory)).ok()?;
    word.trim().parse().ok()
}

/// Takes note of how far away the server turned out to be.
pub(crate) async fn remember(client: &Client, memory: &Path) {
    let Some(now) = client.distance().await else {
        return;
    };
    let was = expected(memory);
    if was == Some(now) {
        return;
    }
    let file = file(memory);
    // Nothing depends on it but time, so nothing fails for it.
    match (was, now) {
        (_, Distance::Here | Distance::Near) if was.is_none() => {}
        // While the tree was looked at, even an answer that was there in time may have had to wait. The next command measures it without.
        (_, Distance::Here | Distance::Near) | (Some(Distance::Between), Distance::Far) => {
            drop(std::fs::remove_file(file));
        }
        (_, Distance::Between | Distance::Far) => drop(std::fs::write(file, format!("{now}\n"))),
    }
}
