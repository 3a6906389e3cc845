//! What a client sends in the rounds of one session, checked and put in order.

use std::collections::HashMap;

use bytes::Bytes;

use crate::commit::StagedFiles;
use crate::commit::early::{SHARE, is_small};
use crate::commit::stage::{MAX_OPEN, Offered, Part, Work};
use crate::error::{protocol, too_much};
use crate::manifest::{self, Entry, NotATree};
use crate::message::{Data, Delta, MAX_PAGE, Node, Range, Refusal, Reuse};
use crate::pack::unpack::Unpacker;
use crate::path::{MAX_PATH, TreePath};
use crate::receive::Options;
use crate::receive::room::Tally;

/// Bytes that the path and link target of an entry have on average at most, four times those of real trees; and of all entries
/// where few are allowed.
const NAME: u64 = 256;
const MIN_NAMES: u64 = 64 << 20;

/// One path that the client sent, the round in which it did, and what it has there.
struct Sent {
    path: TreePath,
    round: u32,
    node: Option<Node>,
}

/// A numbered file, and how much of it came; `None` when what it belonged to became void.
struct Numbered {
    offered: Option<Offered>,
    received: u64,
    /// There is no room for it as yet: it is dropped.
    dropped: bool,
}

/// All that came so far.
pub(crate) struct Rounds<'a> {
    options: &'a Options,
    tally: &'a Tally<'a>,
    /// The mtime that files get: at most this, if they keep the client's at all.
    keep_mtimes_until: Option<i64>,
    sent: Vec<Sent>,
    files: Vec<Numbered>,
    /// What files that were not sent are to have as modification time, if they keep the client's.
    pub(crate) mtimes: HashMap<TreePath, i64>,
    open: usize,
    bytes: u64,
    /// Bytes of paths and link targets, which stay in memory.
    names: u64,
    unpacker: Unpacker,
    pub(crate) round: u32,
    /// What comes is against a base that the server does not have.
    pub(crate) void: bool,
    /// What is not sent is made early, where that is possible.
    pub(crate) early: bool,
    /// Files of this round that are, or were tried: which of `sent`, and their bytes.
    tried: Vec<(usize, u64)>,
}

fn checked(path: Vec<u8>) -> Result<TreePath, Refusal> {
    TreePath::new(path.as_slice()).map_err(|bad| Refusal::BadPath {
        path,
        why: bad.to_string(),
    })
}

fn check_target(path: &TreePath, target: &[u8]) -> Result<(), Refusal> {
    if !target.is_empty() && target.len() <= MAX_PATH && !target.contains(&0) {
        return Ok(());
    }
    let (path, why) = (path.as_bytes().to_vec(), "a bad link target".to_owned());
    Err(Refusal::BadPath { path, why })
}

/// The file that is to be at `path`; `None` if that is none.
fn offered(path: &TreePath, node: &Node, mtime_ns: Option<i64>) -> Option<Offered> {
    let &Node::File { exec, size, hash } = node else {
        return None;
    };
    Some(Offered {
        path: path.clone(),
        exec,
        size,
        hash,
        mtime_ns,
    })
}

impl<'a> Rounds<'a> {
    pub(crate) fn new(
        options: &'a Options,
        tally: &'a Tally<'a>,
        keep_mtimes_until: Option<i64>,
        void: bool,
    ) -> Self {
        Self {
            options,
            tally,
            keep_mtimes_until,
            sent: Vec::new(),
            files: Vec::new(),
            mtimes: HashMap::new(),
            open: 0,
            bytes: 0,
            names: 0,
            unpacker: Unpacker::default(),
            round: 0,
            void,
            early: false,
            tried: Vec::new(),
        }
    }

    /// Forgets all that came: the client begins again from the server's manifest.
    pub(crate) fn rebase(&mut self) {
        self.void = false;
        self.tried.clear();
        self.sent.clear();
        self.names = 0;
        self.open = 0;
        for file in &mut self.files {
            file.offered = None;
        }
    }

    /// Takes a page of changes; returns the files in it that can be written without data.
    pub(crate) fn delta(&mut self, delta: Delta) -> Result<Vec<Work>, Refusal> {
        if delta.puts.len() + delta.deletes.len() > MAX_PAGE {
            return Err(too_much("entries in a page", MAX_PAGE as u64));
        }
        let (mut empty, mut copies) = (Vec::new(), Vec::new());
        for put in delta.puts {
            let path = checked(put.path)?;
            self.names += path.as_bytes().len() as u64;
            if let Node::Symlink { target } = &put.node {
                self.names += target.len() as u64;
                check_target(&path, target)?;
            }
            self.check_size(&path, &put.node)?;
            let mtime_ns = self.keep_mtimes_until.map(|now| put.mtime_ns.min(now));
            let unsent = !put.send && !self.void;
            if let (true, Some(mtime_ns), Node::File { .. }) = (unsent, mtime_ns, &put.node) {
                self.mtimes.insert(path.clone(), mtime_ns);
            }
            let file = offered(&path, &put.node, mtime_ns);
            match (put.send, file) {
                (true, Some(file)) => empty.extend(self.numbered(file)?),
                (true, None) => return Err(protocol("content for what is not a file")),
                (false, Some(file)) => copies.extend(self.copied(file)?),
                (false, None) => {}
            }
            if !self.void {
                self.sent.push(Sent {
                    path,
                    round: self.round,
                    node: Some(put.node),
                });
            }
        }
        for path in delta.deletes {
            let path = checked(path)?;
            self.names += path.as_bytes().len() as u64;
            if !self.void {
                self.sent.push(Sent {
                    path,
                    round: self.round,
                    node: None,
                });
            }
        }
        if self.sent.len().max(self.files.len()) as u64 > self.options.max_entries {
            return Err(too_much("entries", self.options.max_entries));
        }
        let names = MIN_NAMES.max(self.options.max_entries.saturating_mul(NAME));
        if !self.void && self.names > names {
            return Err(too_much("bytes of names", names));
        }
        let empty = (!empty.is_empty()).then_some(Work::Whole(empty));
        let copies = copies
            .chunks(SHARE)
            .map(|share| Work::Copies(share.to_vec()));
        Ok(empty.into_iter().chain(copies).collect())
    }

    /// Gives a file whose content is sent the next number. It comes back, with all its content, if that is nothing.
    fn numbered(&mut self, file: Offered) -> Result<Option<(Offered, Bytes)>, Refusal> {
        let dropped = !self.void && !self.tally.offer(file.size)?;
        let offered = (!self.void).then_some(file);
        let empty = offered.clone().filter(|file| file.size == 0);
        self.files.push(Numbered {
            offered,
            received: 0,
            dropped,
        });
        Ok(empty.map(|file| (file, Bytes::new())))
    }

    /// Gives back a file that is not sent, if it is one to be made early and there is room for it.
    fn copied(&mut self, file: Offered) -> Result<Option<Offered>, Refusal> {
        let is_copied = self.early && !self.void && is_small(file.size);
        if !is_copied || !self.tally.offer(file.size)? {
            return Ok(None);
        }
        // It is the next one.
        self.tried.push((self.sent.len(), file.size));
        Ok(Some(file))
    }

    /// A file may be so large, sent or made of what is here.
    fn check_size(&self, path: &TreePath, node: &Node) -> Result<(), Refusal> {
        let limit = self.options.max_file_bytes;
        match node {
            Node::File { size, .. } if *size > limit => {
                let what = format!("bytes in {}", path.to_path_buf().display());
                Err(too_much(&what, limit))
            }
            _ => Ok(()),
        }
    }

    /// Takes a frame of content.
    pub(crate) fn data(&mut self, data: Data) -> Result<Option<Work>, Refusal> {
        if data.pieces.len() > MAX_PAGE {
            return Err(too_much("pieces in a frame", MAX_PAGE as u64));
        }
        let data = self.unpacker.plain(data)?;
        self.count(data.bytes.len() as u64)?;
        if self.void {
            return Ok(None);
        }
        let (mut at, mut whole) = (0, Vec::with_capacity(data.pieces.len()));
        for piece in &data.pieces {
            let len = u64::from(piece.len);
            let file = self.next_run(piece.file, piece.offset, len)?;
            let to = at + usize::try_from(len).unwrap_or(usize::MAX);
            if to > data.bytes.len() {
                return Err(protocol("more pieces than bytes"));
            }
            let bytes = data.bytes.slice(at..to);
            at = to;
            let Some(file) = file else {
                continue;
            };
            if len == file.size {
                whole.push((file, bytes));
            } else if data.pieces.len() == 1 {
                let part = Part::Bytes(bytes);
                return self.part(piece.file, file, piece.offset, part).map(Some);
            } else {
                return Err(protocol("a piece of a large file among others"));
            }
        }
        if at != data.bytes.len() {
            return Err(protocol("more bytes than pieces"));
        }
        Ok((!whole.is_empty()).then_some(Work::Whole(whole)))
    }

    /// Takes ranges of files that are here.
    pub(crate) fn reuse(&mut self, reuse: &Reuse) -> Result<Vec<Work>, Refusal> {
        if reuse.ranges.len() > MAX_PAGE {
            return Err(too_much("ranges of a file", MAX_PAGE as u64));
        }
        let mut work = Vec::new();
        for &Range {
            offset,
            len,
            source,
            from,
        } in &reuse.ranges
        {
            self.count(len)?;
            if self.void {
                continue;
            }
            if let Some(file) = self.next_run(reuse.file, offset, len)? {
                let part = Part::Range { source, from, len };
                work.push(self.part(reuse.file, file, offset, part)?);
            }
        }
        Ok(work)
    }

    /// Counts content, whoever brings it.
    fn count(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.options.max_bytes {
            return Err(too_much("bytes", self.options.max_bytes));
        }
        Ok(())
    }

    /// The file with this number, of which that run must be what comes next; `None` if it is dropped.
    fn next_run(&mut self, number: u32, offset: u64, len: u64) -> Result<Option<Offered>, Refusal> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let file = self
            .files
            .get_mut(number)
            .ok_or_else(|| protocol("data for a file that was not offered"))?;
        let offered = file
            .offered
            .as_ref()
            .ok_or_else(|| protocol("data for a void file"))?;
        let end = offset.checked_add(len).filter(|&end| end <= offered.size);
        let Some(end) = end.filter(|_| offset == file.received && len > 0) else {
            return Err(protocol("a piece out of place"));
        };
        file.received = end;
        Ok((!file.dropped).then(|| offered.clone()))
    }

    /// Work for a part of a large file.
    fn part(
        &mut self,
        number: u32,
        file: Offered,
        offset: u64,
        part: Part,
    ) -> Result<Work, Refusal> {
        let ends = offset + part.len() == file.size;
        self.open = self.open + usize::from(offset == 0) - usize::from(ends);
        if self.open > MAX_OPEN {
            return Err(too_much("large files at once", MAX_OPEN as u64));
        }
        Ok(Work::Part {
            number,
            file,
            offset,
            part,
        })
    }

    /// The round's work is done: files that could not be made early count no more.
    pub(crate) fn made(&mut self, staged: &StagedFiles) {
        for (at, bytes) in self.tried.drain(..) {
            let made = self
                .sent
                .get(at)
                .is_some_and(|sent| staged.contains_key(&sent.path));
            if !made {
                self.tally.withdraw(bytes);
            }
        }
    }

    /// Ends a round: what differs from `tracked`, sorted, as entries and as paths that are gone.
    pub(crate) fn end(
        &mut self,
        tracked: &[Entry],
    ) -> Result<(Vec<Entry>, Vec<TreePath>), Refusal> {
        self.round += 1;
        self.sent.sort_by(|a, b| a.path.cmp(&b.path));
        let twice = self
            .sent
            .windows(2)
            .find(|pair| pair[0].path == pair[1].path && pair[0].round == pair[1].round);
        if let Some([sent, _]) = twice {
            let why = "twice in one round".to_owned();
            return Err(Refusal::BadPath {
                path: sent.path.as_bytes().to_vec(),
                why,
            });
        }
        let (mut puts, mut gone) = (Vec::with_capacity(self.sent.len()), Vec::new());
        for (at, sent) in self.sent.iter().enumerate() {
            if self
                .sent
                .get(at + 1)
                .is_some_and(|later| later.path == sent.path)
            {
                continue;
            }
            match &sent.node {
                Some(node) => puts.push(Entry {
                    path: sent.path.clone(),
                    node: node.clone(),
                    stat: None,
                }),
                None if manifest::find(tracked, sent.path.as_bytes()).is_some() => {
                    gone.push(sent.path.clone());
                }
                None if at > 0 && self.sent[at - 1].path == sent.path => {}
                None => {
                    let why = "deleted, but not there".to_owned();
                    return Err(Refusal::BadPath {
                        path: sent.path.as_bytes().to_vec(),
                        why,
                    });
                }
            }
        }
        Ok((puts, gone))
    }
}

/// A tree that is none, as the client is told.
pub(crate) fn not_a_tree(bad: NotATree) -> Refusal {
    let why = bad.to_string();
    let (NotATree::Order(path) | NotATree::Orphan(path)) = bad;
    Refusal::BadPath {
        path: path.as_bytes().to_vec(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::{NAME, Rounds};
    use crate::message::{Delta, Node, Put, Refusal};
    use crate::push::since_epoch;
    use crate::receive::Options;
    use crate::receive::room::{Held, Tally};
    use crate::tree::Dir;

    fn put(path: String, target: usize) -> Put {
        let target = vec![b'x'; target];
        Put {
            path: path.into_bytes(),
            node: Node::Symlink { target },
            mtime_ns: 0,
            send: false,
        }
    }

    fn file(path: String) -> Put {
        let (exec, size, hash) = (false, 1, crate::Digest([0; 32]));
        Put {
            node: Node::File { exec, size, hash },
            ..put(path, 1)
        }
    }

    fn rounds(options: &Options, void: bool, talk: impl FnOnce(Rounds<'_>)) {
        let temp = tempfile::tempdir().unwrap();
        let staging = Dir::open_root(temp.path()).unwrap();
        let nothing = Held {
            bytes: 0,
            entries: 0,
        };
        let tally = Tally::begin(None, (nothing, None), nothing, &staging);
        let keep = Some(since_epoch(SystemTime::UNIX_EPOCH));
        talk(Rounds::new(options, &tally, keep, void));
    }

    fn page(puts: impl IntoIterator<Item = Put>) -> Delta {
        Delta {
            puts: puts.into_iter().collect(),
            deletes: Vec::new(),
        }
    }

    #[test]
    fn what_is_void_is_not_remembered() {
        rounds(&Options::default(), true, |mut rounds| {
            for number in 0..1000 {
                rounds.delta(page([file(format!("f{number}"))])).unwrap();
            }
            assert!(rounds.mtimes.is_empty() && rounds.sent.is_empty());
        });
    }

    #[test]
    fn names_have_a_limit_beside_their_number() {
        let options = Options {
            max_entries: 400_000,
            ..Options::default()
        };
        rounds(&options, false, |mut rounds| {
            let long = "x".repeat(200);
            let most = options.max_entries * NAME / 4_200 + 1;
            let pages = (0..most).map(|number| page([put(format!("{number}{long}"), 4_000)]));
            let refused = pages.map(|page| rounds.delta(page)).find_map(Result::err);
            assert!(
                matches!(refused, Some(Refusal::TooMuch { .. })),
                "{refused:?}"
            );
        });
    }
}
