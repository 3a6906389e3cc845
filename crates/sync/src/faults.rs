//! Faults on purpose: tests stop a commit before any of its writes.

use std::fmt;
use std::io;
use std::sync::Arc;

type Hook = dyn Fn(&'static str) -> io::Result<()> + Send + Sync;

/// Called before every write to a workspace; an error stops it there, as a crash would.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Hook>>);

impl Faults {
    /// Asks `hook`, which is told what kind of write is next.
    pub fn new(hook: impl Fn(&'static str) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    pub(crate) fn before(&self, what: &'static str) -> rustix::io::Result<()> {
        let Some(hook) = &self.0 else {
            return Ok(());
        };
        let io = rustix::io::Errno::IO;
        hook(what).map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(io))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Faults({})",
            if self.0.is_some() { "hook" } else { "none" }
        )
    }
}
