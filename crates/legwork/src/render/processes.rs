//! A process table as `ps aux` and `pstree` show it.

use std::collections::{BTreeMap, HashSet};

use legwork_processes::{Host, Process};

use super::moment;
use crate::output::printable;

/// Milliseconds of a clock tick: 100 a second, as everywhere on Linux.
const TICK_MS: u64 = 10;

/// When it began, in microseconds since 1970, by the clock of when it was seen.
pub(crate) fn started_us(process: &Process, host: &Host, seen_us: u64) -> u64 {
    let age_ms = host.uptime_ms.saturating_sub(process.start * TICK_MS);
    seen_us.saturating_sub(age_ms * 1000)
}

/// How much of one processor it has used since it began, in percent.
#[expect(clippy::cast_precision_loss, reason = "a percentage of one digit")]
pub(crate) fn cpu(process: &Process, host: &Host) -> f64 {
    let age_ms = host
        .uptime_ms
        .saturating_sub(process.start * TICK_MS)
        .max(1);
    (process.utime_ms + process.stime_ms) as f64 * 100.0 / age_ms as f64
}

#[expect(clippy::cast_precision_loss, reason = "a percentage of one digit")]
fn memory(process: &Process, host: &Host) -> f64 {
    process.rss_kb as f64 * 100.0 / host.mem_total_kb.max(1) as f64
}

/// Rows with their depth, below their heads.
pub(crate) fn table(rows: &[(usize, &Process)], host: &Host, seen_us: u64) -> String {
    let heads = [
        "USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "JOB",
    ];
    let cells: Vec<[String; 11]> = rows
        .iter()
        .map(|(_, process)| cells(process, host, seen_us))
        .collect();
    let mut widths = heads.map(str::len);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut add = |row: &[String], last: &str| {
        for (place, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Numbers end below each other.
            if (1..=5).contains(&place) || place == 9 {
                text.push_str(&format!("{cell:>width$} "));
            } else {
                text.push_str(&format!("{cell:<width$} "));
            }
        }
        text.push_str(last);
        text.push('\n');
    };
    add(&heads.map(str::to_owned), "COMMAND");
    for (row, (depth, process)) in cells.iter().zip(rows) {
        add(row, &format!("{}{}", "  ".repeat(*depth), command(process)));
    }
    text
}

fn cells(process: &Process, host: &Host, seen_us: u64) -> [String; 11] {
    let or = |text: &str, none: &str| printable(if text.is_empty() { none } else { text });
    let used = (process.utime_ms + process.stime_ms) / 1000;
    [
        or(&process.user, "?"),
        process.pid.to_string(),
        format!("{:.1}", cpu(process, host)),
        format!("{:.1}", memory(process, host)),
        process.vsize_kb.to_string(),
        process.rss_kb.to_string(),
        or(&process.tty, "?"),
        state(process),
        moment::short(started_us(process, host, seen_us), seen_us),
        format!("{}:{:02}", used / 60, used % 60),
        or(process.job.get(..8).unwrap_or(&process.job), "-"),
    ]
}

/// As ps(1) has it: the state, `<` or `N` for niceness, `s` for who leads a session, `l` for several threads.
fn state(process: &Process) -> String {
    let mut state = printable(&process.state);
    match process.nice {
        ..0 => state.push('<'),
        1.. => state.push('N'),
        0 => {}
    }
    if i64::from(process.session) == i64::from(process.pid) {
        state.push('s');
    }
    if process.threads > 1 {
        state.push('l');
    }
    state
}

/// Its words, or its name where it has none.
fn command(process: &Process) -> String {
    if !process.cmdline.is_empty() {
        return printable(&process.cmdline);
    }
    let name = printable(&process.comm);
    match process.state.as_str() {
        "Z" => format!("[{name}] <defunct>"),
        _ => format!("[{name}]"),
    }
}

/// Each below its parent, with its depth.
pub(crate) fn tree(list: &[Process]) -> Vec<(usize, &Process)> {
    let known: HashSet<u32> = list.iter().map(|process| process.pid).collect();
    let mut children: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    for process in list {
        let is_root = process.ppid == process.pid || !known.contains(&process.ppid);
        let parent = if is_root { 0 } else { process.ppid };
        children.entry(parent).or_default().push(process);
    }
    let mut rows = Vec::with_capacity(list.len());
    let mut open: Vec<(usize, &Process)> = Vec::new();
    let push = |open: &mut Vec<_>, depth, below: Vec<_>| {
        open.extend(below.into_iter().rev().map(|process| (depth, process)));
    };
    push(&mut open, 0, children.remove(&0).unwrap_or_default());
    loop {
        while let Some((depth, process)) = open.pop() {
            rows.push((depth, process));
            let below = children.remove(&process.pid).unwrap_or_default();
            push(&mut open, depth + 1, below);
        }
        // A list that is not of one moment can have a circle, which nobody above leads to.
        let Some((_, below)) = children.pop_first() else {
            return rows;
        };
        push(&mut open, 0, below);
    }
}

#[cfg(test)]
mod tests {
    use legwork_processes::{Host, Process};

    use super::{cpu, started_us, table, tree};

    fn process(pid: u32, ppid: u32) -> Process {
        Process {
            pid,
            ppid,
            start: 1000,
            user: "me".into(),
            comm: format!("c{pid}"),
            state: "S".into(),
            threads: 1,
            ..Process::default()
        }
    }

    #[test]
    fn everybody_is_in_the_tree_once() {
        let list = [
            (1, 0),
            (2, 0),
            (10, 1),
            (11, 10),
            (12, 1),
            (20, 21),
            (21, 20),
            (30, 99),
        ]
        .map(|(pid, ppid)| process(pid, ppid));
        let rows: Vec<_> = tree(&list)
            .iter()
            .map(|(depth, process)| (*depth, process.pid))
            .collect();
        let expected = [
            (0, 1),
            (1, 10),
            (2, 11),
            (1, 12),
            (0, 2),
            (0, 30),
            (0, 21),
            (1, 20),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_row_is_as_ps_has_it() {
        let host = Host {
            uptime_ms: 110_000,
            mem_total_kb: 1000,
            ..Host::default()
        };
        let process = Process {
            utime_ms: 40_000,
            stime_ms: 35_000,
            rss_kb: 25,
            session: 7,
            threads: 3,
            cmdline: "a\tb".into(),
            ..process(7, 1)
        };
        assert!((cpu(&process, &host) - 75.0).abs() < 1e-9);
        assert_eq!(started_us(&process, &host, 1_000_000_000), 900_000_000);
        let text = table(&[(1, &process)], &host, 1_000_000_000);
        let words: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            words[..8],
            ["me", "7", "75.0", "2.5", "0", "25", "?", "Ssl"]
        );
        assert_eq!(words[9..], ["1:15", "-", "a\\tb"]);
        let kernel = Process {
            comm: "kworker/0:1".into(),
            ..Process::default()
        };
        assert!(table(&[(0, &kernel)], &host, 1).contains("[kworker/0:1]"));
    }
}
