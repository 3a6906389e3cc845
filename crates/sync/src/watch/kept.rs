//! The directories that are kept: which watch tells of which, and the ignore rules in force in each.
//!
//! Filled by every scan on its way. A directory is watched before it is listed, so what is made in it is found by the
//! listing or told by an event. What the rules leave out is never entered, and so never watched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::scan::Keeper;
use crate::scan::rules::Rules;
use crate::tree::Dir;
use crate::watch::events::{Source, Watched};

/// All kept directories.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Without one there are no events, and the tree is looked at now and then.
    pub(crate) source: Option<Box<dyn Source>>,
    dirs: Mutex<Dirs>,
}

#[derive(Debug, Default)]
struct Dirs {
    rules: HashMap<Box<[u8]>, Arc<Rules>>,
    /// Where each watch is, and the last round of scanning that came by.
    watches: HashMap<Watched, (Box<[u8]>, u64)>,
    round: u64,
    refused: Option<Errno>,
}

impl Kept {
    pub(crate) fn new(source: Option<Box<dyn Source>>) -> Self {
        Self {
            source,
            dirs: Mutex::default(),
        }
    }

    fn dirs(&self) -> MutexGuard<'_, Dirs> {
        self.dirs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A scan of everything begins.
    pub(crate) fn begin(&self) {
        let mut dirs = self.dirs();
        dirs.round += 1;
        dirs.rules.clear();
        dirs.refused = None;
    }

    /// It has ended: what it did not come by is not kept any more.
    pub(crate) fn end(&self) {
        let mut dirs = self.dirs();
        let round = dirs.round;
        if let Some(source) = &self.source {
            let left = dirs.watches.extract_if(|_, (_, seen)| *seen < round);
            left.for_each(|(watched, _)| source.unwatch(watched));
        }
    }

    /// Where a watch is.
    pub(crate) fn path(&self, watched: Watched) -> Option<Box<[u8]>> {
        let dirs = self.dirs();
        dirs.watches.get(&watched).map(|(path, _)| path.clone())
    }

    /// Forgets a watch that ended.
    pub(crate) fn forget(&self, watched: Watched) {
        self.dirs().watches.remove(&watched);
    }

    /// The rules in the directory at `path`, if it is kept.
    pub(crate) fn rules_at(&self, path: &[u8]) -> Option<Arc<Rules>> {
        self.dirs().rules.get(path).cloned()
    }

    /// Watches that there are.
    pub(crate) fn count(&self) -> usize {
        self.dirs().watches.len()
    }

    /// Why a directory could not be watched, since the last scan of everything began.
    pub(crate) fn refused(&self) -> Option<Errno> {
        self.dirs().refused
    }
}

impl Keeper for Kept {
    fn opened(&self, dir: &Dir, path: &[u8]) {
        let Some(source) = &self.source else { return };
        let watched = source.watch(dir);
        let mut dirs = self.dirs();
        match watched {
            Ok(watched) => {
                let round = dirs.round;
                dirs.watches.insert(watched, (path.into(), round));
            }
            Err(errno) => {
                dirs.refused.get_or_insert(errno);
            }
        }
    }

    fn rules(&self, path: &[u8], rules: &Arc<Rules>) {
        self.dirs().rules.insert(path.into(), Arc::clone(rules));
    }
}
