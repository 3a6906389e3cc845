//! A look at every line of a log, which changes nothing.

use std::io;
use std::path::Path;

use crate::segment::index::Index;
use crate::segment::replay::{Found, replay};
use crate::segment::{Content, index_path, list};

/// Problems that are told one by one; the others are counted.
const PROBLEMS_MAX: usize = 1000;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Segments that were read.
    pub segments: usize,
    /// Good lines.
    pub lines: u64,
    /// Bytes of good lines.
    pub bytes: u64,
    /// How many problems there are.
    pub total: u64,
    /// The first of them, at most a thousand.
    pub problems: Vec<Problem>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The first number of the segment.
    pub segment: u64,
    /// Where in its lines, in bytes.
    pub offset: u64,
    /// What it is.
    pub what: Trouble,
}

/// What is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// Bytes that are not a line.
    Damaged {
        /// How many.
        bytes: u64,
    },
    /// The end of the newest segment is torn: the next opening cuts it off.
    TornEnd {
        /// How many bytes.
        bytes: u64,
    },
    /// Numbers that no line has. Where segments were removed by their age, that is no problem and not told.
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A number that is not above the one before.
    OutOfOrder {
        /// The number.
        seq: u64,
    },
    /// A batch of which lines are missing.
    Unfinished {
        /// The first number that is there.
        first: u64,
    },
    /// A closed segment has no index, or one that does not fit. The next opening, or packing, makes it anew.
    Index,
    /// A segment that cannot be opened or unpacked.
    Unreadable {
        /// Why.
        why: String,
    },
}

impl Report {
    fn tell(&mut self, segment: u64, offset: u64, what: Trouble) {
        self.total += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem {
                segment,
                offset,
                what,
            });
        }
    }
}

/// Looks at the log in a directory. It may be open; then its newest lines may look torn.
///
/// # Errors
/// The directory cannot be read.
pub fn fsck(dir: &Path) -> io::Result<Report> {
    let mut report = Report::default();
    let segments = list(dir)?;
    let firsts: Vec<u64> = segments.keys().copied().collect();
    // The number that comes next, once there is a line.
    let mut expected = None;
    for (n, &first) in firsts.iter().enumerate() {
        report.segments += 1;
        let next = firsts.get(n + 1).copied();
        match Content::open(dir, first) {
            Ok(Some(content)) => segment(dir, &content, first, next, &mut expected, &mut report)?,
            Ok(None) => {}
            Err(error) => {
                let why = error.to_string();
                report.tell(first, 0, Trouble::Unreadable { why });
            }
        }
    }
    Ok(report)
}

fn segment(
    dir: &Path,
    content: &Content,
    first: u64,
    next: Option<u64>,
    expected: &mut Option<u64>,
    report: &mut Report,
) -> io::Result<()> {
    let mut index = Index::new(first);
    let end = content.length()?;
    replay(content, end, next.unwrap_or(u64::MAX), |found| {
        match found {
            Found::Run(run) => {
                let seq = expected.unwrap_or(run.first);
                if run.first > seq {
                    let (from, to) = (seq, run.first - 1);
                    report.tell(first, run.at, Trouble::Missing { from, to });
                } else if run.first < seq {
                    report.tell(first, run.at, Trouble::OutOfOrder { seq: run.first });
                }
                if !run.complete() {
                    report.tell(first, run.at, Trouble::Unfinished { first: run.first });
                }
                *expected = Some(run.next());
                report.lines += run.count;
                report.bytes += run.length;
                index.add(&run.added());
            }
            Found::Bad(bad) => {
                let bytes = bad.to - bad.from;
                let torn = bad.torn && bad.to == end && next.is_none();
                let what = if torn {
                    Trouble::TornEnd { bytes }
                } else {
                    Trouble::Damaged { bytes }
                };
                report.tell(first, bad.from, what);
            }
            Found::Synced(_) => {}
        }
        Ok(())
    })?;
    if next.is_some() {
        let told = Index::summary(&index_path(dir, first));
        let fits = told.is_some_and(|told| told.first == first && told.next >= index.summary.next);
        if !fits {
            report.tell(first, 0, Trouble::Index);
        }
    }
    Ok(())
}
