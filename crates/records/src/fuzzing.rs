//! What takes bytes that somebody else made, each as one function that must not panic whatever they are.
//!
//! The fuzz targets in `fuzz/` call these, and so do the property tests below.

use std::fs::File;
use std::path::Path;

use crate::batch::Observed;
use crate::line::{CRC_LEN, Line, complete};
use crate::query::Cursor;
use crate::segment::index::Index;
use crate::segment::packed::Packed;
use crate::{Timestamp, Validator};

/// A line of a log: as it is, and with the checksum that makes it whole. Says whether that is read.
///
/// # Panics
/// If it has what it has not.
pub fn line(bytes: &[u8]) -> bool {
    let mut whole = bytes.strip_suffix(b"\n").unwrap_or(bytes).to_vec();
    let _as_it_is = Line::parse(&whole);
    let crc = crc32fast::hash(&whole);
    whole.extend_from_slice(format!(",\"crc\":\"{crc:08x}\"}}").as_bytes());
    let Some(line) = Line::parse(&whole) else {
        return false;
    };
    assert!(complete(&whole));
    assert!(line.body.len() + CRC_LEN <= whole.len());
    let _when = line.received_at();
    true
}

/// A batch of records, as a sender sends it. What is taken is JSON, and taken again as it is.
///
/// # Panics
/// If it is not.
pub fn batch(bytes: &[u8]) {
    let Ok(taken) = Validator::default().batch(bytes, Observed::Unsaid, None) else {
        return;
    };
    for (record, _) in taken.records() {
        serde_json::from_slice::<serde::de::IgnoredAny>(record).expect("it is JSON");
        let again = Validator::default().batch(record, Observed::Unsaid, None);
        let again = again.expect("it was taken before");
        let kept: Vec<_> = again.records().map(|(record, _)| record.to_vec()).collect();
        assert_eq!(kept, [record.to_vec()]);
    }
}

/// An index or a packed segment: a file at `path`, which is made anew.
pub fn segment(bytes: &[u8], path: &Path) {
    if std::fs::write(path, bytes).is_err() {
        return;
    }
    if let Some(index) = Index::read(path) {
        let block = index.block_of(7);
        index.end_of(block);
    }
    let _summary = Index::summary(path);
    if let Ok(file) = File::open(path)
        && let Ok(packed) = Packed::open(file)
        && packed.length() < 1 << 20
    {
        let mut lines = Vec::new();
        let _read = packed.read(1, packed.length(), &mut lines);
    }
}

/// Text that says when, or where to go on.
pub fn words(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _when = Timestamp::parse(text);
        let _where: Result<Cursor, _> = text.parse();
    }
}

/// A line without its checksum, to be damaged.
#[must_use]
pub fn sample() -> Vec<u8> {
    concat!(
        r#"{"seq":7,"received_at":"2026-11-22T12:21:35.123456Z","observed_at":"2026-11-22T12:21:35Z","client":"web-1","#,
        r#""host":"web-1.example","stream":"process","batch":{"p":"k3v9","s":12,"i":0,"n":2,"h":"01234567"},"#,
        r#""synced":6,"data":{"a":[1,{"b":"\u00e9"}]}"#,
    )
    .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::{batch, line, sample, segment, words};

    #[test]
    fn the_sample_is_read() {
        assert!(line(&sample()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            let temp = tempfile::tempdir().unwrap();
            line(&bytes);
            batch(&bytes);
            words(&bytes);
            segment(&bytes, &temp.path().join("segment"));
        }

        #[test]
        fn damaged_lines(edits in prop::collection::vec((any::<Index>(), any::<u8>(), any::<bool>()), 1..5)) {
            let mut bytes = sample();
            for (at, byte, cut) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                if cut {
                    bytes.remove(at);
                }
            }
            line(&bytes);
        }

        #[test]
        fn things_like_json(text in "[]\\[{}\":,0-9a\\\\ \n-]{0,24}") {
            batch(text.as_bytes());
            line(text.as_bytes());
            line(format!("{{\"seq\":{text}").as_bytes());
            words(text.as_bytes());
        }
    }
}
