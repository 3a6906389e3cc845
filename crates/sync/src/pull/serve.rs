//! The server's side of a pull.

use std::time::{Duration, Instant};

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::error::{PullError, ReceiveError, protocol, refusal};
use crate::link::{Link, Receiving, Sending};
use crate::manifest::Entry;
use crate::message::{
    Data, MAX_PAGE, Node, Offer, Packing, Piece, PullDown, PullUp, Put, Refusal, TARGET_FRAME,
    VERSION,
};
use crate::pack::{Compress, Pace, Packer};
use crate::path::TreePath;
use crate::pull::globs::Globs;
use crate::scan::{self, Discard, Index, Worker};
use crate::stat::Horizon;
use crate::tree::read;
use crate::tree::walk::{Visitor, Walk};
use crate::tree::{Dir, Name, Parents, Use};
use crate::workspace::Workspace;

const TICK: Duration = Duration::from_secs(1);

/// Serves one pull from `workspace` over `link`. Reads only; needs no lease.
///
/// # Errors
/// See [`ReceiveError`].
pub fn serve<S, R>(workspace: &Workspace, link: Link<S, R>) -> Result<(), ReceiveError>
where
    S: Sending<PullDown>,
    R: Receiving<PullUp>,
{
    let Link {
        mut sender,
        mut receiver,
    } = link;
    let mut server = Server {
        workspace,
        sender: &mut sender,
        receiver: &mut receiver,
        packer: Packer::default(),
        pace: Pace::new(Compress::Nothing, 1),
        begun: Instant::now(),
    };
    let served = server.serve();
    if let Err(ReceiveError::Refused(refusal)) = &served {
        // The refusal is the result, whether the client still hears it or not.
        let _heard = server.sender.send(PullDown::Refused(refusal.clone()));
    }
    served
}

struct Server<'a> {
    workspace: &'a Workspace,
    sender: &'a mut dyn Sending<PullDown>,
    receiver: &'a mut dyn Receiving<PullUp>,
    packer: Packer,
    /// Whether content is compressed now.
    pace: Pace,
    /// When content began to be sent.
    begun: Instant,
}

impl Server<'_> {
    fn next(&mut self) -> Result<PullUp, ReceiveError> {
        loop {
            if let Some(message) = self.receiver.receive(TICK)? {
                return Ok(message);
            }
        }
    }

    fn serve(&mut self) -> Result<(), ReceiveError> {
        let PullUp::Ask(ask) = self.next()? else {
            return Err(protocol("no question").into());
        };
        if ask.version == 0 {
            return Err(Refusal::Version {
                client: ask.version,
                newest: VERSION,
            }
            .into());
        }
        let globs = Globs::new(&ask.globs).map_err(|error| match error {
            PullError::BadGlob { glob, why } => Refusal::BadPath {
                path: glob.into_bytes(),
                why,
            },
            other => protocol(&other.to_string()),
        })?;
        let found = self.find(&globs)?;
        self.offer(&found)?;
        // All of it first: the client does not listen before it has said everything.
        let mut wanted: Vec<u32> = Vec::new();
        loop {
            let PullUp::Want(want) = self.next()? else {
                return Err(protocol("a second question").into());
            };
            for number in want.files {
                if wanted.last().is_some_and(|last| *last >= number) {
                    return Err(protocol("wants a file twice, or out of order").into());
                }
                wanted.push(number);
            }
            if wanted.len() > found.entries.len() {
                return Err(protocol("wants more files than there are").into());
            }
            if want.last {
                break;
            }
        }
        self.pace = Pace::new(ask.compress, 1);
        self.begun = Instant::now();
        self.send(&found.entries, &wanted)?;
        Ok(self.sender.send(PullDown::Done)?)
    }

    /// What matches; files that look as the mirror wrote them are not read.
    fn find(&self, globs: &Globs) -> Result<Found, ReceiveError> {
        let index = self.workspace.index()?;
        let same_boot = index.boot_id == self.workspace.boot_id().as_bytes();
        let known = if same_boot {
            scan::index(&index.entries)
        } else {
            Index::new()
        };
        let tree = &self.workspace.held.tree;
        let root = tree
            .child(b".", Use::List)
            .map_err(|errno| refusal("open", b"tree", errno))?;
        let mut finder = Finder {
            globs,
            worker: Worker::new(&known, Horizon::at(i64::MAX), Discard::default()),
            found: Found::default(),
        };
        Walk::new(root, false).work(&mut finder);
        let mut found = finder.found;
        found.entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn offer(&mut self, found: &Found) -> Result<(), ReceiveError> {
        let mut pages = found.entries.chunks(MAX_PAGE).peekable();
        loop {
            let page = pages.next().unwrap_or_default();
            let last = pages.peek().is_none();
            let unreadable = if last {
                found.unreadable.iter().take(MAX_PAGE).cloned().collect()
            } else {
                Vec::new()
            };
            let entries = page.iter().map(put).collect();
            self.sender.send(PullDown::Offer(Offer {
                entries,
                unreadable,
                last,
            }))?;
            if last {
                return Ok(());
            }
        }
    }

    fn send(&mut self, entries: &[Entry], files: &[u32]) -> Result<(), ReceiveError> {
        let mut parents = Parents::of(&self.workspace.held.tree);
        let (mut gone, mut pieces, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
        for &number in files {
            let wanted = usize::try_from(number).ok().and_then(|at| entries.get(at));
            let Some((entry, size)) = wanted.and_then(|entry| match entry.node {
                Node::File { size, .. } => Some((entry, size)),
                _ => None,
            }) else {
                return Err(protocol("wants what is not an offered file").into());
            };
            let (parent, name) = entry.path.split();
            let opened = parents.get(parent).and_then(|dir| read::open(dir, name));
            let Ok((file, _)) = opened.inspect_err(|_| gone.push(number)) else {
                continue;
            };
            let mut offset = 0;
            while offset < size {
                let start = buffer.len();
                let left = usize::try_from(size - offset)
                    .unwrap_or(usize::MAX)
                    .min(TARGET_FRAME);
                buffer.reserve(left);
                let read = read::append(&file, &mut buffer).unwrap_or(0).min(left);
                buffer.truncate(start + read);
                let Some(len) = u32::try_from(read).ok().filter(|&len| len > 0) else {
                    gone.push(number);
                    break;
                };
                if u64::from(len) < size {
                    // A piece of a larger file is alone in its frame.
                    let piece = buffer.split_off(start);
                    self.flush(&mut pieces, &mut buffer)?;
                    buffer = piece;
                    pieces.push(Piece {
                        file: number,
                        offset,
                        len,
                    });
                    self.flush(&mut pieces, &mut buffer)?;
                } else {
                    pieces.push(Piece {
                        file: number,
                        offset,
                        len,
                    });
                }
                offset += u64::from(len);
            }
            if buffer.len() >= TARGET_FRAME || pieces.len() >= MAX_PAGE {
                self.flush(&mut pieces, &mut buffer)?;
            }
        }
        self.flush(&mut pieces, &mut buffer)?;
        if !gone.is_empty() {
            self.sender.send(PullDown::Gone { files: gone })?;
        }
        Ok(())
    }

    fn flush(&mut self, pieces: &mut Vec<Piece>, buffer: &mut Vec<u8>) -> Result<(), ReceiveError> {
        let (pieces, plain) = (std::mem::take(pieces), std::mem::take(buffer));
        if pieces.is_empty() {
            return Ok(());
        }
        let (packing, bytes) = if self.pace.compresses() {
            self.packer.pack(plain)
        } else {
            (Packing::Plain, plain.into())
        };
        let (len, handed) = (bytes.len() as u64, Instant::now());
        self.sender.send(PullDown::Data(Data {
            pieces,
            packing,
            bytes,
        }))?;
        self.pace.sent(len, handed.elapsed(), self.begun.elapsed());
        Ok(())
    }
}

fn put(entry: &Entry) -> Put {
    Put {
        path: entry.path.as_bytes().to_vec(),
        node: entry.node.clone(),
        mtime_ns: entry.stat.map_or(0, |stat| stat.mtime_ns),
        send: false,
    }
}

#[derive(Default)]
struct Found {
    entries: Vec<Entry>,
    unreadable: Vec<Vec<u8>>,
}

/// Looks for what matches. A directory hands down whether a pattern took it as a whole.
struct Finder<'a> {
    globs: &'a Globs,
    worker: Worker<'a, Discard>,
    found: Found,
}

impl Finder<'_> {
    fn entry(&mut self, dir: &Dir, path: TreePath, file_type: FileType) -> rustix::io::Result<()> {
        let entry = match file_type {
            FileType::RegularFile => self.worker.file(dir, path)?,
            FileType::Symlink => {
                let target = dir.read_link(path.name())?;
                Entry {
                    path,
                    node: Node::Symlink { target },
                    stat: None,
                }
            }
            _ => return Ok(()),
        };
        self.found.entries.push(entry);
        Ok(())
    }
}

impl Visitor for Finder<'_> {
    type Down = bool;

    fn visit(&mut self, dir: &Dir, path: &[u8], names: &[Name], taken: bool) -> Vec<(usize, bool)> {
        let mut wanted = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let Ok(below) = TreePath::join(path, &name.name) else {
                continue;
            };
            if self.globs.spare(below.as_bytes()) {
                continue;
            }
            let file_type = match name.file_type {
                FileType::Unknown => match dir.look(&name.name) {
                    Ok(Some(look)) => look.file_type(),
                    _ => continue,
                },
                known => known,
            };
            let taken = taken || self.globs.matches(below.as_bytes());
            if file_type == FileType::Directory {
                if taken || self.globs.lead_into(below.as_bytes()) {
                    wanted.push((index, taken));
                }
            } else if taken {
                let bytes = below.as_bytes().to_vec();
                match self.entry(dir, below, file_type) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(_) => self.found.unreadable.push(bytes),
                }
            }
        }
        wanted
    }

    fn unreadable(&mut self, path: &[u8], _error: Errno) {
        self.found.unreadable.push(path.to_vec());
    }

    fn stop(&self) -> bool {
        false
    }
}
