//! The newest segment, as a crash left it, made whole again.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::Recovery;
use crate::alarm::Alarm;
use crate::config::Config;
use crate::log::writer::Active;
use crate::log::{QUARANTINE, make_dir};
use crate::missing::Lost;
use crate::segment::index::Index;
use crate::segment::replay::{self, Found, replay};
use crate::segment::scan::Bad;
use crate::segment::{Content, data_path, index_path};
use crate::timestamp::Timestamp;

/// A segment that can be written on.
pub(super) struct Newest {
    pub(super) active: Active,
    pub(super) index: Index,
    /// The number of the next line: damage at the end may have had some.
    pub(super) next: u64,
    /// The time of the last line that was found. Of a clock that went backwards it is not the latest.
    pub(super) last: Option<Timestamp>,
}

/// What stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    /// Lines of one batch.
    Lines {
        at: u64,
        end: u64,
        first: u64,
        next: u64,
        whole: bool,
    },
    Bad(Bad),
}

/// What is to be done with it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// What stays, as offsets.
    keep: Vec<(u64, u64)>,
    /// What is copied aside, and the first and the last missing number.
    damaged: Vec<(u64, u64, u64, u64)>,
    /// How much of the end is cut off.
    cut: u64,
    /// There are whole lines in that, of a batch that is not.
    cut_lines: bool,
    /// The number of the next line.
    next: u64,
}

impl Newest {
    pub(super) fn mend(config: &Config, first: u64, recovery: &mut Recovery) -> io::Result<Self> {
        let path = data_path(&config.dir, first);
        let mut file = open(&path)?;
        let length = file.metadata()?.len();
        let content = Content::Plain(file.try_clone()?);
        let Looked {
            items,
            synced,
            mut index,
            last,
        } = look(&content, first, length)?;
        let lines_in = |from, to| count_lines(&content, from, to);
        let plan = plan(&items, first, synced, length, lines_in)?;
        let mut whole = plan.damaged.is_empty();
        if whole {
            if plan.cut_lines {
                set_aside(config, first, &content, (length - plan.cut, length));
            }
            if plan.cut > 0 {
                config.faults.truncate(&path, &file, length - plan.cut)?;
            }
            // What a killed process wrote may not be on the disk yet, and will be taken for acknowledged from now on. Where
            // that fails, it is written anew, since the kernel may say next time that all is well.
            whole = config.faults.sync(&path, &file).is_ok();
        }
        if !whole {
            recovery
                .lost
                .extend(rewrite(config, first, &content, &plan)?);
            file = open(&path)?;
        }
        // It grows from here on, so an index that was made of it is too short.
        config.faults.unlink(&index_path(&config.dir, first))?;
        config.faults.sync_dir(&config.dir)?;
        recovery.cut_bytes += plan.cut;
        let content = Content::Plain(file.try_clone()?);
        let written = content.length()?;
        if written != length || !whole {
            index = replay::index(&content, first, written, u64::MAX)?;
        }
        let active = Active {
            path,
            file,
            written,
            durable: written,
            begun: index.summary.earliest,
        };
        let next = plan.next;
        Ok(Self {
            active,
            index,
            next,
            last,
        })
    }
}

/// What was found.
struct Looked {
    items: Vec<Item>,
    /// Up to which number it is known to have been on the disk.
    synced: u64,
    /// Its index, if it is whole.
    index: Index,
    last: Option<Timestamp>,
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).append(true).open(path)
}

/// All of the segment.
fn look(content: &Content, first: u64, length: u64) -> io::Result<Looked> {
    let (mut items, mut synced, mut index) = (Vec::new(), 0, Index::new(first));
    let mut last = None;
    replay(content, length, u64::MAX, |found| {
        match found {
            Found::Run(run) => {
                index.add(&run.added());
                last = Some(run.received);
                items.push(Item::Lines {
                    at: run.at,
                    end: run.at + run.length,
                    first: run.first,
                    next: run.next(),
                    whole: run.complete(),
                });
            }
            Found::Bad(bad) => items.push(Item::Bad(bad)),
            Found::Synced(seq) => synced = synced.max(seq),
        }
        Ok(())
    })?;
    Ok(Looked {
        items,
        synced,
        index,
        last,
    })
}

fn count_lines(content: &Content, from: u64, to: u64) -> io::Result<u64> {
    let mut bytes = Vec::new();
    content.read(from, to - from, to, &mut bytes)?;
    Ok(memchr::memchr_iter(b'\n', &bytes).count() as u64)
}

/// Whether lines at this place are those of a batch that was never acknowledged.
fn unfinished(items: &[Item], place: usize, synced: u64) -> bool {
    let Item::Lines { next, whole, .. } = items[place] else {
        return false;
    };
    if whole || next <= synced + 1 {
        return false;
    }
    let before = place.checked_sub(1).map(|before| items[before]);
    let beside = [before, items.get(place + 1).copied()];
    // A line that was changed, in a batch that was whole, costs only that line.
    let changed = |item: &Item| matches!(item, Item::Bad(bad) if !bad.torn);
    !beside.iter().flatten().any(changed)
}

fn plan(
    items: &[Item],
    first: u64,
    synced: u64,
    length: u64,
    lines_in: impl Fn(u64, u64) -> io::Result<u64>,
) -> io::Result<Plan> {
    let mut plan = Plan {
        next: first,
        ..Plan::default()
    };
    // What was not kept since the last that was: where it begins, and whether any of it was changed rather than torn.
    let mut open: Option<(u64, bool)> = None;
    for (place, item) in items.iter().enumerate() {
        match *item {
            Item::Lines {
                at,
                end,
                first,
                next,
                ..
            } if !unfinished(items, place, synced) => {
                if let Some((from, _)) = open.take() {
                    plan.damaged
                        .push((from, at, plan.next, first.saturating_sub(1)));
                }
                plan.keep.push((at, end));
                plan.next = plan.next.max(next);
            }
            Item::Lines { at, .. } => {
                open.get_or_insert((at, false));
            }
            Item::Bad(bad) => {
                let (_, changed) = open.get_or_insert((bad.from, false));
                *changed |= !bad.torn;
            }
        }
    }
    match open {
        Some((from, true)) => {
            // How many numbers it had is told by its line feeds. None of them is given out again.
            let lines = lines_in(from, length)?.max(1);
            plan.damaged
                .push((from, length, plan.next, plan.next + lines - 1));
            plan.next += lines;
        }
        Some((from, false)) => {
            plan.cut = length - from;
            let dropped = |item: &Item| matches!(*item, Item::Lines { at, .. } if at >= from);
            plan.cut_lines = items.iter().any(dropped);
        }
        None => {}
    }
    // Lines may follow that the damage was told to have been on the disk.
    plan.next = plan.next.max(synced + 1);
    Ok(plan)
}

/// Copies aside what is damaged, and puts the segment together without it.
fn rewrite(config: &Config, first: u64, content: &Content, plan: &Plan) -> io::Result<Vec<Lost>> {
    let (dir, faults) = (&config.dir, &config.faults);
    let mut lost = Vec::new();
    for &(from, to, first_lost, last_lost) in &plan.damaged {
        let file = set_aside(config, first, content, (from, to));
        lost.push(Lost {
            from: first_lost,
            to: last_lost,
            bytes: to - from,
            file,
        });
    }
    faults.replace(&data_path(dir, first), |file| {
        plan.keep
            .iter()
            .try_for_each(|&(from, to)| copy(content, from, to, file))
    })?;
    faults.sync_dir(dir)?;
    Ok(lost)
}

/// Copies a part of a segment to `quarantine`, and says to which file. A full disk is no reason not to start.
fn set_aside(config: &Config, first: u64, content: &Content, (from, to): (u64, u64)) -> String {
    let (aside, name) = (config.dir.join(QUARANTINE), format!("{first:020}.{from}"));
    let copied = make_dir(&aside)
        .and_then(|_| {
            config
                .faults
                .replace(&aside.join(&name), |file| copy(content, from, to, file))
        })
        .and_then(|()| config.faults.sync_dir(&aside));
    if let Err(error) = copied {
        let why = format!("cannot keep a copy of damaged lines: {error}");
        config.alarm(&Alarm::Upkeep { why });
        return String::new();
    }
    format!("{QUARANTINE}/{name}")
}

fn copy(content: &Content, from: u64, to: u64, mut file: &File) -> io::Result<()> {
    const PIECE: u64 = 1 << 20;
    let (mut at, mut bytes) = (from, Vec::new());
    while at < to {
        content.read(at, PIECE, to, &mut bytes)?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all(&bytes)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Item, Plan, plan};
    use crate::segment::scan::Bad;

    fn lines(at: u64, end: u64, first: u64, next: u64, whole: bool) -> Item {
        Item::Lines {
            at,
            end,
            first,
            next,
            whole,
        }
    }

    fn bad(from: u64, to: u64, torn: bool) -> Item {
        Item::Bad(Bad { from, to, torn })
    }

    fn planned(items: &[Item], synced: u64) -> Plan {
        plan(items, 1, synced, 100, |_, _| Ok(2)).unwrap()
    }

    #[test]
    fn a_torn_end_goes_with_its_batch() {
        let items = [
            lines(0, 40, 1, 3, true),
            lines(40, 60, 3, 4, false),
            bad(60, 100, true),
        ];
        let plan = planned(&items, 2);
        assert_eq!((plan.keep, plan.cut, plan.next), (vec![(0, 40)], 60, 3));
        assert!(plan.damaged.is_empty());
        // Known to have been on the disk: its line stays.
        let plan = planned(&items, 3);
        assert_eq!(
            (plan.keep, plan.cut, plan.next),
            (vec![(0, 40), (40, 60)], 40, 4)
        );
    }

    #[test]
    fn a_page_that_was_not_written_costs_the_batch_that_it_hit() {
        let items = [
            lines(0, 20, 1, 3, true),
            lines(20, 40, 3, 4, false),
            bad(40, 50, true),
            lines(50, 60, 5, 6, false),
            lines(60, 100, 6, 8, true),
        ];
        let torn = planned(&items, 2);
        assert_eq!(torn.keep, [(0, 20), (60, 100)]);
        assert_eq!(torn.damaged, [(20, 60, 3, 5)]);
        let acknowledged = planned(&items, 7);
        assert_eq!(acknowledged.damaged, [(40, 50, 4, 4)]);
        assert_eq!(acknowledged.next, 8);
    }

    #[test]
    fn a_changed_line_costs_only_itself() {
        let items = [
            lines(0, 40, 1, 3, false),
            bad(40, 50, false),
            lines(50, 100, 4, 5, false),
        ];
        let plan = planned(&items, 0);
        assert_eq!(plan.keep, [(0, 40), (50, 100)]);
        assert_eq!((plan.damaged, plan.next), (vec![(40, 50, 3, 3)], 5));
        // At the end, its numbers are not given out again.
        let plan = planned(&[lines(0, 40, 1, 3, true), bad(40, 100, false)], 2);
        assert_eq!((plan.damaged, plan.next), (vec![(40, 100, 3, 4)], 5));
    }
}
