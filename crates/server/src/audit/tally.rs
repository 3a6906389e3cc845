//! What is written at once, and what is counted: nobody makes the audit log grow without bound.
//!
//! A failure is written the first time. Its repeats (the same caller, method, code and reason) are counted until they are told, and from then
//! on until a time between two tellings passes without any. One caller has so many kinds of failures apart
//! ([`KINDS_EACH`]), and strangers together as many as one caller; what is beyond is one more kind. So strangers make some
//! 30 lines a minute at most, whatever they do, and an identity that many and those of its good calls ([`CHANGES_EACH`]).

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use legwork_records::Timestamp;
use tonic::Code;

use super::entry::{Seen, Who};

/// Kinds of calls of one caller that are told apart.
const KINDS_EACH: usize = 16;
/// Good calls of one caller that are written one by one, between two tellings.
const CHANGES_EACH: u64 = 600;
/// Callers that are told apart.
const CALLERS: usize = 1024;
/// Addresses that are told of those who repeat something.
const SOURCES: usize = 8;

/// Whether to write a line now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Write,
    Counted,
}

/// Calls of one kind that were counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repeats {
    pub(super) who: Who,
    pub(super) event: &'static str,
    pub(super) method: &'static str,
    pub(super) code: Code,
    pub(super) reason: String,
    pub(super) count: u64,
    /// When the first and the last of them were.
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) sources: BTreeSet<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    event: &'static str,
    method: &'static str,
    code: i32,
    reason: String,
}

#[derive(Debug)]
struct Count {
    count: u64,
    from: Timestamp,
    to: Timestamp,
    sources: BTreeSet<IpAddr>,
}

/// One caller's.
#[derive(Debug, Default)]
struct Of {
    changes: u64,
    kinds: HashMap<Kind, Count>,
}

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Tally(HashMap<Who, Of>);

impl Tally {
    /// A call that did what it was to do.
    pub(super) fn change(
        &mut self,
        who: &Who,
        seen: &Seen<'_>,
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> Verdict {
        let (_, of) = self.of(who);
        of.changes += 1;
        if of.changes <= CHANGES_EACH {
            return Verdict::Write;
        }
        of.count(seen, source, now, 1);
        Verdict::Counted
    }

    /// A call that did not.
    pub(super) fn failure(
        &mut self,
        who: &Who,
        seen: &Seen<'_>,
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> Verdict {
        let (apart, of) = self.of(who);
        // Of those who are not told apart, nobody's is the first one.
        let first = of.count(seen, source, now, u64::from(!apart));
        match first && apart {
            true => Verdict::Write,
            false => Verdict::Counted,
        }
    }

    /// The counts of a caller, and whether they are its own.
    fn of(&mut self, who: &Who) -> (bool, &mut Of) {
        let apart = self.0.len() < CALLERS || self.0.contains_key(who);
        let who = if apart { who.clone() } else { Who::Others };
        (apart, self.0.entry(who).or_default())
    }

    /// What was counted since the last time.
    pub(super) fn tell(&mut self) -> Vec<Repeats> {
        let mut told = Vec::new();
        for (who, of) in &mut self.0 {
            of.changes = 0;
            // What did not come again is forgotten: the next one is a first one.
            of.kinds.retain(|_, count| count.count > 0);
            for (kind, count) in &mut of.kinds {
                told.push(Repeats {
                    who: who.clone(),
                    event: kind.event,
                    method: kind.method,
                    code: Code::from(kind.code),
                    reason: kind.reason.clone(),
                    count: std::mem::take(&mut count.count),
                    from: count.from,
                    to: count.to,
                    sources: std::mem::take(&mut count.sources),
                });
            }
        }
        self.0.retain(|_, of| !of.kinds.is_empty());
        told.sort_by_key(|repeats| (repeats.from, repeats.to));
        told
    }
}

impl Of {
    /// Counts a call of this kind. True: it is the first one, which counts for `first`.
    fn count(
        &mut self,
        seen: &Seen<'_>,
        source: Option<IpAddr>,
        now: Timestamp,
        first: u64,
    ) -> bool {
        let mut kind = Kind {
            event: seen.event,
            method: seen.method,
            code: seen.code as i32,
            reason: seen.reason.to_owned(),
        };
        if self.kinds.len() >= KINDS_EACH && !self.kinds.contains_key(&kind) {
            kind = Kind {
                event: seen.event,
                method: "other",
                code: Code::Unknown as i32,
                reason: "OTHER".to_owned(),
            };
        }
        let mut is_first = false;
        let count = self.kinds.entry(kind).or_insert_with(|| {
            is_first = true;
            Count {
                count: 0,
                from: now,
                to: now,
                sources: BTreeSet::new(),
            }
        });
        if count.count == 0 {
            count.from = now;
        }
        count.to = now;
        count.count += if is_first { first } else { 1 };
        if count.count > 0 && count.sources.len() < SOURCES {
            count.sources.extend(source);
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use legwork_records::Timestamp;
    use tonic::Code;

    use super::super::entry::{Seen, Who};
    use super::{CALLERS, CHANGES_EACH, KINDS_EACH, SOURCES, Tally, Verdict};

    const NOW: fn(i64) -> Timestamp = Timestamp::from_micros;

    fn refused(reason: &str) -> Seen<'_> {
        Seen {
            event: "refused",
            method: "JobService/Start",
            code: Code::PermissionDenied,
            reason,
        }
    }

    fn known(n: usize) -> Who {
        Who::Known {
            client: format!("c{n}"),
            id: n.to_string(),
            roles: "run".to_owned(),
            via: "certificate",
        }
    }

    #[test]
    fn the_first_is_written_and_repeats_are_counted() {
        let mut tally = Tally::default();
        let mut fail = |at| tally.failure(&known(1), &refused("ROLE"), None, NOW(at));
        assert_eq!(fail(1), Verdict::Write);
        assert_eq!([fail(2), fail(3)], [Verdict::Counted; 2]);
        let told = tally.tell();
        let times = (told[0].from, told[0].to);
        assert_eq!((told.len(), told[0].count, times), (1, 2, (NOW(2), NOW(3))));
        // It goes on: no first one in between.
        let again = tally.failure(&known(1), &refused("ROLE"), None, NOW(4));
        assert_eq!((again, tally.tell()[0].count), (Verdict::Counted, 1));
        // A time without one.
        assert!(tally.tell().is_empty());
        let later = tally.failure(&known(1), &refused("ROLE"), None, NOW(5));
        assert_eq!(later, Verdict::Write);
    }

    #[test]
    fn a_flood_of_strangers_is_a_few_lines() {
        let mut tally = Tally::default();
        let mut written = 0;
        for n in 0..10_000_u32 {
            let source = IpAddr::V4(Ipv4Addr::from(n));
            let reason = format!("R{n}");
            let verdict = tally.failure(&Who::Stranger, &refused(&reason), Some(source), NOW(1));
            written += usize::from(verdict == Verdict::Write);
        }
        let told = tally.tell();
        assert_eq!(written, KINDS_EACH + 1);
        let counted: u64 = told.iter().map(|repeats| repeats.count).sum();
        assert_eq!(counted + written as u64, 10_000, "nothing is left out");
        assert!(told.len() <= KINDS_EACH + 1);
        assert!(told.iter().all(|repeats| repeats.sources.len() <= SOURCES));
    }

    #[test]
    fn good_calls_are_written_up_to_a_number_and_then_counted() {
        let mut tally = Tally::default();
        let good = Seen {
            event: "call",
            method: "JobService/Start",
            code: Code::Ok,
            reason: "",
        };
        let mut written = 0;
        for _ in 0..CHANGES_EACH + 5 {
            let verdict = tally.change(&known(1), &good, None, NOW(1));
            written += u64::from(verdict == Verdict::Write);
        }
        assert_eq!(written, CHANGES_EACH);
        let other = tally.change(&known(2), &good, None, NOW(1));
        assert_eq!(
            other,
            Verdict::Write,
            "one caller does not use up the lines of another"
        );
        let told = tally.tell();
        assert_eq!((told.len(), told[0].count), (1, 5));
        let next = tally.change(&known(1), &good, None, NOW(2));
        assert_eq!(next, Verdict::Write);
    }

    #[test]
    fn callers_without_number_are_counted_together() {
        let mut tally = Tally::default();
        for n in 0..CALLERS + 50 {
            tally.failure(&known(n), &refused("ROLE"), None, NOW(1));
        }
        assert!(tally.0.len() <= CALLERS + 1);
        let told = tally.tell();
        assert_eq!((told.len(), told[0].count), (1, 50));
        assert_eq!(told[0].who, Who::Others);
    }
}
