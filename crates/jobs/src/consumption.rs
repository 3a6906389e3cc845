//! What a job that runs has consumed until now.
//!
//! A job with a control group is counted by the kernel. Without one, its processes are looked up as the descendants of its shim and summed
//! up: what each has used and what it has waited for, and what the shim has. Those times are lower bounds, as in the record of an end,
//! and memory that processes share is counted for each of them.

use std::fs;
use std::path::{Path, PathBuf};

use legwork_shim::exit::Usage;

use crate::shim_process::ShimProcess;

/// Ticks in a second, in what the kernel tells of processes (`USER_HZ`).
const TICKS: u64 = 100;
/// Processes that are looked at in one tree.
const PROCESSES_MAX: usize = 100_000;

/// What a job has consumed, and what it has at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Consumption {
    /// Since its beginning; of a job that has ended, what its record tells.
    pub usage: Usage,
    /// Bytes of memory now: of the whole group, page cache included, or the sum of what its processes have resident.
    pub memory_bytes: u64,
    /// Processes now; of a job with a control group, threads too.
    pub processes: u64,
    /// Milliseconds since its beginning, or from that to its end.
    pub elapsed_ms: u64,
}

/// As the kernel has counted it for a control group; `None` if there is none any more.
pub(crate) fn of_group(path: &Path) -> Option<Consumption> {
    let file = |name: &str| fs::read_to_string(path.join(name)).ok();
    let single = |name: &str| file(name)?.trim().parse::<u64>().ok();
    let stat = file("cpu.stat")?;
    let io = file("io.stat");
    let sum = |begin: &str| {
        Some(
            io.as_deref()?
                .split_whitespace()
                .filter_map(|word| number_after(word, begin))
                .sum(),
        )
    };
    let members = || Some(members(path));
    Some(Consumption {
        usage: Usage {
            user_us: entry(&stat, "user_usec")?,
            system_us: entry(&stat, "system_usec")?,
            exact: true,
            memory_peak_bytes: single("memory.peak"),
            pids_peak: single("pids.peak"),
            read_bytes: sum("rbytes="),
            written_bytes: sum("wbytes="),
            throttled_us: entry(&stat, "throttled_usec"),
            oom_kills: file("memory.events").and_then(|events| entry(&events, "oom_kill")),
            ..Usage::default()
        },
        memory_bytes: single("memory.current").or_else(|| {
            Some(
                members()?
                    .iter()
                    .filter_map(|pid| resident_bytes(*pid))
                    .sum(),
            )
        })?,
        processes: single("pids.current").or_else(|| Some(members()?.len() as u64))?,
        elapsed_ms: 0,
    })
}

/// As far as it can be seen of the descendants of a shim.
pub(crate) fn of_tree(shim: &ShimProcess) -> Consumption {
    let mut seen = Consumption::default();
    let (_, [_, _, user, system]) = times(shim.pid()).unwrap_or_default();
    let mut ticks = (user, system);
    let mut open = children(shim.pid());
    let mut looked = 0;
    while let Some(pid) = open.pop() {
        looked += 1;
        if looked > PROCESSES_MAX {
            break;
        }
        let Some((lives, [user, system, waited_user, waited_system])) = times(pid) else {
            continue;
        };
        ticks.0 += user + waited_user;
        ticks.1 += system + waited_system;
        seen.processes += u64::from(lives);
        seen.memory_bytes += resident_bytes(pid).unwrap_or(0);
        open.extend(children(pid));
    }
    seen.usage.user_us = ticks.0 * (1_000_000 / TICKS);
    seen.usage.system_us = ticks.1 * (1_000_000 / TICKS);
    seen
}

/// All processes of a group and of those below it.
fn members(path: &Path) -> Vec<u32> {
    let (mut open, mut found) = (vec![path.to_owned()], Vec::new());
    while let Some(group) = open.pop() {
        let list = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        found.extend(list.lines().filter_map(|line| line.parse::<u32>().ok()));
        let below = fs::read_dir(&group).into_iter().flatten().flatten();
        open.extend(
            below
                .map(|entry| entry.path())
                .filter(|path: &PathBuf| path.is_dir()),
        );
    }
    found
}

/// The children of all threads of a process, where the kernel tells them.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let numbers = |list: String| -> Vec<u32> {
        list.split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect()
    };
    lists.flat_map(numbers).collect()
}

/// Whether a process is more than a zombie, and its fields 14 to 17 of `proc_pid_stat(5)`: what it and those that it has waited for have
/// used, in ticks.
fn times(pid: u32) -> Option<(bool, [u64; 4])> {
    of_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn of_stat(stat: &str) -> Option<(bool, [u64; 4])> {
    // The name before may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let lives = !matches!(fields.next()?, "Z" | "X");
    let mut ticks = fields.skip(10).take(4).map(str::parse);
    let mut next = || ticks.next()?.ok();
    Some((lives, [next()?, next()?, next()?, next()?]))
}

fn resident_bytes(pid: u32) -> Option<u64> {
    let pages = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The value of a key in a file of lines `key value`.
fn entry(text: &str, key: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value)
}

fn number_after(word: &str, begin: &str) -> Option<u64> {
    word.strip_prefix(begin)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{children, entry, of_group, of_stat, resident_bytes, times};

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 0 0 0 0 0 11 12 13 14 20 0 1";
        assert_eq!(of_stat(stat), Some((true, [11, 12, 13, 14])));
        let zombie = "7 (x) Z 1 7 7 0 -1 0 0 0 0 0 1 2 3 4 20 0 1";
        assert_eq!(of_stat(zombie), Some((false, [1, 2, 3, 4])));
        assert_eq!(of_stat("7 (x) S 1"), None);
    }

    #[test]
    fn a_process_can_be_asked() {
        let me = std::process::id();
        assert!(times(me).unwrap().0);
        assert!(resident_bytes(me).unwrap() > 0);
        assert!(children(u32::MAX).is_empty());
    }

    #[test]
    fn what_is_no_group_has_consumed_nothing() {
        let here = tempfile::tempdir().unwrap();
        assert_eq!(of_group(here.path()), None);
        std::fs::write(here.path().join("cpu.stat"), "user_usec 3\nsystem_usec 4\n").unwrap();
        let found = of_group(here.path()).unwrap();
        assert_eq!((found.usage.user_us, found.usage.system_us), (3, 4));
        assert!(found.usage.exact && found.usage.read_bytes.is_none());
        assert_eq!(entry("user_usec 3", "user"), None);
    }
}
