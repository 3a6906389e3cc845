//! What takes bytes that somebody else made, each as one function that must not panic whatever they are.
//!
//! The fuzz targets in `fuzz/` call these, and so do the property tests below with bytes of any kind and with damaged ones of the
//! right kind: a target that is no longer right shows with every run of the tests.

use std::path::Path;

use bytes::Bytes;

use crate::manifest;
use crate::message::{Data, MAX_FRAME, Packing, Piece};
use crate::pack::unpack::Unpacker;
use crate::path::TreePath;
use crate::pull::globs::Globs;
use crate::pull::record;
use crate::push::{cache, fine, library};
use crate::store::codec::{Format, Writer};
use crate::workspace::{hold, index, journal};

/// A path from the other side: what is taken leads nowhere but down.
///
/// # Panics
/// If it does not.
pub fn path(bytes: &[u8]) {
    let Ok(path) = TreePath::new(bytes) else {
        return;
    };
    assert_eq!(path.as_bytes(), bytes);
    let below = Path::new("/root").join(path.to_path_buf());
    assert_eq!(
        below.components().count(),
        2 + bytes.split(|byte| *byte == b'/').count(),
        "no name is left out, and none leads elsewhere"
    );
    let (parent, name) = path.split();
    assert_eq!(TreePath::join(parent, name).as_ref(), Ok(&path));
}

/// The pattern of a pull, and a path, apart by a line feed.
pub fn globs(bytes: &[u8]) {
    let (pattern, path) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &b"a/b"[..]),
    };
    let pattern = String::from_utf8_lossy(pattern).into_owned();
    if let (Ok(globs), Ok(path)) = (Globs::new(&[pattern]), TreePath::new(path)) {
        let path = path.as_bytes();
        let taken = globs.cover(path);
        assert!(!taken || !globs.spare(path));
        globs.lead_into(path);
    }
}

/// A frame of content: two bytes for how long it says it is, in units of 16 bytes, then what is packed.
///
/// # Panics
/// If it becomes something else than it says.
pub fn frame(bytes: &[u8]) {
    let Some((len, packed)) = bytes.split_first_chunk() else {
        return;
    };
    let len = u32::from(u16::from_le_bytes(*len)) * 16;
    for packing in [Packing::Zstd, Packing::Plain] {
        let data = Data {
            pieces: vec![Piece {
                file: 0,
                offset: 0,
                len,
            }],
            packing,
            bytes: Bytes::copy_from_slice(packed),
        };
        if let Ok(plain) = Unpacker::default().plain(data) {
            assert_eq!(plain.packing, Packing::Plain);
            assert!(plain.bytes.len() <= MAX_FRAME);
            assert!(packing == Packing::Plain || plain.bytes.len() == len as usize);
        }
    }
}

/// One of the mirror's own files, which a job may have written: a byte says which, the rest is what is in it. It gets the
/// right beginning and the right checksum, which whoever writes it on purpose can give it too.
/// Says whether it could be read.
pub fn stored(bytes: &[u8]) -> bool {
    let Some((which, body)) = bytes.split_first() else {
        return false;
    };
    let framed = |format: Format| Writer::around(format, body).finish();
    let at = Path::new("file");
    match which % 7 {
        0 => index::decode(&framed(index::FORMAT), at)
            .map(|index| {
                let tracked = index.tracked();
                let _checked = manifest::check(manifest::pairs(&tracked));
                manifest::bytes(&tracked)
            })
            .is_ok(),
        1 => journal::decode(&framed(journal::FORMAT), at).is_ok(),
        2 => cache::decode(&framed(cache::FORMAT), at).is_ok(),
        3 => library::decode(&framed(library::FORMAT), at).is_ok(),
        4 => hold::decode(&framed(hold::FORMAT), at).is_ok(),
        5 => record::decode(&framed(record::FORMAT), at).is_ok(),
        _ => fine::decode(&framed(fine::FORMAT), at).is_ok(),
    }
}

/// The same without help: beginning, version and checksum too are what they are.
pub fn file(bytes: &[u8]) {
    let at = Path::new("file");
    drop(index::decode(bytes, at));
    drop(journal::decode(bytes, at));
    drop(cache::decode(bytes, at));
    drop(library::decode(bytes, at));
    drop(hold::decode(bytes, at));
    drop(record::decode(bytes, at));
    drop(fine::decode(bytes, at));
}

/// Bytes of the right kind for [`frame`] and [`stored`], to be damaged.
#[must_use]
pub fn samples() -> Vec<Vec<u8>> {
    let text = b"the same words, and the same words again; ".repeat(40);
    let len = u16::try_from(text.len() / 16).expect("it is short");
    let mut frame = len.to_le_bytes().to_vec();
    let packed = zstd::bulk::compress(&text[..usize::from(len) * 16], 3);
    frame.extend(packed.expect("text can be compressed"));
    let mut samples = vec![frame];
    // A tree of three, with looks and without; what is read first differs, and then the entries come.
    let mut entries = 3_u64.to_le_bytes().to_vec();
    entries.extend(*b"\x00\x00\x00\x01\x00d");
    entries.extend(*b"\x12\x01\x00\x02\x00/f\x03\0\0\0\0\0\0\0");
    entries.extend([7; 32]);
    entries.extend([0; 48]);
    entries.extend(*b"\x03\x02\x00\x01\x00\xff\x04\x00../x");
    let digest = [7; 32];
    let number = 2_u64.to_le_bytes();
    let parts: [&[&[u8]]; 7] = [
        &[b"\x00\x04\0boot", &number, &digest, &entries, &entries],
        &[
            b"\x01",
            &number,
            &number,
            &digest,
            &digest,
            &entries,
            &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            b"a",
        ],
        &[b"\x02", &digest, &entries, &number, &[0; 8]],
        &[
            b"\x03",
            &1_u64.to_le_bytes(),
            &digest,
            &1_u64.to_le_bytes(),
            b"\x10\0",
            &[9; 16],
            &number,
        ],
        &[b"\x04", &digest, &number, b"\x04\0name"],
        &[b"\x05", &entries],
        &[
            b"\x06",
            &1_u64.to_le_bytes(),
            &digest,
            b"\x0a\0",
            &[9; 8],
            b"\x10\0",
        ],
    ];
    samples.extend(parts.into_iter().map(<[_]>::concat));
    samples
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::{file, frame, globs, path, samples, stored};

    /// One of the samples, with some bytes changed, taken out or put in.
    fn damaged() -> impl Strategy<Value = Vec<u8>> {
        let edit = (any::<Index>(), any::<u8>(), 0_usize..4);
        let edits = prop::collection::vec(edit, 0..6);
        (prop::sample::select(samples()), edits).prop_map(|(mut bytes, edits)| {
            for (at, byte, how) in edits {
                let at = at.index(bytes.len() + 1);
                match how {
                    0 => bytes.insert(at, byte),
                    1 => bytes.truncate(at.max(1)),
                    _ if at < bytes.len() => bytes[at] = byte,
                    _ => {}
                }
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            for entry in [path, globs, frame, file] {
                entry(&bytes);
            }
            stored(&bytes);
        }

        #[test]
        fn damaged_bytes(bytes in damaged()) {
            frame(&bytes);
            file(&bytes);
            stored(&bytes);
        }

        #[test]
        fn paths_and_patterns(text in "[a-b./*\\[\\]{},\\\\!\n\u{0}-]{0,20}") {
            path(text.as_bytes());
            globs(text.as_bytes());
        }
    }

    #[test]
    fn the_samples_are_read_and_halves_of_them_are_not() {
        let samples = samples();
        frame(&samples[0]);
        for sample in &samples[1..] {
            assert!(stored(sample), "{sample:?}");
            assert!(!stored(&sample[..sample.len() / 2]), "{sample:?}");
        }
        assert_eq!(samples.len(), 8);
    }
}
