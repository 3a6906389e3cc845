//! Content that nobody has to send: the workspace has it, at another path.
//!
//! A file that was renamed, moved or copied, or a second one with the same content, is made in the staging area out
//! of what is staged already or out of what the mirror wrote and nobody changed. What a session brought that was cut off is taken, and so is
//! what an earlier commit replaced. A source counts only if it is
//! what was recorded: by its look, as [`drift`](super::drift) goes by it, or by its hash. What cannot be made is asked of the client.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::io::{Errno, Result};

use crate::commit::drift::Drift;
use crate::commit::stage::{self, Offered, Staged};
use crate::commit::{Lack, StagedFiles};
use crate::digest::Digest;
use crate::error::refusal;
use crate::faults::Faults;
use crate::manifest::Entry;
use crate::message::{Node, Refusal};
use crate::path::TreePath;
use crate::stat::FileStat;
use crate::tree::{Dir, Parents, copy, read, write};
use crate::workspace::kept::{self, Kept};

/// Files for each thread that are worth a thread.
const SHARE: usize = 64;

/// Where content can be found, and where it is to be.
pub(crate) struct Maker<'a> {
    pub(crate) tree: &'a Dir,
    pub(crate) staging: &'a Dir,
    pub(crate) tracked: &'a [Entry],
    pub(crate) drift: &'a Drift,
    /// What an earlier session brought, and what commits replaced.
    pub(crate) kept: &'a Kept,
    pub(crate) past: Option<&'a Dir>,
    /// Whether what files look like proves anything.
    pub(crate) trust: bool,
    /// The modification times that files are to have; others get that of their writing.
    pub(crate) mtimes: &'a HashMap<TreePath, i64>,
    pub(crate) faults: &'a Faults,
    pub(crate) threads: usize,
}

/// Where a content is.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Staged(&'a TreePath),
    /// In the tree, and what it looks like if that is proof.
    Tracked(&'a TreePath, Option<FileStat>),
}

/// What could be made of what was lacking.
type Made = Vec<(TreePath, Staged)>;

impl Maker<'_> {
    /// Makes of `lacking` what there is a source for. `room` is asked for the bytes of these before.
    pub(crate) fn make(
        &self,
        lacking: &[Lack<'_>],
        staged: &StagedFiles,
        room: impl FnOnce(u64) -> std::result::Result<bool, Refusal>,
    ) -> std::result::Result<Made, Refusal> {
        let (mut made, lacking) = self.taken(lacking)?;
        let sources = self.sources(&lacking, staged, &made);
        let found = |lack: &&Lack<'_>| sources.contains_key(&lack.hash);
        let possible: Vec<Lack<'_>> = lacking.iter().filter(found).copied().collect();
        let bytes = possible.iter().map(|lack| lack.size);
        if possible.is_empty() || !room(bytes.fold(0, u64::saturating_add))? {
            return Ok(made);
        }
        let threads = self.threads.clamp(1, possible.len().div_ceil(SHARE));
        let parts = thread::scope(|scope| {
            let share = possible.chunks(possible.len().div_ceil(threads));
            let parts = share.map(|part| scope.spawn(|| self.part(part, &sources)));
            let running: Vec<_> = parts.collect();
            let join = |part: thread::ScopedJoinHandle<'_, _>| part.join();
            let joined = running.into_iter().map(join);
            joined
                .map(|part| part.expect("a copy does not panic"))
                .collect::<Vec<_>>()
        });
        drop(sources);
        for part in parts {
            made.extend(part?);
        }
        Ok(made)
    }

    /// Takes what an earlier session brought, and says what is lacking then.
    fn taken<'l>(
        &self,
        lacking: &[Lack<'l>],
    ) -> std::result::Result<(Made, Vec<Lack<'l>>), Refusal> {
        let (mut made, mut left) = (Made::new(), Vec::new());
        let mut to = Parents::making(self.staging);
        for lack in lacking {
            let kept = self.kept.contents.get(&lack.hash);
            let kept = kept.filter(|kept| kept.whole).map(|_| &self.kept.dir);
            let mut taken = Ok(None);
            for dir in [kept, self.past].into_iter().flatten() {
                if let Ok(None) = taken {
                    taken = self.take(dir, lack, &mut to);
                }
            }
            match taken.map_err(|errno| refusal("write", lack.path.as_bytes(), errno))? {
                Some(staged) => made.push((lack.path.clone(), staged)),
                None => left.push(*lack),
            }
        }
        Ok((made, left))
    }

    /// `None` if it is not there any more, or is not what its name says.
    fn take(&self, dir: &Dir, lack: &Lack<'_>, to: &mut Parents<'_>) -> Result<Option<Staged>> {
        let name = kept::whole(&lack.hash);
        let Ok((file, _)) = read::open(dir, &name) else {
            return Ok(None);
        };
        if read::hash(&file, u64::MAX)? != (lack.hash, lack.size) {
            return Ok(None);
        }
        self.faults.before("take")?;
        match stage::install(dir, &name, to, lack.path) {
            Err(Errno::NOTDIR) => return Ok(None),
            done => done?,
        }
        // Not as old as the earlier session.
        write::touch(&file)?;
        stage::complete(&file, &self.offered(lack)).map(Some)
    }

    fn offered(&self, lack: &Lack<'_>) -> Offered {
        Offered {
            path: lack.path.clone(),
            exec: lack.exec,
            size: lack.size,
            hash: lack.hash,
            mtime_ns: self.mtimes.get(lack.path).copied(),
        }
    }

    /// Where the contents are that are lacking.
    fn sources<'a>(
        &'a self,
        lacking: &[Lack<'_>],
        staged: &'a StagedFiles,
        made: &'a Made,
    ) -> HashMap<Digest, Source<'a>> {
        let mut sources: HashMap<Digest, Option<Source<'a>>> =
            lacking.iter().map(|lack| (lack.hash, None)).collect();
        let made = made.iter().map(|(path, file)| (path, file));
        for (path, file) in staged.iter().chain(made) {
            if let Some(source) = sources.get_mut(&file.hash) {
                *source = Some(Source::Staged(path));
            }
        }
        for (at, entry) in self.tracked.iter().enumerate() {
            if let Node::File { hash, .. } = &entry.node
                && let Some(source @ None) = sources.get_mut(hash)
                && !self.drift.changed.contains_key(&at)
            {
                let proves = self.trust && !self.drift.touched.contains_key(&at);
                *source = Some(Source::Tracked(&entry.path, entry.stat.filter(|_| proves)));
            }
        }
        let found = sources
            .into_iter()
            .filter_map(|(hash, source)| Some((hash, source?)));
        found.collect()
    }

    fn part(
        &self,
        lacking: &[Lack<'_>],
        sources: &HashMap<Digest, Source<'_>>,
    ) -> std::result::Result<Made, Refusal> {
        let (mut to, mut tree, mut staged) = (
            Parents::making(self.staging),
            Parents::of(self.tree),
            Parents::of(self.staging),
        );
        let mut made = Made::with_capacity(lacking.len());
        for lack in lacking {
            let (from, path, look) = match &sources[&lack.hash] {
                Source::Staged(path) => (&mut staged, *path, None),
                Source::Tracked(path, look) => (&mut tree, *path, look.as_ref()),
            };
            // Gone, or closed, since it was looked at: then it is as good as never there.
            let Ok(source) = open(from, path) else {
                continue;
            };
            let copied = self.copy(lack, &source, look, &mut to);
            let copied = copied.map_err(|errno| refusal("write", lack.path.as_bytes(), errno))?;
            made.extend(copied.map(|copied| (lack.path.clone(), copied)));
        }
        Ok(made)
    }

    /// `None` if the source is not what it was.
    fn copy(
        &self,
        lack: &Lack<'_>,
        source: &OwnedFd,
        look: Option<&FileStat>,
        to: &mut Parents<'_>,
    ) -> Result<Option<Staged>> {
        self.faults.before("copy")?;
        let file = match stage::create(to, lack.path, lack.exec) {
            // Something else of that name is staged: asked for, it takes its place.
            Err(Errno::NOTDIR) => return Ok(None),
            file => file?,
        };
        if !copy::whole(source, &file, (lack.size, &lack.hash), look)? {
            stage::discard(to, lack.path)?;
            return Ok(None);
        }
        stage::complete(&file, &self.offered(lack)).map(Some)
    }
}

fn open(parents: &mut Parents<'_>, path: &TreePath) -> Result<OwnedFd> {
    let (parent, name) = path.split();
    read::open(parents.get(parent)?, name).map(|(file, _)| file)
}
