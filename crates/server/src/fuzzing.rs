//! What a client says, from bytes that anybody made, as functions that must not panic whatever they are.
//!
//! The fuzz targets in `fuzz/` call these, and so do the property tests below.

use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use legwork_proto::v1 as wire;
use legwork_sync::link;
use legwork_sync::message::Up;
use legwork_sync::receive;
use legwork_sync::workspace::Workspace;
use prost::Message;

use crate::mirror;

/// The messages of a commit, each with its length before it, as far as they are some.
fn messages(mut bytes: &[u8]) -> Vec<Up> {
    let mut messages = Vec::new();
    while let Ok(request) = wire::CommitRequest::decode_length_delimited(&mut bytes) {
        match request.message.map(mirror::up) {
            Some(Ok(message)) => messages.push(message),
            _ => break,
        }
    }
    messages
}

/// Says these messages to a server of a workspace in the empty directory `dir`.
///
/// # Panics
/// If anything comes to be beside the workspace, or it cannot be opened any more.
pub fn commit(bytes: &[u8], dir: &Path) {
    let messages = messages(bytes);
    if messages.is_empty() {
        return;
    }
    let place = dir.join("workspace");
    let open = || Workspace::open(&place, "boot").expect("it can be opened");
    let workspace = open();
    let now = || SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let options = receive::Options {
        max_entries: 1_000,
        max_bytes: 1 << 22,
        ..receive::Options::default()
    };
    let (client, server) = link::pair(4);
    thread::scope(|scope| {
        scope.spawn(|| receive::receive(&workspace, &options, server, &now));
        let sender = client.sender;
        scope.spawn(move || {
            for message in messages {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        while client.receiver.recv().is_ok() {}
    });
    drop(workspace);
    open().root().expect("its index can be read");
    let beside = std::fs::read_dir(dir).expect("it is ours");
    assert_eq!(beside.count(), 1);
}

/// A question and what is wanted of its answer, each with its length before it.
pub fn pull(mut bytes: &[u8]) {
    while let Ok(request) = wire::PullRequest::decode_length_delimited(&mut bytes) {
        match request.message.map(mirror::pull_up) {
            Some(message) => drop(message),
            None => break,
        }
    }
}

/// A whole commit for [`commit`], to be damaged: a directory, two files and a link.
#[must_use]
pub fn sample() -> Vec<u8> {
    use wire::commit_request::Message;
    use wire::node::Kind;
    let digest = |content: &[u8]| {
        bytes::Bytes::copy_from_slice(legwork_sync::Digest::of(content).as_bytes())
    };
    let put = |path: &str, kind: Kind, send| wire::Put {
        path: path.to_owned().into(),
        node: Some(wire::Node { kind: Some(kind) }),
        mtime_ns: 7,
        send,
    };
    let file = |content: &[u8]| {
        Kind::File(wire::RegularFile {
            exec: true,
            size: content.len() as u64,
            hash: digest(content),
        })
    };
    let target = bytes::Bytes::from_static(b"d/a");
    let piece = |file, len| wire::Piece {
        file,
        offset: 0,
        len,
    };
    let said = [
        Message::Hello(wire::Hello {
            version: 2,
            base: Some(bytes::Bytes::copy_from_slice(
                legwork_sync::manifest::empty_root().as_bytes(),
            )),
            force_delete: true,
            ..wire::Hello::default()
        }),
        Message::Delta(wire::Delta {
            puts: vec![
                put("d", Kind::Dir(wire::Directory {}), false),
                put("d/a", file(b"12"), true),
                put("l", Kind::Symlink(wire::SymbolicLink { target }), false),
                put("z", file(b"345"), true),
            ],
            deletes: Vec::new(),
        }),
        Message::Data(wire::Data {
            pieces: vec![piece(0, 2)],
            bytes: bytes::Bytes::from_static(b"12"),
            packing: 0,
        }),
        Message::Reuse(wire::Reuse {
            file: 1,
            ranges: vec![wire::FileRange {
                offset: 0,
                len: 3,
                source: digest(b"12"),
                from: 0,
            }],
        }),
        Message::End(wire::End {
            root: digest(b"some root"),
            unread: vec![bytes::Bytes::from_static(b"d/b")],
        }),
    ];
    let request = |message| wire::CommitRequest {
        message: Some(message),
        ..wire::CommitRequest::default()
    };
    let encoded = said.map(|message| request(message).encode_length_delimited_to_vec());
    encoded.concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::{commit, messages, pull, sample};

    fn heard(bytes: &[u8]) {
        let temp = tempfile::tempdir().unwrap();
        commit(bytes, temp.path());
        pull(bytes);
    }

    #[test]
    fn the_sample_is_understood() {
        assert_eq!(messages(&sample()).len(), 5);
        heard(&sample());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            heard(&bytes);
        }

        #[test]
        fn damaged_messages(edits in prop::collection::vec((any::<Index>(), any::<u8>()), 1..5)) {
            let mut bytes = sample();
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            heard(&bytes);
        }
    }
}
