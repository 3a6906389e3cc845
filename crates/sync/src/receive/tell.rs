//! What a client is told in the course of a session, in pages.

use crate::error::ReceiveError;
use crate::manifest::Entry;
use crate::message::{
    Down, Held, HeldContent, Hello, MAX_PAGE, ManifestPage, Need, Refusal, VERSION, Welcome,
};
use crate::path::TreePath;
use crate::receive::{MAX_ROUNDS, Session};
use crate::workspace::index::Index;
use crate::workspace::kept::Kept;

impl Session<'_> {
    /// Answers the hello; says whether the client's base is ours.
    pub(crate) fn welcome(
        &mut self,
        hello: &Hello,
        index: &Index,
        kept: &Kept,
    ) -> Result<bool, ReceiveError> {
        let base_known = hello.base == Some(index.root);
        let mut held: Vec<HeldContent> = Vec::new();
        if hello.version >= 2 {
            held.extend(kept.contents.iter().map(|(&hash, content)| HeldContent {
                hash,
                len: content.len,
                whole: content.whole,
            }));
        }
        self.sender.send(Down::Welcome(Welcome {
            version: hello.version.min(VERSION),
            root: index.root,
            generation: index.generation,
            base_known,
            held: !held.is_empty(),
        }))?;
        let mut pages = held.chunks(MAX_PAGE).peekable();
        while let Some(page) = pages.next() {
            let (contents, last) = (page.to_vec(), pages.peek().is_none());
            self.sender.send(Down::Held(Held { contents, last }))?;
        }
        Ok(base_known)
    }

    /// Sends what is tracked.
    pub(crate) fn manifest(&mut self, index: &Index) -> Result<(), ReceiveError> {
        let mut pages = index.entries.chunks(MAX_PAGE).peekable();
        loop {
            let page = pages.next().unwrap_or_default();
            let entry = |entry: &Entry| (entry.path.as_bytes().to_vec(), entry.node.clone());
            let (entries, last) = (page.iter().map(entry).collect(), pages.peek().is_none());
            self.sender
                .send(Down::Manifest(ManifestPage { entries, last }))?;
            if last {
                return Ok(());
            }
        }
    }

    /// Asks for content.
    pub(crate) fn need(&mut self, paths: &[TreePath], round: u32) -> Result<(), ReceiveError> {
        if round >= MAX_ROUNDS {
            let path = paths
                .first()
                .map(|path| path.as_bytes().to_vec())
                .unwrap_or_default();
            return Err(Refusal::HashMismatch { path }.into());
        }
        let mut pages = paths.chunks(MAX_PAGE).peekable();
        while let Some(page) = pages.next() {
            let paths = page.iter().map(|path| path.as_bytes().to_vec()).collect();
            self.sender.send(Down::Need(Need {
                paths,
                last: pages.peek().is_none(),
            }))?;
        }
        Ok(())
    }
}
