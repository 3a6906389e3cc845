//! The file that tells a job's story: what was asked, that it was launched, how it ended.
//!
//! One line of JSON for each of the three, under its name, in this order, appended and never changed:
//!
//! ```text
//! {"spec":{"version":1,…}}
//! {"launch":{"version":1,…}}
//! {"exit":{"version":1,…}}
//! ```
//!
//! The launcher writes the first line, the shim, which holds the lock on the file ([`crate::lock`]), the others. A line
//! counts once its line feed is there, so a reader never sees half a record. The exit's line feed is written only when the rest of the
//! line is durable: an end that can be seen cannot be unmade by a power failure. The line feed itself may be: whoever knows that nobody
//! writes any more may take an unterminated last line that is whole otherwise ([`Journal::parse_ended`]).
//!
//! One file and not four, because each file that is made and synced costs a short job more than all the rest of it.

use alloc::vec::Vec;

use serde::Serialize;

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// [`crate::spec::Spec`]: what to run.
    Spec,
    /// [`crate::launch::Launch`]: the payload may have run.
    Launch,
    /// [`crate::exit::Exit`]: how it ended.
    Exit,
}

impl Line {
    const ALL: [Self; 3] = [Self::Spec, Self::Launch, Self::Exit];

    const fn opening(self) -> &'static [u8] {
        match self {
            Self::Spec => br#"{"spec":"#,
            Self::Launch => br#"{"launch":"#,
            Self::Exit => br#"{"exit":"#,
        }
    }

    /// The bytes of such a line, with its line feed.
    ///
    /// # Errors
    /// What cannot be JSON, of which there is nothing in the records of this crate.
    pub fn encode(self, record: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = self.opening().to_vec();
        line.extend(serde_json::to_vec(record)?);
        line.extend(CLOSING);
        line.push(b'\n');
        Ok(line)
    }
}

const CLOSING: &[u8] = b"}";

/// What stands in a journal: the JSON of each record that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Journal<'a> {
    /// Of [`crate::spec::Spec`].
    pub spec: Option<&'a [u8]>,
    /// Of [`crate::launch::Launch`].
    pub launch: Option<&'a [u8]>,
    /// Of [`crate::exit::Exit`].
    pub exit: Option<&'a [u8]>,
    /// Whole lines that are none of these: damage, or a newer version's.
    pub others: usize,
    /// Bytes of whole lines: where the next one begins.
    pub end: usize,
}

impl<'a> Journal<'a> {
    /// Reads what somebody may still be writing.
    #[must_use]
    pub fn parse(raw: &'a [u8]) -> Self {
        let mut journal = Self::default();
        for line in raw.split_inclusive(|byte| *byte == b'\n') {
            if let Some(whole) = line.strip_suffix(b"\n") {
                journal.end += line.len();
                journal.take(whole);
            }
        }
        journal
    }

    /// Reads what nobody writes any more, so that a last line without its line feed is one all the same if it is JSON. After a power
    /// failure there may be zeros in its place: file systems may make a file's new length durable before what was written there.
    #[must_use]
    pub fn parse_ended(raw: &'a [u8]) -> Self {
        let mut journal = Self::parse(raw);
        let rest = &raw[journal.end..];
        let zeros = rest.iter().rev().take_while(|byte| **byte == 0).count();
        let rest = &rest[..rest.len() - zeros];
        if serde_json::from_slice::<serde::de::IgnoredAny>(rest).is_ok() {
            journal.take(rest);
        }
        journal
    }

    fn take(&mut self, line: &'a [u8]) {
        let found = Line::ALL.into_iter().find_map(|kind| {
            let record = line.strip_prefix(kind.opening())?;
            Some((kind, record.strip_suffix(CLOSING)?))
        });
        let place = match found {
            Some((Line::Spec, _)) => &mut self.spec,
            Some((Line::Launch, _)) => &mut self.launch,
            Some((Line::Exit, _)) => &mut self.exit,
            None => {
                self.others += 1;
                return;
            }
        };
        // The first of a kind is the one that was acted upon.
        *place = place.or(found.map(|(_, record)| record));
    }
}

#[cfg(test)]
mod tests {
    use super::{Journal, Line};

    const WHOLE: &[u8] = b"{\"spec\":{\"a\":\"\\n\"}}\n{\"launch\":2}\n{\"exit\":3}\n";

    #[test]
    fn the_lines_are_pinned() {
        let mut raw = Line::Spec
            .encode(&std::collections::HashMap::from([("a", "\n")]))
            .unwrap();
        raw.extend(Line::Launch.encode(&2).unwrap());
        raw.extend(Line::Exit.encode(&3).unwrap());
        assert_eq!(raw, WHOLE);
        let journal = Journal::parse(&raw);
        assert_eq!(journal.spec, Some(br#"{"a":"\n"}"#.as_slice()));
        assert_eq!(journal.launch, Some(b"2".as_slice()));
        assert_eq!(journal.exit, Some(b"3".as_slice()));
        assert_eq!((journal.others, journal.end), (0, raw.len()));
    }

    #[test]
    fn wherever_it_is_cut_only_whole_lines_count() {
        let ends: Vec<_> = (0..WHOLE.len()).filter(|at| WHOLE[*at] == b'\n').collect();
        for cut in 0..=WHOLE.len() {
            let (raw, lines) = (&WHOLE[..cut], ends.iter().filter(|end| **end < cut).count());
            let journal = Journal::parse(raw);
            let found = [journal.spec, journal.launch, journal.exit];
            assert_eq!(found.iter().flatten().count(), lines);
            assert_eq!(
                journal.end,
                lines.checked_sub(1).map_or(0, |last| ends[last] + 1)
            );
            // Of what nobody writes any more, a line may miss its last byte.
            let journal = Journal::parse_ended(raw);
            let found = [journal.spec, journal.launch, journal.exit];
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!((found.iter().flatten().count(), journal.others), (whole, 0));
        }
    }

    #[test]
    fn zeros_where_a_power_failure_left_no_line_feed_are_none() {
        for zeros in 1..5 {
            let mut raw = b"{\"spec\":1}\n{\"launch\":2}".to_vec();
            raw.resize(raw.len() + zeros, 0);
            assert_eq!(Journal::parse(&raw).launch, None, "it may still be written");
            let journal = Journal::parse_ended(&raw);
            assert_eq!((journal.launch, journal.others), (Some(b"2".as_slice()), 0));
        }
        // Half a line is none, whatever follows it.
        let torn = Journal::parse_ended(b"{\"spec\":1}\n{\"launch\":2\0");
        assert_eq!((torn.launch, torn.others), (None, 0));
    }

    #[test]
    fn what_is_no_line_of_ours_is_counted_and_what_comes_twice_is_not_believed() {
        let raw = b"{\"exit\":1}\n{\"exit\":2}\nnoise\n\0\0\0";
        for journal in [Journal::parse(raw), Journal::parse_ended(raw)] {
            assert_eq!((journal.exit, journal.others), (Some(b"1".as_slice()), 1));
            assert_eq!(journal.end, raw.len() - 3);
        }
    }
}
