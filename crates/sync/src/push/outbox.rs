//! What goes to the server: one link for all workers, and what was sent over it so far.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::digest::Digest;
use crate::link::{Closed, Sending};
use crate::message::{Data, Delta, Held, HeldContent, Node, Packing, Piece, Put, Reuse, Up};
use crate::observer::{Observer, Progress};
use crate::pack::{Pace, Packer};
use crate::push::Options;
use crate::push::base::Contents;
use crate::push::blocks::Blocks;
use crate::push::fine::{Chunks, Run};
use crate::push::large::{Cut, Large};
use crate::push::library::Library;
use crate::push::past::Past;

/// A server whose first answer takes longer is far away, or slow in another way.
const FAR: Duration = Duration::from_millis(40);

/// Contents that a server may have of a session that was cut off, as far as we note it: of others it is sent again what it has.
const MAX_HELD: usize = 2_000_000;

/// Contents that are looked for one by one among those that the server may have kept: a save is no reason to make a set of these.
const FEW: u32 = 16;

/// The link's sending half, shared by all workers, and what was sent so far.
pub(crate) struct Outbox<'a> {
    link: Mutex<Numbered<'a>>,
    /// What is sent now would be thrown away: the server does not have the base.
    pub(crate) void: AtomicBool,
    broken: AtomicBool,
    /// Whether content is sent at all.
    pub(crate) content: bool,
    /// How large the pieces are in which it is.
    pub(crate) blocks: Blocks,
    begun: Instant,
    /// Whether it is compressed now.
    packs: AtomicBool,
    observer: &'a dyn Observer,
    pub(crate) files: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Bytes of that as they were sent: maybe compressed.
    pub(crate) wire_bytes: AtomicU64,
    /// Files, and bytes, that differ from the base and that the server makes of what it has.
    pub(crate) reused_files: AtomicU64,
    pub(crate) reused_bytes: AtomicU64,
    /// What was sent since the base is what it is.
    sent: Mutex<Contents>,
    cut: Mutex<Cut>,
    /// Small files that were cut up; `None` where they are not.
    fine: Option<Mutex<Vec<(Digest, Chunks)>>>,
    /// What the server may have kept of earlier trees; as a set once it was asked for often.
    past: Option<&'a Past>,
    past_asked: AtomicU32,
    past_set: OnceLock<Contents>,
    /// What the server has of a session that was cut off.
    held: Mutex<HashMap<Digest, HeldContent>>,
    /// A file that says, while it is there, that a session was cut off after it sent content.
    mark: &'a Path,
    frames: AtomicU64,
    /// The version that the server speaks, as it said or as it did last time; 0 if that is not known.
    pub(crate) peer: AtomicU32,
}

struct Numbered<'a> {
    link: &'a mut dyn Sending<Up>,
    next_file: u32,
    pace: Pace,
}

impl<'a> Outbox<'a> {
    pub(crate) fn new(
        link: &'a mut dyn Sending<Up>,
        options: &Options,
        (peer, mark): (u32, &'a Path),
        observer: &'a dyn Observer,
    ) -> Self {
        let workers = u32::try_from(options.threads).unwrap_or(u32::MAX);
        let pace = Pace::new(options.compress, workers);
        Self {
            packs: AtomicBool::new(pace.compresses()),
            link: Mutex::new(Numbered {
                link,
                next_file: 0,
                pace,
            }),
            blocks: options.blocks,
            begun: Instant::now(),
            void: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            content: !options.dry_run,
            observer,
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            wire_bytes: AtomicU64::new(0),
            reused_files: AtomicU64::new(0),
            reused_bytes: AtomicU64::new(0),
            sent: Mutex::default(),
            cut: Mutex::default(),
            fine: options.slow.then(Mutex::default),
            past: None,
            past_asked: AtomicU32::new(0),
            past_set: OnceLock::new(),
            held: Mutex::default(),
            mark,
            frames: AtomicU64::new(0),
            peer: AtomicU32::new(peer),
        }
    }

    /// Whether the server understands what came with version 2.
    pub(crate) fn is_new(&self) -> bool {
        self.peer.load(Ordering::Relaxed) >= 2
    }

    /// Whether this content is offered for the first time.
    pub(crate) fn is_first(&self, hash: &Digest) -> bool {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.insert(hash)
    }

    /// As an outbox to a server that may have kept these contents.
    pub(crate) fn with_past(mut self, past: &'a Past) -> Self {
        self.past = Some(past);
        self
    }

    /// Whether the server may have kept this content of an earlier tree.
    pub(crate) fn is_past(&self, hash: &Digest) -> bool {
        let Some(past) = self.past.filter(|_| self.is_new()) else {
            return false;
        };
        if self.past_asked.fetch_add(1, Ordering::Relaxed) < FEW {
            return past.contains(hash);
        }
        let set = self.past_set.get_or_init(|| past.contents());
        set.contains(hash)
    }

    /// Takes note of what the server has of a session that was cut off.
    pub(crate) fn hold(&self, page: &Held) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_HELD.saturating_sub(held.len());
        let contents = page.contents.iter().take(room);
        held.extend(contents.map(|content| (content.hash, *content)));
    }

    /// How much of a content the server has of a session that was cut off; `None` if that is all.
    pub(crate) fn held(&self, hash: &Digest) -> Option<u64> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get(hash) {
            Some(content) if content.whole => None,
            Some(content) => Some(content.len),
            None => Some(0),
        }
    }

    /// What the server has of a content is not what it should be.
    pub(crate) fn unhold(&self, hash: &Digest) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(hash);
    }

    /// Begins again: what was sent before counts no more.
    pub(crate) fn rebase(&self) -> Result<(), Closed> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        *sent = Contents::default();
        drop(sent);
        self.void.store(false, Ordering::Relaxed);
        self.send(Up::Rebase)
    }

    /// Sends one message by itself.
    pub(crate) fn send(&self, message: Up) -> Result<(), Closed> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.link
            .send(message)
            .inspect_err(|_| self.broken.store(true, Ordering::Relaxed))
    }

    /// Whether there is no point in going on.
    pub(crate) fn stop(&self) -> bool {
        self.broken.load(Ordering::Relaxed) || self.observer.cancelled()
    }

    /// Sends entries and, numbered, the content of those that have it: `lens` bytes each.
    pub(crate) fn send_batch(
        &self,
        puts: Vec<Put>,
        lens: &[u32],
        bytes: Vec<u8>,
        packer: &mut Packer,
    ) -> Result<(), Closed> {
        let size = bytes.len() as u64;
        let (packing, bytes) = self.packed(packer, bytes);
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut pieces, mut file) = (Vec::with_capacity(lens.len()), link.next_file);
        for &len in lens {
            if len > 0 {
                pieces.push(Piece {
                    file,
                    offset: 0,
                    len,
                });
            }
            file += 1;
        }
        link.next_file = file;
        let deletes = Vec::new();
        let mut sent = link.link.send(Up::Delta(Delta { puts, deletes }));
        if sent.is_ok() && !pieces.is_empty() {
            let data = Data {
                pieces,
                packing,
                bytes,
            };
            sent = self.timed(&mut link, data);
        }
        drop(link);
        self.count(lens.len() as u64, size);
        sent.inspect_err(|_| self.broken.store(true, Ordering::Relaxed))
    }

    /// Sends content of a file that is offered already.
    pub(crate) fn send_data(&self, data: Data) -> Result<(), Closed> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = self.timed(&mut link, data);
        sent.inspect_err(|_| self.broken.store(true, Ordering::Relaxed))
    }

    fn timed(&self, link: &mut Numbered<'_>, data: Data) -> Result<(), Closed> {
        let (wire, begun) = (data.bytes.len() as u64, Instant::now());
        self.wire_bytes.fetch_add(wire, Ordering::Relaxed);
        // One frame may be sent twice. To remember more is worth a file.
        if self.frames.fetch_add(1, Ordering::Relaxed) == 1 {
            // Without it, what is sent twice is more.
            let _unmarked = File::create(self.mark);
        }
        let sent = link.link.send(Up::Data(data));
        link.pace.sent(wire, begun.elapsed(), self.begun.elapsed());
        self.packs.store(link.pace.compresses(), Ordering::Relaxed);
        sent
    }

    /// The server answered our first message.
    pub(crate) fn welcomed(&self, version: u32) {
        self.peer.store(version, Ordering::Relaxed);
        if self.begun.elapsed() > FAR {
            let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
            link.pace.is_far();
            self.packs.store(link.pace.compresses(), Ordering::Relaxed);
        }
    }

    /// The content of a frame, compressed if that is worth it now.
    pub(crate) fn packed(&self, packer: &mut Packer, plain: Vec<u8>) -> (Packing, Bytes) {
        if self.is_new() && self.packs.load(Ordering::Relaxed) {
            packer.pack(plain)
        } else {
            (Packing::Plain, plain.into())
        }
    }

    /// Sends one large file, or what the server lacks of it.
    pub(crate) fn send_large(
        &self,
        put: Put,
        (file, size): (&OwnedFd, u64),
        library: Option<&Library>,
        packer: &mut Packer,
    ) -> Result<(), Closed> {
        let Node::File { hash, .. } = put.node else {
            return Ok(());
        };
        let number = self.offer(put)?;
        let chunks = Large::new(self, number, packer)
            .after(hash, self.held(&hash).unwrap_or(0).min(size))
            .send(file, size, library)?;
        if let Some(chunks) = chunks {
            let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
            cut.push((hash, chunks));
        }
        self.count(1, 0);
        Ok(())
    }

    /// Offers one file by itself; its number.
    fn offer(&self, put: Put) -> Result<u32, Closed> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let number = link.next_file;
        link.next_file += 1;
        let (puts, deletes) = (vec![put], Vec::new());
        let sent = link.link.send(Up::Delta(Delta { puts, deletes }));
        drop(link);
        sent.inspect_err(|_| self.broken.store(true, Ordering::Relaxed))?;
        Ok(number)
    }

    /// Whether small files are cut up.
    pub(crate) fn is_fine(&self) -> bool {
        self.fine.is_some() && self.is_new()
    }

    /// Takes note of the chunks of a small file that is sent.
    pub(crate) fn note_fine(&self, content: Digest, chunks: Chunks) {
        if let Some(fine) = &self.fine {
            let mut fine = fine.lock().unwrap_or_else(PoisonError::into_inner);
            fine.push((content, chunks));
        }
    }

    /// Sends what the server lacks of one small file.
    pub(crate) fn send_edited(
        &self,
        put: Put,
        (content, runs): (&[u8], &[Run]),
        packer: &mut Packer,
    ) -> Result<(), Closed> {
        let file = self.offer(put)?;
        let (mut fresh, mut known) = (0, 0);
        for run in runs {
            match *run {
                Run::Known(range) => {
                    known += range.len;
                    let ranges = vec![range];
                    self.send(Up::Reuse(Reuse { file, ranges }))?;
                }
                Run::Fresh(at, len) => {
                    fresh += len as u64;
                    let (packing, bytes) = self.packed(packer, content[at..at + len].to_vec());
                    let piece = Piece {
                        file,
                        offset: at as u64,
                        len: u32::try_from(len).expect("a small file fits a frame"),
                    };
                    self.send_data(Data {
                        pieces: vec![piece],
                        packing,
                        bytes,
                    })?;
                }
            }
        }
        self.reused(0, known);
        self.count(1, fresh);
        Ok(())
    }

    /// What small files were cut into since this was asked last.
    pub(crate) fn take_fine(&self) -> Vec<(Digest, Chunks)> {
        let Some(fine) = &self.fine else {
            return Vec::new();
        };
        std::mem::take(&mut *fine.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was cut since this was asked last.
    pub(crate) fn take_cut(&self) -> Cut {
        std::mem::take(&mut *self.cut.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts what the server has, and was not sent.
    pub(crate) fn reused(&self, files: u64, bytes: u64) {
        self.reused_files.fetch_add(files, Ordering::Relaxed);
        self.reused_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.observer.reused(Progress { files, bytes });
    }

    pub(crate) fn count(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.observer.transferred(Progress { files, bytes });
    }
}
