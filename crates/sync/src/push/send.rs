//! From the scan to the outbox: entries that differ from the base, many small files to a frame.

use std::sync::atomic::Ordering;

use crate::message::{MAX_PAGE, Node, Put};
use crate::pack::Packer;
use crate::path::TreePath;
use crate::push::base::Base;
use crate::push::fine::{self, Chunks};
use crate::push::outbox::Outbox;
use crate::scan::{Content, Sink};

/// One worker's part of what is to be sent.
pub(crate) struct Batch<'a, 'link> {
    outbox: &'a Outbox<'link>,
    base: &'a Base<'a>,
    /// The server asked for what is offered: it is sent, whatever the server seems to have.
    asked: bool,
    puts: Vec<Put>,
    lens: Vec<u32>,
    buffer: Vec<u8>,
    packer: Packer,
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
            packer: Packer::default(),
        }
    }

    /// For what the server asked for.
    pub(crate) fn asked(outbox: &'a Outbox<'link>, nothing: &'a Base<'a>) -> Self {
        let mut batch = Self::new(outbox, nothing);
        batch.asked = true;
        batch
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
            Vec::with_capacity(self.outbox.blocks.frame() * 9 / 8)
        };
        let buffer = std::mem::replace(&mut self.buffer, fresh);
        let puts = std::mem::take(&mut self.puts);
        // A failure is remembered by the outbox, and stops the scan.
        let packer = &mut self.packer;
        let _noted = self.outbox.send_batch(puts, &self.lens, buffer, packer);
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
        if self.asked {
            self.outbox.unhold(hash);
        }
        let there = || {
            self.base.holds(hash) || self.outbox.is_past(hash) || self.outbox.held(hash).is_none()
        };
        let lacks = || !there() && self.outbox.is_first(hash);
        self.outbox.content && (self.asked || *size == 0 || lacks())
    }

    /// Sends a small file of which the server has the most; gives it back if it is to be sent as a whole.
    fn unless_edited(&mut self, put: Put, start: usize) -> Option<Put> {
        let content = &self.buffer[start..];
        let Node::File { hash, .. } = put.node else {
            return Some(put);
        };
        if !self.outbox.is_fine() || content.len() < fine::SMALLEST {
            return Some(put);
        }
        let chunks = Chunks::of(content);
        let was = TreePath::new(put.path.as_slice()).ok();
        let was = was.and_then(|path| self.base.fine(&path));
        let runs = was.and_then(|(source, other)| chunks.from(source, other));
        self.outbox.note_fine(hash, chunks);
        let Some(runs) = runs else {
            return Some(put);
        };
        let (runs, packer) = (&runs[..], &mut self.packer);
        // A failure is remembered by the outbox, and stops the scan.
        let _noted = self.outbox.send_edited(put, (content, runs), packer);
        self.buffer.truncate(start);
        None
    }

    fn take(&mut self, put: Put, content: Content<'_>) {
        let Node::File { size, .. } = put.node else {
            self.puts.push(put);
            return;
        };
        match content {
            Content::Buffered(start) if put.send => {
                let Some(put) = self.unless_edited(put, start) else {
                    return;
                };
                let len = self.buffer.len() - start;
                self.lens
                    .push(u32::try_from(len).expect("a buffered file fits a frame"));
                self.puts.push(put);
            }
            Content::File(file) if put.send => {
                self.flush();
                let rewound = rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0)).is_ok();
                let size = if rewound { size } else { 0 };
                let library = self.outbox.is_new().then(|| self.base.chunks());
                let packer = &mut self.packer;
                let _noted = self.outbox.send_large(put, (file, size), library, packer);
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
        if let (false, Node::File { size, .. }) = (send, node) {
            self.outbox.reused(1, *size);
        }
        let put = Put {
            path: path.as_bytes().to_vec(),
            node: node.clone(),
            mtime_ns,
            send,
        };
        self.take(put, content);
        if self.buffer.len() >= self.outbox.blocks.frame() || self.puts.len() >= MAX_PAGE {
            self.flush();
        }
    }

    fn whole(&self) -> usize {
        self.outbox.blocks.whole()
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
