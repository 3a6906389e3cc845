//! Hosts in a box, for tests.
//!
//! A [`Host`] is a server on a state directory of its own, in this process, with clients that talk to
//! it as they would over a network. Each test has its own; nothing is shared, nothing is left behind.
//! Tests wait for conditions with a deadline ([`until`]) and never for time to pass. A [`Relay`] between the two makes
//! the network as bad as a test wants it; a [`link::Link`] is one of a certain rate, for measuring. A [`standin::Standin`] is the shim of a job, of whatever version a test wants.

#[cfg(feature = "hosts")]
mod host;
#[cfg(feature = "hosts")]
pub mod link;
#[cfg(feature = "hosts")]
mod relay;
pub mod standin;

#[cfg(feature = "hosts")]
pub use host::{Host, PATIENCE, until};
#[cfg(feature = "hosts")]
pub use relay::{Direction, Relay};

use std::path::Path;

/// Writes files below `root`, making the directories on the way.
///
/// # Panics
/// When one cannot be written.
pub fn write_tree(root: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(root)).expect("a directory below the root");
        std::fs::write(path, content).expect("a file below the root");
    }
}
