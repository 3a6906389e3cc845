//! What takes bytes that somebody else made, each as one function that must not panic whatever they are.
//!
//! The fuzz targets in `fuzz/` call these, and so do the property tests below.

use crate::control::{Reply, Request, split};
use crate::exit::Exit;
use crate::index::{ENTRY_LEN, Entry};
use crate::journal::Journal;
use crate::launch::Launch;
use crate::spec::Spec;

/// What is said on a job's socket, by either side.
///
/// # Panics
/// If a frame takes more than there is, or a request is not what it says.
pub fn control(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((kind, payload, taken))) = split(rest) {
        assert!(taken <= rest.len() && payload.len() < taken);
        if let Ok(request) = Request::decode(kind, payload) {
            let raw = request.encode();
            let (kind, payload, _) = split(&raw).expect("it fits").expect("it is whole");
            assert_eq!(Request::decode(kind, payload).ok(), Some(request));
        }
        let _reply = Reply::decode(kind, payload);
        rest = &rest[taken..];
    }
}

/// What a job's directory holds: the journal's lines, and entries of the output's index.
///
/// # Panics
/// If an entry does not come back.
pub fn journal(bytes: &[u8]) {
    for journal in [Journal::parse(bytes), Journal::parse_ended(bytes)] {
        assert!(journal.end <= bytes.len());
        let _spec = journal.spec.map(serde_json::from_slice::<Spec>);
        let _launch = journal.launch.map(serde_json::from_slice::<Launch>);
        let _exit = journal.exit.map(serde_json::from_slice::<Exit>);
    }
    let (entries, _) = bytes.as_chunks::<ENTRY_LEN>();
    for raw in entries {
        let entry = Entry::decode(raw);
        assert_eq!(Entry::decode(&entry.encode()), entry);
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use proptest::prelude::*;

    use super::{control, journal};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            control(&bytes);
            journal(&bytes);
        }

        #[test]
        fn things_like_frames(kind in 0_u16..10, length in 0_u32..20, payload in "[ -~]{0,20}") {
            let frame = [&length.to_le_bytes()[..], &kind.to_le_bytes(), payload.as_bytes()].concat();
            control(&frame);
        }

        #[test]
        fn things_like_journals(
            kinds in prop::collection::vec("spec|launch|exit|other", 0..4), body in "[{}\":,0-9a-z]{0,12}", end in "\n|"
        ) {
            let lines: Vec<String> =
                kinds.iter().map(|kind| format!("{{\"{kind}\":{body}}}{end}")).collect();
            journal(lines.concat().as_bytes());
        }
    }
}
