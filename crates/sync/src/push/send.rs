//! From the scan to the link: entries that differ from the base, many small files to a frame.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::digest::Digest;
use crate::link::{Closed, Sending};
use crate::message::{Data, Delta, MAX_PAGE, Node, Piece, Put, TARGET_FRAME, Up};
use crate::observer::{Observer, Progress};
use crate::path::TreePath;
use crate::push::base::{Base, Contents};
use crate::scan::{Content, Sink};
use crate::tree::read;

/// The link's sending half, shared by all workers, and what was sent so far.
pub(crate) struct Outbox<'a> {
    link: Mutex<Numbered<'a>>,
    /// What is sent now would be thrown away: the server does not have the base.
    pub(crate) void: AtomicBool,
    broken: AtomicBool,
    /// Whether content is sent at all.
    content: bool,
    observer: &'a dyn Observer,
    pub(crate) files: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// What was sent since the base is what it is.
    sent: Mutex<Contents>,
}

struct Numbered<'a> {
    link: &'a mut dyn Sending<Up>,
    next_file: u32,
}

impl<'a> Outbox<'a> {
    pub(crate) fn new(
        link: &'a mut dyn Sending<Up>,
        content: bool,
        observer: &'a dyn Observer,
    ) -> Self {
        Self {
            link: Mutex::new(Numbered { link, next_file: 0 }),
            void: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            content,
            observer,
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            sent: Mutex::default(),
        }
    }

    /// Whether this content is offered for the first time.
    fn is_first(&self, hash: &Digest) -> bool {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.insert(hash)
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
    fn send_batch(&self, puts: Vec<Put>, lens: &[u32], bytes: Vec<u8>) -> Result<(), Closed> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut pieces, mut file, files) = (
            Vec::with_capacity(lens.len()),
            link.next_file,
            lens.len() as u64,
        );
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
        let size = bytes.len() as u64;
        let mut sent = link.link.send(Up::Delta(Delta {
            puts,
            deletes: Vec::new(),
        }));
        if sent.is_ok() && !pieces.is_empty() {
            sent = link.link.send(Up::Data(Data {
                pieces,
                bytes: Bytes::from(bytes),
            }));
        }
        drop(link);
        self.count(files, size);
        sent.inspect_err(|_| self.broken.store(true, Ordering::Relaxed))
    }

    /// Sends one large file piece by piece; exactly `size` bytes of it, fewer if it became shorter.
    fn send_large(&self, put: Put, size: u64, file: &OwnedFd) -> Result<(), Closed> {
        let number = {
            let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
            let number = link.next_file;
            link.next_file += 1;
            link.link.send(Up::Delta(Delta {
                puts: vec![put],
                deletes: Vec::new(),
            }))?;
            number
        };
        let mut offset = 0;
        while offset < size && !self.stop() {
            let mut bytes = Vec::with_capacity(TARGET_FRAME);
            let read = read::append(file, &mut bytes).unwrap_or(0);
            bytes.truncate(usize::try_from(size - offset).unwrap_or(usize::MAX));
            let Some(len) = u32::try_from(bytes.len()).ok().filter(|_| read > 0) else {
                break;
            };
            let piece = Piece {
                file: number,
                offset,
                len,
            };
            self.send(Up::Data(Data {
                pieces: vec![piece],
                bytes: bytes.into(),
            }))?;
            offset += u64::from(len);
            self.count(0, len.into());
        }
        self.count(1, 0);
        Ok(())
    }

    fn count(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.observer.transferred(Progress { files, bytes });
    }
}

/// One worker's part of what is to be sent.
pub(crate) struct Batch<'a, 'link> {
    outbox: &'a Outbox<'link>,
    base: &'a Base<'a>,
    /// The server asked for what is offered: it is sent, whatever the server seems to have.
    asked: bool,
    puts: Vec<Put>,
    lens: Vec<u32>,
    buffer: Vec<u8>,
}

impl<'a, 'link> Batch<'a, 'link> {
    pub(crate) fn new(outbox: &'a Outbox<'link>, base: &'a Base<'a>) -> Self {
        Self {
            outbox,
            base,
            asked: false,
            puts: Vec::new(),
            lens: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// For what the server asked for.
    pub(crate) fn asked(outbox: &'a Outbox<'link>, nothing: &'a Base<'a>) -> Self {
        Self {
            asked: true,
            ..Self::new(outbox, nothing)
        }
    }

    /// Sends what is collected.
    pub(crate) fn flush(&mut self) {
        if self.puts.is_empty() {
            self.buffer.clear();
            return;
        }
        let fresh = if self.buffer.is_empty() {
            Vec::new()
        } else {
            Vec::with_capacity(TARGET_FRAME * 9 / 8)
        };
        let buffer = std::mem::replace(&mut self.buffer, fresh);
        let puts = std::mem::take(&mut self.puts);
        // A failure is remembered by the outbox, and stops the scan.
        let _noted = self.outbox.send_batch(puts, &self.lens, buffer);
        self.lens.clear();
    }

    fn is_new(&self, path: &TreePath, node: &Node) -> bool {
        self.base.get(path).is_none_or(|base| base != node)
    }

    /// Whether content has to be sent. What the server has at any path, or is sent already, it copies by itself.
    fn is_sent(&self, node: &Node) -> bool {
        let Node::File { hash, size, .. } = node else {
            return false;
        };
        let lacks = || !self.base.holds(hash) && self.outbox.is_first(hash);
        self.outbox.content && (self.asked || *size == 0 || lacks())
    }

    fn take(&mut self, put: Put, content: Content<'_>) {
        let Node::File { size, .. } = put.node else {
            self.puts.push(put);
            return;
        };
        match content {
            Content::Buffered(start) if put.send => {
                let len = self.buffer.len() - start;
                self.lens
                    .push(u32::try_from(len).expect("a buffered file fits a frame"));
                self.puts.push(put);
            }
            Content::File(file) if put.send => {
                self.flush();
                let rewound = rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0)).is_ok();
                let size = if rewound { size } else { 0 };
                let _noted = self.outbox.send_large(put, size, file);
            }
            Content::Buffered(start) => {
                self.buffer.truncate(start);
                self.puts.push(put);
            }
            Content::File(_) | Content::None => self.puts.push(put),
        }
    }
}

impl Sink for Batch<'_, '_> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    fn offer(&mut self, path: &TreePath, node: &Node, mtime_ns: i64, content: Content<'_>) {
        let void = self.outbox.void.load(Ordering::Relaxed);
        if void || !self.is_new(path, node) {
            if let Content::Buffered(start) = content {
                self.buffer.truncate(start);
            }
            return;
        }
        let send = self.is_sent(node);
        let put = Put {
            path: path.as_bytes().to_vec(),
            node: node.clone(),
            mtime_ns,
            send,
        };
        self.take(put, content);
        if self.buffer.len() >= TARGET_FRAME || self.puts.len() >= MAX_PAGE {
            self.flush();
        }
    }

    fn stop(&self) -> bool {
        self.outbox.stop()
    }
}

/// The last of it goes out with the worker.
impl Drop for Batch<'_, '_> {
    fn drop(&mut self) {
        self.flush();
    }
}
