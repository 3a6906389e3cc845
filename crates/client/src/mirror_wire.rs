//! Between the mirror's messages and the wire's, as a client needs them: one to one.

use bytes::Bytes;
use legwork_proto::v1 as wire;
use legwork_sync::Digest;
use legwork_sync::message as mirror;
use legwork_sync::push::Compress;

/// A message of a commit.
pub(crate) fn up(message: mirror::Up) -> wire::commit_request::Message {
    use wire::commit_request::Message;
    match message {
        mirror::Up::Hello(hello) => Message::Hello(wire::Hello {
            version: hello.version,
            base: hello.base.as_ref().map(hash),
            dry_run: hello.dry_run,
            delete: match hello.delete {
                mirror::Delete::Owned => wire::DeletePolicy::Owned.into(),
                mirror::Delete::Nothing => wire::DeletePolicy::None.into(),
                mirror::Delete::Exact => wire::DeletePolicy::Exact.into(),
            },
            force_delete: hello.force_delete,
            client_time_ns: hello.client_time_ns,
            list_all: hello.list_all,
            named: hello.named,
            touched_only: hello.touched_only,
            live: hello.live,
            writer: hello.writer.map(|writer| wire::Writer {
                id: hash(&writer.id),
                name: writer.name,
                keeps: writer.keeps,
                takeover: writer.takeover,
                leaves: writer.leaves,
            }),
        }),
        mirror::Up::Rebase => Message::Rebase(wire::Rebase {}),
        mirror::Up::Delta(delta) => Message::Delta(wire::Delta {
            puts: delta.puts.into_iter().map(put).collect(),
            deletes: delta.deletes.into_iter().map(Bytes::from).collect(),
        }),
        mirror::Up::Data(data) => Message::Data(wire::Data {
            pieces: data
                .pieces
                .iter()
                .map(|piece| wire::Piece {
                    file: piece.file,
                    offset: piece.offset,
                    len: piece.len,
                })
                .collect(),
            packing: match data.packing {
                mirror::Packing::Plain => wire::Packing::Unspecified.into(),
                mirror::Packing::Zstd => wire::Packing::Zstd.into(),
            },
            bytes: data.bytes,
        }),
        mirror::Up::Reuse(reuse) => Message::Reuse(wire::Reuse {
            file: reuse.file,
            ranges: ranges(&reuse.ranges),
        }),
        mirror::Up::End(end) => Message::End(wire::End {
            root: hash(&end.root),
            unread: end.unread.into_iter().map(Bytes::from).collect(),
        }),
    }
}

fn hash(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

fn put(put: mirror::Put) -> wire::Put {
    let kind = match put.node {
        mirror::Node::Dir => wire::node::Kind::Dir(wire::Directory {}),
        mirror::Node::File {
            exec,
            size,
            hash: content,
        } => wire::node::Kind::File(wire::RegularFile {
            exec,
            size,
            hash: hash(&content),
        }),
        mirror::Node::Symlink { target } => wire::node::Kind::Symlink(wire::SymbolicLink {
            target: target.into(),
        }),
    };
    wire::Put {
        path: put.path.into(),
        node: Some(wire::Node { kind: Some(kind) }),
        mtime_ns: put.mtime_ns,
        send: put.send,
    }
}

/// A message to a committing client; `None` for one that makes no sense.
pub(crate) fn down(answer: wire::CommitResponse) -> Option<mirror::Down> {
    use wire::commit_response::Message;
    Some(match answer.message? {
        Message::Welcome(welcome) => mirror::Down::Welcome(mirror::Welcome {
            version: welcome.version,
            root: Digest::from_slice(&welcome.root)?,
            generation: welcome.generation,
            base_known: welcome.base_known,
            held: welcome.held,
        }),
        Message::Manifest(page) => mirror::Down::Manifest(mirror::ManifestPage {
            entries: page
                .entries
                .into_iter()
                .map(|entry| Some((entry.path.into(), node(entry.node?)?)))
                .collect::<Option<_>>()?,
            last: page.last,
        }),
        Message::Need(need) => mirror::Down::Need(mirror::Need {
            paths: need.paths.into_iter().map(Vec::from).collect(),
            last: need.last,
        }),
        Message::Waiting(waiting) => mirror::Down::Waiting(match waiting.reason() {
            wire::WaitingFor::Writer => mirror::Waiting::Writer,
            wire::WaitingFor::Lease | wire::WaitingFor::Unspecified => mirror::Waiting::Lease,
        }),
        Message::Held(page) => mirror::Down::Held(mirror::Held {
            contents: page.contents.iter().map(held).collect::<Option<_>>()?,
            last: page.last,
        }),
        Message::Committed(summary) => mirror::Down::Committed(self::summary(summary)?),
        Message::Plan(page) => mirror::Down::Plan(mirror::PlanPage {
            deed: match page.deed() {
                wire::Deed::Write => mirror::Deed::Write,
                wire::Deed::Delete => mirror::Deed::Delete,
                wire::Deed::Displace => mirror::Deed::Displace,
                wire::Deed::Keep => mirror::Deed::Keep,
                wire::Deed::Unspecified => return None,
            },
            paths: page.paths.into_iter().map(Vec::from).collect(),
        }),
        Message::Planned(summary) => mirror::Down::Planned(self::summary(summary)?),
    })
}

/// A source is said once as long as it stays the same.
fn ranges(ranges: &[mirror::Range]) -> Vec<wire::FileRange> {
    let mut last = None;
    let range = |range: &mirror::Range| wire::FileRange {
        offset: range.offset,
        len: range.len,
        source: match last.replace(range.source) {
            Some(last) if last == range.source => Bytes::new(),
            _ => hash(&range.source),
        },
        from: range.from,
    };
    ranges.iter().map(range).collect()
}

fn held(content: &wire::HeldContent) -> Option<mirror::HeldContent> {
    Some(mirror::HeldContent {
        hash: Digest::from_slice(&content.hash)?,
        len: content.len,
        whole: content.whole,
    })
}

fn node(node: wire::Node) -> Option<mirror::Node> {
    Some(match node.kind? {
        wire::node::Kind::Dir(wire::Directory {}) => mirror::Node::Dir,
        wire::node::Kind::File(file) => mirror::Node::File {
            exec: file.exec,
            size: file.size,
            hash: Digest::from_slice(&file.hash)?,
        },
        wire::node::Kind::Symlink(link) => mirror::Node::Symlink {
            target: link.target.into(),
        },
    })
}

fn summary(summary: wire::Summary) -> Option<mirror::Summary> {
    Some(mirror::Summary {
        root: Digest::from_slice(&summary.root)?,
        generation: summary.generation,
        entries: summary.entries,
        written: listing(summary.written),
        written_bytes: summary.written_bytes,
        deleted: listing(summary.deleted),
        displaced: listing(summary.displaced),
        kept: listing(summary.kept),
        trash: summary.trash,
    })
}

pub(crate) fn listing(listing: Option<wire::Listing>) -> mirror::Listing {
    let listing = listing.unwrap_or_default();
    mirror::Listing {
        total: listing.total,
        paths: listing.paths.into_iter().map(Vec::from).collect(),
    }
}

/// A message of a pull.
pub(crate) fn pull_up(message: mirror::PullUp) -> wire::pull_request::Message {
    use wire::pull_request::Message;
    match message {
        mirror::PullUp::Ask(ask) => Message::Ask(wire::Ask {
            version: ask.version,
            globs: ask.globs,
            compress: match ask.compress {
                Compress::Nothing => wire::Compression::Unspecified.into(),
                Compress::Auto => wire::Compression::Auto.into(),
                Compress::Near => wire::Compression::Near.into(),
                Compress::Zstd => wire::Compression::Zstd.into(),
            },
        }),
        mirror::PullUp::Want(want) => Message::Want(wire::Want {
            files: want.files,
            last: want.last,
        }),
    }
}

/// A message to a pulling client; `None` for one that makes no sense.
pub(crate) fn pull_down(answer: wire::PullResponse) -> Option<mirror::PullDown> {
    use wire::pull_response::Message;
    Some(match answer.message? {
        Message::Offer(offer) => mirror::PullDown::Offer(mirror::Offer {
            entries: offer
                .entries
                .into_iter()
                .map(|put| {
                    Some(mirror::Put {
                        path: put.path.into(),
                        node: node(put.node?)?,
                        mtime_ns: put.mtime_ns,
                        send: put.send,
                    })
                })
                .collect::<Option<_>>()?,
            unreadable: offer.unreadable.into_iter().map(Vec::from).collect(),
            last: offer.last,
        }),
        Message::Data(data) => mirror::PullDown::Data(mirror::Data {
            pieces: data
                .pieces
                .iter()
                .map(|piece| mirror::Piece {
                    file: piece.file,
                    offset: piece.offset,
                    len: piece.len,
                })
                .collect(),
            packing: match data.packing() {
                wire::Packing::Zstd => mirror::Packing::Zstd,
                wire::Packing::Plain | wire::Packing::Unspecified => mirror::Packing::Plain,
            },
            bytes: data.bytes,
        }),
        Message::Gone(gone) => mirror::PullDown::Gone { files: gone.files },
        Message::Done(wire::Done {}) => mirror::PullDown::Done,
    })
}

#[cfg(test)]
mod tests {
    use super::{Digest, mirror};

    #[test]
    fn a_source_is_said_once_where_it_stays_the_same() {
        let [a, b] = [1, 2].map(|byte| Digest([byte; 32]));
        let range = |offset, source| mirror::Range {
            offset,
            len: 5,
            source,
            from: 7,
        };
        let said = super::ranges(&[range(0, a), range(5, a), range(10, b), range(15, a)]);
        let sources: Vec<usize> = said.iter().map(|range| range.source.len()).collect();
        assert_eq!(sources, [32, 0, 32, 32]);
    }
}
