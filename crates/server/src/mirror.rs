//! Between the mirror's messages and the wire's, as the server needs them: one to one.

use bytes::Bytes;
use legwork_proto::v1 as wire;
use legwork_sync::Digest;
use legwork_sync::message as mirror;
use legwork_sync::push::Compress;

use crate::problem::Problem;

/// A message of a committing client.
pub(crate) fn up(message: wire::commit_request::Message) -> Result<mirror::Up, Problem> {
    use wire::commit_request::Message;
    Ok(match message {
        Message::Hello(hello) => mirror::Up::Hello(mirror::Hello {
            version: hello.version,
            delete: match hello.delete() {
                wire::DeletePolicy::None => mirror::Delete::Nothing,
                wire::DeletePolicy::Exact => mirror::Delete::Exact,
                wire::DeletePolicy::Owned | wire::DeletePolicy::Unspecified => {
                    mirror::Delete::Owned
                }
            },
            base: hello.base.map(|base| digest(&base)).transpose()?,
            dry_run: hello.dry_run,
            force_delete: hello.force_delete,
            client_time_ns: hello.client_time_ns,
            list_all: hello.list_all,
            named: hello.named,
            touched_only: hello.touched_only,
            live: hello.live,
            writer: hello.writer.map(writer).transpose()?,
        }),
        Message::Rebase(wire::Rebase {}) => mirror::Up::Rebase,
        Message::Delta(delta) => mirror::Up::Delta(mirror::Delta {
            puts: delta.puts.into_iter().map(put).collect::<Result<_, _>>()?,
            deletes: delta.deletes.into_iter().map(Vec::from).collect(),
        }),
        Message::Data(data) => mirror::Up::Data(mirror::Data {
            packing: match data.packing() {
                wire::Packing::Zstd => mirror::Packing::Zstd,
                wire::Packing::Plain | wire::Packing::Unspecified => mirror::Packing::Plain,
            },
            pieces: data
                .pieces
                .iter()
                .map(|piece| mirror::Piece {
                    file: piece.file,
                    offset: piece.offset,
                    len: piece.len,
                })
                .collect(),
            bytes: data.bytes,
        }),
        Message::Reuse(reuse) => mirror::Up::Reuse(mirror::Reuse {
            file: reuse.file,
            ranges: ranges(&reuse.ranges)?,
        }),
        Message::End(end) => mirror::Up::End(mirror::End {
            root: digest(&end.root)?,
            unread: end.unread.into_iter().map(Vec::from).collect(),
        }),
    })
}

/// A source that is left out is that of the range before.
fn ranges(ranges: &[wire::FileRange]) -> Result<Vec<mirror::Range>, Problem> {
    let mut last = None;
    let range = |range: &wire::FileRange| {
        if !range.source.is_empty() {
            last = Some(digest(&range.source)?);
        }
        let source = last.ok_or_else(|| Problem::malformed("a range of no file"))?;
        Ok(mirror::Range {
            offset: range.offset,
            len: range.len,
            source,
            from: range.from,
        })
    };
    ranges.iter().map(range).collect()
}

fn writer(writer: wire::Writer) -> Result<mirror::Writer, Problem> {
    Ok(mirror::Writer {
        id: digest(&writer.id)?,
        name: writer.name,
        keeps: writer.keeps,
        takeover: writer.takeover,
        leaves: writer.leaves,
    })
}

fn digest(bytes: &Bytes) -> Result<Digest, Problem> {
    Digest::from_slice(bytes).ok_or_else(|| Problem::malformed("a hash that has not 32 bytes"))
}

fn put(put: wire::Put) -> Result<mirror::Put, Problem> {
    let kind = put.node.and_then(|node| node.kind);
    let node = match kind.ok_or_else(|| Problem::malformed("an entry that is nothing"))? {
        wire::node::Kind::Dir(wire::Directory {}) => mirror::Node::Dir,
        wire::node::Kind::File(file) => mirror::Node::File {
            exec: file.exec,
            size: file.size,
            hash: digest(&file.hash)?,
        },
        wire::node::Kind::Symlink(link) => mirror::Node::Symlink {
            target: link.target.into(),
        },
    };
    Ok(mirror::Put {
        path: put.path.into(),
        node,
        mtime_ns: put.mtime_ns,
        send: put.send,
    })
}

/// A message to a committing client. A refusal ends the call as its status.
pub(crate) fn down(message: mirror::Down) -> Result<wire::CommitResponse, Problem> {
    use wire::commit_response::Message;
    let message = match message {
        mirror::Down::Welcome(welcome) => Message::Welcome(wire::Welcome {
            version: welcome.version,
            root: hash(&welcome.root),
            generation: welcome.generation,
            base_known: welcome.base_known,
            held: welcome.held,
        }),
        mirror::Down::Held(page) => Message::Held(wire::Held {
            contents: page.contents.iter().map(held).collect(),
            last: page.last,
        }),
        mirror::Down::Manifest(page) => Message::Manifest(wire::ManifestPage {
            entries: page
                .entries
                .into_iter()
                .map(|(path, kind)| wire::ManifestEntry {
                    path: path.into(),
                    node: Some(node(kind)),
                })
                .collect(),
            last: page.last,
        }),
        mirror::Down::Need(need) => Message::Need(wire::Need {
            paths: need.paths.into_iter().map(Bytes::from).collect(),
            last: need.last,
        }),
        mirror::Down::Waiting(reason) => Message::Waiting(wire::Waiting {
            reason: match reason {
                mirror::Waiting::Writer => wire::WaitingFor::Writer.into(),
                mirror::Waiting::Lease => wire::WaitingFor::Lease.into(),
            },
            jobs: Vec::new(),
        }),
        mirror::Down::Committed(summary) => Message::Committed(self::summary(summary)),
        mirror::Down::Plan(page) => Message::Plan(wire::PlanPage {
            deed: match page.deed {
                mirror::Deed::Write => wire::Deed::Write.into(),
                mirror::Deed::Delete => wire::Deed::Delete.into(),
                mirror::Deed::Displace => wire::Deed::Displace.into(),
                mirror::Deed::Keep => wire::Deed::Keep.into(),
            },
            paths: page.paths.into_iter().map(Bytes::from).collect(),
        }),
        mirror::Down::Planned(summary) => Message::Planned(self::summary(summary)),
        mirror::Down::Refused(refusal) => return Err(refusal.into()),
    };
    Ok(wire::CommitResponse {
        message: Some(message),
    })
}

fn held(content: &mirror::HeldContent) -> wire::HeldContent {
    wire::HeldContent {
        hash: hash(&content.hash),
        len: content.len,
        whole: content.whole,
    }
}

fn hash(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

fn node(node: mirror::Node) -> wire::Node {
    let kind = match node {
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
    wire::Node { kind: Some(kind) }
}

fn summary(summary: mirror::Summary) -> wire::Summary {
    wire::Summary {
        root: hash(&summary.root),
        generation: summary.generation,
        entries: summary.entries,
        written: Some(listing(summary.written)),
        written_bytes: summary.written_bytes,
        deleted: Some(listing(summary.deleted)),
        displaced: Some(listing(summary.displaced)),
        kept: Some(listing(summary.kept)),
        trash: summary.trash,
    }
}

fn listing(listing: mirror::Listing) -> wire::Listing {
    wire::Listing {
        total: listing.total,
        paths: listing.paths.into_iter().map(Bytes::from).collect(),
    }
}

/// A message of a pulling client.
pub(crate) fn pull_up(message: wire::pull_request::Message) -> mirror::PullUp {
    match message {
        wire::pull_request::Message::Ask(ask) => mirror::PullUp::Ask(mirror::Ask {
            version: ask.version,
            compress: match ask.compress() {
                wire::Compression::Unspecified => Compress::Nothing,
                wire::Compression::Auto => Compress::Auto,
                wire::Compression::Near => Compress::Near,
                wire::Compression::Zstd => Compress::Zstd,
            },
            globs: ask.globs,
        }),
        wire::pull_request::Message::Want(want) => mirror::PullUp::Want(mirror::Want {
            files: want.files,
            last: want.last,
        }),
    }
}

/// A message to a pulling client.
pub(crate) fn pull_down(message: mirror::PullDown) -> Result<wire::PullResponse, Problem> {
    use wire::pull_response::Message;
    let message = match message {
        mirror::PullDown::Offer(offer) => Message::Offer(wire::Offer {
            entries: offer
                .entries
                .into_iter()
                .map(|put| wire::Put {
                    path: put.path.into(),
                    node: Some(node(put.node)),
                    mtime_ns: put.mtime_ns,
                    send: put.send,
                })
                .collect(),
            unreadable: offer.unreadable.into_iter().map(Bytes::from).collect(),
            last: offer.last,
        }),
        mirror::PullDown::Data(data) => Message::Data(wire::Data {
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
        mirror::PullDown::Gone { files } => Message::Gone(wire::Gone { files }),
        mirror::PullDown::Done => Message::Done(wire::Done {}),
        mirror::PullDown::Refused(refusal) => return Err(refusal.into()),
    };
    Ok(wire::PullResponse {
        message: Some(message),
    })
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{Bytes, down, mirror, ranges, wire};
    use legwork_sync::Digest;

    /// All that is said where nothing changed.
    #[test]
    fn no_change_takes_few_bytes() {
        let hash = || Bytes::from_static(&[1; 32]);
        let hello = wire::commit_request::Message::Hello(wire::Hello {
            version: mirror::VERSION,
            base: Some(hash()),
            dry_run: false,
            delete: wire::DeletePolicy::Owned.into(),
            force_delete: false,
            client_time_ns: i64::MAX,
            ..wire::Hello::default()
        });
        let end = wire::commit_request::Message::End(wire::End {
            root: hash(),
            ..wire::End::default()
        });
        // The workspace goes with the first: by its name, or by the path of what is mirrored.
        let said = [hello, end].map(|message| wire::CommitRequest {
            message: Some(message),
            ..wire::CommitRequest::default()
        });
        let said: usize = said.iter().map(Message::encoded_len).sum();
        assert!(said < 128, "{said}");
        let root = Digest([1; 32]);
        let welcome = mirror::Down::Welcome(mirror::Welcome {
            version: mirror::VERSION,
            root,
            generation: u64::MAX,
            base_known: true,
            held: false,
        });
        let committed = mirror::Down::Committed(mirror::Summary {
            root,
            generation: u64::MAX,
            entries: u64::MAX,
            written: mirror::Listing::default(),
            written_bytes: 0,
            deleted: mirror::Listing::default(),
            displaced: mirror::Listing::default(),
            kept: mirror::Listing::default(),
            trash: String::new(),
        });
        let answers = [welcome, committed].map(|answer| down(answer).unwrap().encoded_len());
        assert!(answers.iter().sum::<usize>() < 256, "{answers:?}");
    }

    #[test]
    fn a_range_has_the_source_of_the_one_before_and_the_first_has_one() {
        let range = |source: &[u8]| wire::FileRange {
            offset: 0,
            len: 1,
            source: Bytes::copy_from_slice(source),
            from: 0,
        };
        let read = ranges(&[range(&[1; 32]), range(&[]), range(&[2; 32])]).unwrap();
        let sources: Vec<u8> = read
            .iter()
            .map(|range| range.source.as_bytes()[0])
            .collect();
        assert_eq!(sources, [1, 1, 2]);
        assert!(ranges(&[range(&[])]).is_err());
        assert!(ranges(&[range(&[1; 31])]).is_err());
    }
}
