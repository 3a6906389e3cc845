//! What a server says, from bytes that anybody made, as functions that must not panic whatever they are.
//!
//! The fuzz targets in `fuzz/` call these, and so do the property tests below.

use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use legwork_proto::v1 as wire;
use legwork_proto::v1::node::Kind;
use legwork_sync::link;
use legwork_sync::message::{Down, PullDown, Up};
use legwork_sync::{pull, push};
use prost::Message;

use crate::mirror_wire;

const SECRET: &[u8] = b"not for anybody";

/// Messages, each with its length before it, as far as they are some.
fn messages<W: Message + Default, M>(mut bytes: &[u8], read: impl Fn(W) -> Option<M>) -> Vec<M> {
    let mut messages = Vec::new();
    while let Ok(answer) = W::decode_length_delimited(&mut bytes) {
        let Some(message) = read(answer) else { break };
        messages.push(message);
    }
    messages
}

/// Lets a server say these messages to a client that pushes a directory, which is made in the empty `dir`.
///
/// # Panics
/// If that sends what is ignored there, or anything comes to be in the directory.
pub fn commit(bytes: &[u8], dir: &Path) {
    let messages: Vec<Down> = messages(bytes, mirror_wire::down);
    let source = dir.join("source");
    let write = |name: &str, content: &[u8]| {
        std::fs::write(source.join(name), content).expect("it is ours");
    };
    std::fs::create_dir(&source).expect("it is ours");
    write("a", b"12");
    write("z", b"345");
    write(".legworkignore", b"secret");
    write("secret", SECRET);
    let mut options =
        push::Options::at(SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000));
    options.git_ignores = None;
    let (client, server) = link::pair(4);
    thread::scope(|scope| {
        scope.spawn(move || {
            let sender = server.sender;
            for message in messages {
                if sender.send(message).is_err() {
                    break;
                }
            }
            drop(sender);
            for message in server.receiver {
                if let Up::Data(data) = message {
                    assert!(!data.bytes.windows(SECRET.len()).any(|part| part == SECRET));
                }
            }
        });
        // Whatever comes of it.
        drop(push::push(
            &source,
            &options,
            &dir.join("cache"),
            client,
            &(),
        ));
    });
    let there = std::fs::read_dir(&source).expect("it is ours");
    assert_eq!(there.count(), 4);
}

/// Lets a server say these messages to a client that pulls into a directory, which is made in the empty `dir`.
///
/// # Panics
/// If anything comes to be beside it.
pub fn pulled(bytes: &[u8], dir: &Path) {
    let messages: Vec<PullDown> = messages(bytes, mirror_wire::pull_down);
    let into = dir.join("into");
    std::fs::create_dir(&into).expect("it is ours");
    let options = pull::Options {
        globs: vec!["d".to_owned(), "*.o".to_owned()],
        ..pull::Options::default()
    };
    let (client, server) = link::pair(4);
    thread::scope(|scope| {
        scope.spawn(move || {
            for message in messages {
                if server.sender.send(message).is_err() {
                    break;
                }
            }
            drop(server.sender);
            while server.receiver.recv().is_ok() {}
        });
        // Whatever comes of it.
        drop(pull::pull(
            &into,
            &options,
            &dir.join("record"),
            client,
            &(),
        ));
    });
    for entry in std::fs::read_dir(dir).expect("it is ours").flatten() {
        let name = entry.file_name();
        assert!(name == "into" || name == "record", "{name:?}");
    }
}

fn digest(content: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(legwork_sync::Digest::of(content).as_bytes())
}

fn file(content: &[u8]) -> wire::Node {
    wire::Node {
        kind: Some(Kind::File(wire::RegularFile {
            exec: false,
            size: content.len() as u64,
            hash: digest(content),
        })),
    }
}

/// What a server may say to a push, to be damaged.
#[must_use]
pub fn commit_sample() -> Vec<u8> {
    use wire::commit_response::Message::{Committed, Held, Manifest, Need, Welcome};
    let said = [
        Welcome(wire::Welcome {
            version: 2,
            root: digest(b"base"),
            generation: 3,
            base_known: false,
            held: true,
        }),
        Held(wire::Held {
            contents: vec![wire::HeldContent {
                hash: digest(b"12"),
                len: 2,
                whole: true,
            }],
            last: true,
        }),
        Manifest(wire::ManifestPage {
            entries: vec![wire::ManifestEntry {
                path: bytes::Bytes::from_static(b"a"),
                node: Some(file(b"12")),
            }],
            last: true,
        }),
        Need(wire::Need {
            paths: vec![bytes::Bytes::from_static(b"z")],
            last: true,
        }),
        Committed(wire::Summary {
            root: digest(b"root"),
            ..wire::Summary::default()
        }),
    ];
    let encoded = said.map(|message| {
        let message = Some(message);
        wire::CommitResponse { message }.encode_length_delimited_to_vec()
    });
    encoded.concat()
}

/// The same to a pull.
#[must_use]
pub fn pull_sample() -> Vec<u8> {
    use wire::pull_response::Message::{Data, Done, Offer};
    let link = wire::Node {
        kind: Some(Kind::Symlink(wire::SymbolicLink {
            target: bytes::Bytes::from_static(b"../x"),
        })),
    };
    let put = |path: &'static str, node| wire::Put {
        path: path.into(),
        node: Some(node),
        ..wire::Put::default()
    };
    let piece = |file, len| wire::Piece {
        file,
        offset: 0,
        len,
    };
    let said = [
        Offer(wire::Offer {
            entries: vec![
                put("b.o", file(b"12")),
                put("d/l", link),
                put("d/m", file(b"345")),
            ],
            unreadable: vec![bytes::Bytes::from_static(b"d/no")],
            last: true,
        }),
        Data(wire::Data {
            pieces: vec![piece(0, 2), piece(2, 3)],
            bytes: bytes::Bytes::from_static(b"12345"),
            packing: 0,
        }),
        Done(wire::Done {}),
    ];
    let encoded = said.map(|message| {
        let message = Some(message);
        wire::PullResponse { message }.encode_length_delimited_to_vec()
    });
    encoded.concat()
}

#[cfg(test)]
mod tests {
    use legwork_sync::message::{Down, PullDown};
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::{commit, commit_sample, messages, pull_sample, pulled};
    use crate::mirror_wire;

    fn heard(bytes: &[u8]) {
        let temp = tempfile::tempdir().unwrap();
        for (name, entry) in [("push", commit as fn(_, &_)), ("pull", pulled)] {
            let dir = temp.path().join(name);
            std::fs::create_dir(&dir).unwrap();
            entry(bytes, &dir);
        }
    }

    #[test]
    fn the_samples_are_understood() {
        let (said, brought) = (commit_sample(), pull_sample());
        let downs: Vec<Down> = messages(&said, mirror_wire::down);
        assert_eq!(downs.len(), 5);
        let downs: Vec<PullDown> = messages(&brought, mirror_wire::pull_down);
        assert_eq!(downs.len(), 3);
        heard(&said);
        let temp = tempfile::tempdir().unwrap();
        pulled(&brought, temp.path());
        assert_eq!(std::fs::read(temp.path().join("into/b.o")).unwrap(), b"12");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            heard(&bytes);
        }

        #[test]
        fn damaged_messages(
            which: bool,
            edits in prop::collection::vec((any::<Index>(), any::<u8>()), 1..5),
        ) {
            let mut bytes = if which { commit_sample() } else { pull_sample() };
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            heard(&bytes);
        }
    }
}
